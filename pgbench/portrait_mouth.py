"""The mouth of a built-in portrait: lips, teeth and the beard around them."""

import numpy as np

from pgbench.portrait_canvas import (
    Array,
    Canvas,
    Light,
    Patch,
    bell,
    clouds_under,
    colour_of,
    cover,
    ellipse,
    look_up,
    mix,
    strand_table,
)
from pgbench.portrait_face import DUSK, HEAD_DEPTH, head_profile, skin_colour
from pgbench.portrait_factors import Factors


def paint_mouth(canvas: Canvas, f: Factors, light: Light) -> None:
    """Lips, and teeth when the mouth is open."""
    half = 0.165 * f.mouth_width * (1 + 0.13 * f.smile)
    patch = canvas.patch(-half - 0.06, 0.32, half + 0.06, 0.62, 0.1)
    t = patch.u / half
    rest = np.maximum(1 - t * t, 0)
    gap = 0.085 * max(f.mouth_open - 0.1, 0.0)
    middle = patch.v - 0.445 * (0.4 + 0.6 * f.face_length) - 0.05 * f.smile * (0.45 - t * t)
    middle = middle - 0.004 * np.exp(-((t / 0.2) ** 2)) + 0.3 * gap
    bow = 1 - 0.28 * np.exp(-((t / 0.13) ** 2)) + 0.1 * np.exp(-(((np.abs(t) - 0.28) / 0.2) ** 2))
    top = -0.042 * f.lip_fullness * (1 - 0.25 * max(f.smile, 0)) * rest**0.8 * bow
    bottom = gap * rest + 0.054 * f.lip_fullness * (1 - 0.2 * max(f.smile, 0)) * rest**0.7
    ends = (1 - np.abs(t)) * half
    lips = np.minimum(np.minimum(middle - top, bottom - middle), ends)
    colour = _lips(f, light, (middle, top, bottom, gap * rest))
    patch.paint(colour, 0.9 * cover(lips, canvas.pitch + 0.012))
    if gap:
        opening = np.minimum(np.minimum(middle, gap * rest - middle), ends)
        _paint_teeth(patch, light, (t, middle / gap, cover(opening, canvas.pitch + 0.006)))
    else:
        line = np.exp(-((middle / 0.008) ** 2)) * cover(ends + 0.012, 0.03)
        patch.shade(1 - 0.62 * line * DUSK * 0.92)
    corners = bell(np.abs(t) - 1.02, middle, 0.1, 0.018)
    patch.shade(1 - 0.35 * corners * DUSK)


def _lips(f: Factors, light: Light, edges: tuple[Array, Array, Array, Array]) -> Array:
    """Colour of the lips: the upper in shadow, the lower full and a little moist."""
    middle, top, bottom, gap = edges
    natural = skin_colour(f) * colour_of(0.88, 0.65, 0.65)
    painted = mix(
        colour_of(0.72, 0.2, 0.24), colour_of(0.78, 0.42, 0.42), (f.texture >> 8) % 256 / 255
    )
    colour = mix(natural, painted * (1 - 0.4 * f.skin_tone), 0.75 * max(0.0, f.makeup - 0.35))
    low = np.clip((middle - gap) / np.maximum(bottom - gap, 0.01), 0, 1)
    high = np.clip(middle / np.minimum(top, -0.01), 0, 1)
    below = cover(middle - 0.5 * gap, 0.012)
    tone = mix(
        0.62 + 0.22 * high,
        0.66 + 0.34 * np.sin(3.1 * np.clip(low * 0.95 + 0.08, 0, 1)) ** 1.2,
        below,
    )
    shine = 0.1 * np.exp(-(((low - 0.4) / 0.18) ** 2)) * below * (0.5 + f.makeup)
    level = light.ambient + 0.8 * light.key
    return np.asarray(colour * level * tone + light.key * shine * 0.7)


def _paint_teeth(patch: Patch, light: Light, place: tuple[Array, Array, Array]) -> None:
    """Upper teeth above the dark of the mouth; depth runs from 0 at the lip to 1."""
    t, depth, inside = place
    level = light.ambient + 0.7 * light.key
    teeth = (
        colour_of(0.93, 0.9, 0.85)
        * level
        * (1 - 0.5 * t * t)
        * (0.72 + 0.28 * np.minimum(depth * 3, 1))
    )
    seams = 1 - 0.16 * np.exp(-((np.abs((t * 5.2) % 1 - 0.5) / 0.09) ** 2))
    dark = colour_of(0.24, 0.08, 0.08)
    patch.paint(mix(teeth * seams, dark, cover(depth - 0.82 + 0.25 * t * t, 0.3)), inside)


def paint_facial_hair(canvas: Canvas, f: Factors, colour: Array) -> None:
    """Stubble, moustache, goatee or beard, around the lips."""
    patch = canvas.patch(-0.55, 0.02, 0.55, 0.86, 0.0)
    u, v = np.abs(patch.u - 0.08 * canvas.turn), patch.v - 0.445 * (0.4 + 0.6 * f.face_length)
    rng = np.random.default_rng(f.texture + 3)
    cells = clouds_under(patch, rng, 60, canvas.size)
    hairs = look_up(strand_table(rng, 160), patch.u * (0.9 - 0.5 * v) + 0.004 * cells)
    lips = ellipse(u, v - 0.008, 0.165 * f.mouth_width * (1 + 0.13 * f.smile), 0.052)
    moustache = (
        0.036
        - np.abs(v + 0.068 - 0.55 * np.maximum(u - 0.05, 0) ** 1.3)
        - 0.12 * np.maximum(u - 0.13, 0)
    )
    goatee = np.minimum(
        ellipse(u, v - 0.1, 0.21, 0.26), np.maximum(v - 0.02, 0.15 - 8 * np.abs(u - 0.185))
    )
    cheek = v + 0.055 + 0.9 * np.maximum(u - 0.13, 0) ** 1.1 - 0.28 * cover(0.07 - u, 0.1) * (v < 0)
    shape = {
        "moustache": moustache,
        "goatee": np.maximum(moustache, np.minimum(goatee, v - 0.02)),
        "stubble": np.maximum(moustache, cheek),
        "beard": np.maximum(moustache, cheek),
    }[f.facial_hair]
    full = 0.035 if f.facial_hair == "beard" else -0.004
    face = head_profile(f, full).distance(patch.u - HEAD_DEPTH * canvas.turn, patch.v)
    shape = np.minimum(np.minimum(shape + 0.008 * cells, face), -lips)
    soft, dense = (0.07, 0.4) if f.facial_hair == "stubble" else (0.045, 0.9)
    coverage = cover(shape - 0.01, soft) * np.clip(dense + 0.07 * hairs, 0, 0.96)
    shaded = colour * (1 + 0.17 * hairs) * (1.05 - 0.5 * np.clip(v, 0, 0.5))
    patch.paint(np.maximum(shaded, 0), coverage)
