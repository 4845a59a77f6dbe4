"""What surrounds the face of a built-in portrait: background, clothes, glasses and earrings."""

import colorsys

import numpy as np

from pgbench.portrait_canvas import (
    Array,
    Canvas,
    Light,
    Profile,
    bell,
    clouds,
    clouds_under,
    colour_of,
    cover,
    ellipse,
    enlarge,
    knots,
    mix,
)
from pgbench.portrait_factors import Factors

_CELLS = 96  # backgrounds are out of focus: they are drawn small and enlarged


def paint_background(canvas: Canvas, f: Factors) -> None:
    """Fill the canvas."""
    small = min(canvas.size, _CELLS)
    axis = (np.arange(small, dtype=np.float32) + 0.5) * (2 / small) - 1
    field = _BACKGROUNDS[f.background](f, axis, axis[:, None])
    field = field * (1 + 0.012 * clouds(np.random.default_rng(f.texture + 5), 48, small))
    edge = 1 - 0.13 * (axis**2 + axis[:, None] ** 2)
    field = np.clip(field * (f.exposure * edge), 0, 1).astype(np.float32)
    canvas.rgb[:] = enlarge(field, canvas.size, slice(None), slice(None))


def _tints(f: Factors) -> tuple[Array, Array]:
    """The two colours of a background, the second lighter."""
    hue, step = f.background_hue, f.background_hue_step
    saturation, value = f.background_saturation, f.background_value
    first = colorsys.hsv_to_rgb(hue % 1, saturation, 0.75 * value)
    second = colorsys.hsv_to_rgb((hue + step) % 1, 0.8 * saturation, min(1.0, 1.15 * value))
    return colour_of(*first), colour_of(*second)


def _studio(f: Factors, x: Array, y: Array) -> Array:
    dark, bright = _tints(f)
    glow = bell(x + 0.4 * f.light_side, y + 0.1, 0.9, 1.0)
    cloth = clouds(np.random.default_rng(f.texture + 6), 7, x.size)
    return mix(0.55 * dark, bright, np.clip(glow + 0.1 * cloth, 0, 1))


def _gradient(f: Factors, x: Array, y: Array) -> Array:
    dark, bright = _tints(f)
    slope = 0.5 + 0.4 * y * np.cos(f.texture % 7) + 0.4 * x * np.sin(f.texture % 7)
    return mix(dark, bright, np.clip(slope, 0, 1))


def _bokeh(f: Factors, x: Array, y: Array) -> Array:
    dark, bright = _tints(f)
    rng = np.random.default_rng(f.texture + 6)
    field = mix(0.35 * dark, 0.8 * dark, np.clip(0.5 + 0.3 * clouds(rng, 5, x.size), 0, 1))
    for u, v, size, strength, warm in rng.uniform(size=(26, 5)).tolist():
        disc = cover(
            ellipse(x - 2.4 * u + 1.2, y - 2.2 * v + 1.2, *(2 * [0.06 + 0.16 * size])), 0.06
        )
        lamp = mix(bright, colour_of(1.0, 0.85, 0.6), warm)
        field = field + (0.15 + 0.45 * strength) * disc * lamp
    return np.asarray(field)


def _foliage(f: Factors, x: Array, y: Array) -> Array:
    rng = np.random.default_rng(f.texture + 6)
    hue = 0.2 + 0.14 * f.background_hue
    value = 0.45 + 0.5 * f.background_value
    leaf = colour_of(*colorsys.hsv_to_rgb(hue, 0.35 + 0.5 * f.background_saturation, 0.7 * value))
    sun = colour_of(*colorsys.hsv_to_rgb(hue - 0.06, 0.35, value))
    large, small = clouds(rng, 7, x.size), clouds(rng, 22, x.size)
    share = np.clip(0.45 + 0.28 * large + 0.16 * small - 0.2 * y, 0, 1)
    return mix(mix(0.2 * leaf, leaf, np.clip(2 * share, 0, 1)), sun, np.clip(2 * share - 1, 0, 1))


