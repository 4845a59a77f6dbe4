"""The eyes of a built-in portrait: lids, lashes, iris, reflections and brows."""

import numpy as np

from pgbench.portrait_canvas import (
    Array,
    Canvas,
    Light,
    Patch,
    colour_of,
    cover,
    hex_colour,
    look_up,
    mix,
    strand_table,
)
from pgbench.portrait_face import DUSK
from pgbench.portrait_factors import Factors

EYES = {
    "brown": (hex_colour("3a2014"), hex_colour("7a4a26")),
    "hazel": (hex_colour("4a3a1c"), hex_colour("9a7a3c")),
    "green": (hex_colour("34503a"), hex_colour("8aa468")),
    "blue": (hex_colour("2c4f78"), hex_colour("8fb8d8")),
    "grey": (hex_colour("4a5660"), hex_colour("a8b4bc")),
}


def paint_eye(canvas: Canvas, f: Factors, light: Light, *, side: int) -> None:
    """One eye with its lids and lashes."""
    centre = side * f.eye_spacing
    half = 0.114 * f.eye_size * (1 - 0.4 * side * canvas.turn)
    patch = canvas.patch(centre - 0.18, -0.13, centre + 0.18, 0.13)
    t = (patch.u - centre) * (side / half)
    v = patch.v + 0.014 * f.eye_tilt * t
    rest = np.maximum(1 - t * t, 0)
    upper = -0.056 * f.eye_size * f.eye_openness * rest**0.7 * (1 - 0.12 * t)
    lower = 0.032 * f.eye_size * (0.6 + 0.4 * f.eye_openness) * rest * (1 + 0.2 * t)
    inside = np.minimum(np.minimum(v - upper, lower - v), (1 - np.abs(t)) * half)
    _paint_lids(patch, f, (t, v, upper, lower))
    _paint_eyeball(patch, f, light, (centre, t, v - upper, cover(inside, 1.5 * canvas.pitch)))
    lash = 0.013 + 0.006 * f.makeup
    thickness = lash * np.clip(1.15 - (0.5 * t - 0.3) ** 2, 0.2, 1)
    line = thickness - np.abs(v - upper + 0.3 * lash)
    reach = cover((1.06 + 0.1 * f.makeup - np.abs(t)) * half, 0.02)
    dark = colour_of(0.1, 0.07, 0.06)
    patch.paint(dark, (0.8 + 0.18 * f.makeup) * cover(line, canvas.pitch + 0.008) * reach)
    below = 0.004 - np.abs(v - lower)
    patch.paint(dark, (0.25 + 0.3 * f.makeup) * cover(below, canvas.pitch + 0.007) * rest)


def _paint_lids(patch: Patch, f: Factors, lids: tuple[Array, Array, Array, Array]) -> None:
    """Crease, shadow on the upper lid and the bag under the lower one."""
    t, v, upper, lower = lids
    rest = np.maximum(1.2 - t * t, 0)
    crease = np.exp(-(((v - upper + 0.034) / 0.011) ** 2)) * np.minimum(rest, 1)
    lid = np.exp(-(((v - upper + 0.018) / 0.02) ** 2)) * np.minimum(rest, 1)
    bag = np.exp(-(((v - lower - 0.034) / 0.014) ** 2)) * np.minimum(rest, 1)
    amount = 0.34 * crease + (0.05 + 0.3 * f.makeup) * lid + (0.05 + 0.16 * f.age) * bag
    patch.shade(1 - amount * DUSK)


def _paint_eyeball(
    patch: Patch, f: Factors, light: Light, place: tuple[float, Array, Array, Array]
) -> None:
    """White, iris, pupil and the reflections of the lamp, in the shadow of the lid."""
    centre, t, under_lid, inside = place
    level = 0.9 * light.ambient + 0.66 * light.key
    shadow = 1 - 0.55 * np.exp(-under_lid / 0.02) - 0.2 * t**4
    white = mix(colour_of(0.85, 0.82, 0.8), colour_of(0.85, 0.6, 0.55), np.clip(-t - 0.75, 0, 0.5))
    u, v = patch.u - centre - 0.03 * f.gaze_x, patch.v + 0.01 - 0.014 * f.gaze_y
    radius = np.sqrt(u * u + v * v) / (0.054 * f.eye_size)
    edge = 1.5 * (patch.v[-1, 0] - patch.v[0, 0]) / len(patch.v) / (0.054 * f.eye_size)
    edge = float(np.clip(edge, 0.06, 0.6))
    outer, inner = EYES[f.eye_colour]
    spokes = 0.12 * np.cos(np.arctan2(v, u) * 17 + f.texture % 7)
    share = np.clip(1.25 - radius + spokes + 7.2 * v, 0, 1)  # brightest opposite the lamp
    iris = mix(outer, inner, share) * (1 - 0.6 * np.clip((radius - 0.75) * 4, 0, 1))
    white = white * (1 - 0.4 * f.skin_tone)
    ball = mix(white, iris, cover(1 - radius, edge))
    ball = mix(ball, colour_of(0.03, 0.025, 0.025), cover(0.43 - radius, edge))
    ball = ball * level * shadow
    x, y = 0.022 * light.direction[0], 0.02 * light.direction[1]
    lamp = np.sqrt((u - x) ** 2 + (v - y) ** 2) / (0.054 * f.eye_size)
    glow = np.sqrt((u + x) ** 2 + (v + y) ** 2) / (0.054 * f.eye_size)
    ball = mix(ball, colour_of(1, 1, 0.98), 0.92 * cover(0.22 - lamp, edge + 0.08))
    ball = mix(ball, colour_of(0.8, 0.85, 0.9), 0.09 * cover(0.35 - glow, 0.4))
    patch.paint(ball, inside)


def paint_brow(canvas: Canvas, f: Factors, colour: Array, *, side: int) -> None:
    """One eyebrow: a tapered arch of short hairs."""
    centre = side * (f.eye_spacing + 0.012)
    half = 0.14 * (1 - 0.3 * side * canvas.turn)
    patch = canvas.patch(centre - 0.19, -0.26, centre + 0.19, -0.04, 0.03)
    t = (patch.u - centre) * (side / half)
    arch = (0.012 + 0.03 * f.brow_arch) * (1 - (t - 0.25) ** 2)
    line = patch.v + 0.135 + 0.014 * f.brow_height + arch - 0.018 * f.brow_tilt * -t
    thickness = 0.021 * f.brow_thickness * np.clip(0.95 - 0.4 * np.maximum(t, 0) ** 2, 0.2, 1)
    inside = np.minimum(thickness - np.abs(line), (1 - np.abs(t)) * 0.09)
    rng = np.random.default_rng(f.texture + 1)
    hairs = look_up(strand_table(rng, 48), t * 0.35 + line * (4.0 + 3.0 * t))
    patch.paint(colour, np.clip(cover(inside, 0.022) * (0.82 + 0.2 * hairs), 0, 0.95))