def _room(f: Factors, x: Array, y: Array) -> Array:
    dark, bright = _tints(f)
    rng = np.random.default_rng(f.texture + 6)
    field = mix(0.8 * dark, bright, np.clip(0.5 - 0.5 * f.light_side * x, 0, 1))
    for centre, width, top, tone in rng.uniform(size=(4, 4)).tolist():
        panel = cover(0.12 + 0.3 * width - np.abs(x - 2.4 * centre + 1.2), 0.09)
        panel = panel * cover(y + 1.4 * top, 0.09) * cover(1.2 - y, 0.1)
        field = mix(field, mix(0.3 * dark, 1.1 * bright, tone), 0.7 * panel)
    return np.asarray(field)


def _horizon(f: Factors, x: Array, y: Array) -> Array:
    dark, bright = _tints(f)
    rng = np.random.default_rng(f.texture + 6)
    value = 0.55 + 0.45 * f.background_value
    sky = mix(
        colour_of(0.45, 0.62, 0.85), colour_of(0.95, 0.8, 0.7), f.background_hue_step * 2 + 0.3
    )
    sky = mix(sky * value, colour_of(0.95, 0.95, 0.93) * value, np.clip(0.5 + 0.5 * y, 0, 1))
    sky = sky * (1 + 0.06 * clouds(rng, 9, x.size))
    ground = mix(0.5 * dark, 0.8 * bright, np.clip(y, 0, 1)) * (1 + 0.1 * clouds(rng, 16, x.size))
    ridge = 0.15 + 0.5 * (f.background_saturation - 0.3) + 0.05 * np.sin(5 * x + f.texture % 6)
    return mix(sky, ground, cover(y - ridge, 0.12))


_BACKGROUNDS = {
    "studio": _studio,
    "gradient": _gradient,
    "bokeh": _bokeh,
    "foliage": _foliage,
    "room": _room,
    "horizon": _horizon,
}


def clothes_colour(f: Factors) -> Array:
    """Colour of the cloth in even light."""
    return colour_of(*colorsys.hsv_to_rgb(f.clothes_hue, f.clothes_saturation, f.clothes_value))


def paint_clothes(canvas: Canvas, f: Factors, light: Light) -> None:
    """Cloth over the shoulders, open at the neck, with folds."""
    patch = canvas.patch(-1.5, 0.6, 1.5, 1.5, -0.3)
    u, v = patch.u, patch.v
    width = 0.235 + 0.07 * f.ruggedness
    spread = knots(0.4, 1.6)
    flare = np.maximum(spread - 0.75, 0)
    shape = Profile(0.4, 1.6, width + 0.3 * flare + 3.4 * flare**2).distance(u, v)
    side = np.abs(u)
    neck = {
        "crew": v - 0.925 + 0.9 * side**2,
        "v_neck": v - 1.08 + 1.0 * side,
        "shirt": v - 1.0 + 0.95 * side,
        "turtleneck": v - 0.79 + 0.25 * side**2,
        "wide": v - 1.03 + 0.35 * side**2 + 0.55 * np.maximum(side - 0.35, 0),
    }[f.neckline]
    inside = np.minimum(shape + 0.012, neck)
    rng = np.random.default_rng(f.texture + 7)
    folds = clouds_under(patch, rng, 10, canvas.size)
    round_ = np.clip(u / 1.1, -0.9, 0.9)
    facing = 0.55 + 0.45 * (
        round_ * light.direction[0] + np.sqrt(1 - round_**2) * light.direction[2]
    )
    depth = 0.78 + 0.22 * cover(inside - 0.1, 0.2)
    colour = clothes_colour(f) * (light.ambient + light.key * facing) * depth * (1 + 0.09 * folds)
    patch.shade(
        1 - 0.4 * np.exp(-np.abs(np.minimum(inside, 0)) / 0.03) * (inside < 0) * cover(shape, 0.02)
    )
    patch.paint(colour, cover(inside, 1.5 * canvas.pitch + 0.004))
    hem = {"crew": 0.035, "turtleneck": 0.1, "shirt": 0.1}.get(f.neckline)
    if hem:
        _paint_collar(canvas, f, colour, hem)


def _paint_collar(canvas: Canvas, f: Factors, cloth: Array, hem: float) -> None:
    """A band along the neckline, lit at its fold."""
    patch = canvas.patch(-1.5, 0.6, 1.5, 1.5, -0.3)
    side = np.abs(patch.u)
    line = {
        "crew": patch.v - 0.925 + 0.9 * side**2,
        "turtleneck": patch.v - 0.79 + 0.25 * side**2,
        "shirt": patch.v - 1.0 + 0.95 * side,
    }[f.neckline]
    band = np.minimum(line, hem - line)
    if f.neckline == "shirt":
        band = np.minimum(band, 0.42 - side)
    width = 0.235 + 0.07 * f.ruggedness
    flare = np.maximum(patch.v - 0.75, 0)
    band = np.minimum(band, width + 0.3 * flare + 3.4 * flare**2 - side + 0.012)
    patch.shade(1 - 0.35 * np.exp(-np.abs(band + 0.012) / 0.014) * (band < 0) * (line > 0))
    patch.paint(1.12 * cloth, cover(band, 1.5 * canvas.pitch + 0.006))


def paint_earring(canvas: Canvas, f: Factors, light: Light, *, side: int) -> None:
    """Stud, hoop or drop under the lobe."""
    centre, v0 = side * 0.452 * f.face_width, 0.215 + 0.05 * (f.ear_size - 1)
    patch = canvas.patch(centre - 0.1, v0 - 0.06, centre + 0.1, v0 + 0.24, -0.45)
    u, v = patch.u - centre, patch.v - v0
    if f.earrings == "hoop":
        radius = 0.05 + 0.03 * (f.texture % 5) / 4
        inside = 0.009 - np.abs(np.sqrt(u * u + (v - radius) ** 2) - radius)
    else:
        inside = ellipse(u, v, 0.018, 0.018)
        if f.earrings == "drop":
            inside = np.maximum(inside, ellipse(u, v - 0.09, 0.022, 0.05))
    metal = mix(colour_of(0.85, 0.68, 0.35), colour_of(0.85, 0.86, 0.9), f.texture % 2)
    sparkle = 0.55 + 0.9 * bell(u + 0.006, v % 0.05 - 0.02, 0.012, 0.012)
    patch.paint(metal * (light.ambient + light.key) * sparkle, cover(inside, canvas.pitch + 0.006))


def paint_glasses(canvas: Canvas, f: Factors, light: Light) -> None:
    """Frame, bridge, temples and the sheen on the lenses."""
    patch = canvas.patch(-0.5, -0.25, 0.5, 0.25, 0.06)
    u, v = np.abs(patch.u), patch.v - 0.012
    width, height, power = {
        "round": (0.135, 0.128, 2.0),
        "square": (0.152, 0.105, 4.5),
        "sunglasses": (0.165, 0.125, 3.0),
    }[f.glasses]
    across, down = np.abs(u - f.eye_spacing - 0.006) / width, np.abs(v) / height
    lens = (1 - (across**power + down**power) ** (1 / power)) * height
    thin = 0.006 + 0.006 * (f.texture % 3) + 0.004 * (f.glasses != "round")
    frame = thin - np.abs(lens)
    inner = f.eye_spacing - width
    bridge = np.minimum(0.009 - np.abs(v + 0.03 + 0.03 * (1 - (u / inner) ** 2)), inner + 0.01 - u)
    temple = np.minimum(0.009 - np.abs(v + 0.035), u - f.eye_spacing - width)
    temple = np.minimum(temple, 0.47 * f.face_width - u)
    shape = np.maximum(np.maximum(frame, bridge), temple)
    soft = cover(np.maximum(np.maximum(frame, bridge), temple) + 0.004, 0.045)
    tint = [colour_of(0.07, 0.06, 0.06), colour_of(0.27, 0.15, 0.09), colour_of(0.13, 0.15, 0.24)]
    level = light.ambient + light.key
    patch.shade(1 - 0.22 * soft)
    dark = 0.93 if f.glasses == "sunglasses" else 0.04
    glass = colour_of(0.1, 0.1, 0.11) * level * (1.4 - 2.5 * patch.v)
    patch.paint(glass, dark * cover(lens, canvas.pitch + 0.004))
    streak = cover(0.05 - np.abs(patch.u % 0.4 * 0.8 + v - 0.16), 0.05) * cover(lens - 0.015, 0.02)
    patch.paint(colour_of(1, 1, 1), (0.1 + 0.08 * (dark > 0.5)) * streak)
    patch.paint(tint[f.texture % 3] * level, cover(shape, 1.5 * canvas.pitch))
