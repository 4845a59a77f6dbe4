"""The skin of a built-in portrait: head in relief, nose, ears, neck, lines and freckles."""

import numpy as np

from pgbench.portrait_canvas import (
    FIELD,
    Array,
    Canvas,
    Light,
    Patch,
    Profile,
    arc,
    bell,
    clouds_under,
    colour_of,
    cover,
    ellipse,
    enlarge,
    hex_colour,
    knots,
    mix,
)
from pgbench.portrait_factors import Factors

CROWN = 0.72  # from the eyes up to the top of the skull
HEAD_DEPTH = -0.16  # the outline lies behind the eyes, so turning moves it the other way
EAR_DEPTH = -0.24
SKIN = [
    hex_colour(c) for c in ("f2d4c2", "e9c1a2", "dba883", "c18a63", "9c6743", "734730", "513224")
]
_WRAP = np.array([0.42, 0.26, 0.2], np.float32).reshape(3, 1, 1)  # light bleeds red through skin
_FLUSH = np.array([0.15, 1.0, 0.85], np.float32).reshape(3, 1, 1)  # what blood takes away
DUSK = np.array([0.8, 1.0, 1.05], np.float32).reshape(3, 1, 1)  # what a hollow takes away


def skin_colour(factors: Factors) -> Array:
    """Colour of the skin in even light."""
    place = min(max(factors.skin_tone, 0.0), 1.0) * (len(SKIN) - 1.001)
    tone = mix(SKIN[int(place)], SKIN[int(place) + 1], place % 1)
    warmth = 0.1 * factors.skin_warmth
    return tone * np.array([1, 1 + 0.35 * warmth, 1 - warmth], np.float32).reshape(3, 1, 1)


def head_profile(factors: Factors, margin: float = 0.0) -> Profile:
    """Outline of head and jaw, `margin` wider."""
    v = knots(-0.9, 0.9)
    width = 0.445 * factors.face_width + margin
    chin = 0.705 * factors.face_length + margin
    crown, middle = CROWN + margin, 0.0
    above = arc((v - middle) / (crown + middle), 2.5)
    t = np.maximum((v - middle) / (chin - middle), 0)
    jaw = arc(t, 1.95 + 0.75 * factors.chin) - 0.07 * (1 - factors.cheeks) * np.sin(np.pi * t**1.5)
    return Profile(-0.9, 0.9, width * np.where(v < middle, above, jaw))


def lit(albedo: Array, light: Light, normal: tuple[Array, Array, Array]) -> Array:
    """Skin of this colour and these unit normals (u, v, out) in the light."""
    x, y, z = light.direction
    facing = normal[0] * x + normal[1] * y + normal[2] * z
    diffuse = np.maximum((facing + _WRAP) / (1 + _WRAP), 0)
    above = 0.75 - 0.25 * normal[1]
    return np.asarray(albedo * (light.ambient * above + light.key * diffuse))


def _humps(f: Factors) -> list[tuple[float, ...]]:
    """Relief on the egg of the head: u, v, width, height, depth, amount; u > 0 is both sides."""
    nose, smile = f.nose_bridge, max(f.smile, 0.0)
    tip, wing = 0.245 * f.nose_length, 0.062 * f.nose_width
    return [
        (0.0, 0.1, 0.042 * f.nose_width, 0.15, 0.08, 0.05 * nose),
        (0.0, tip, 0.058 * f.nose_width, 0.058, 0.2, 0.05 * nose),
        (wing, tip + 0.012, 0.03, 0.034, 0.14, 0.02),
        (0.19, 0.0, 0.1, 0.065, 0.0, -0.042),
        (f.eye_spacing, 0.0, 0.07, 0.045, 0.0, 0.022),
        (0.17, -0.125, 0.14, 0.04, 0.04, 0.008 + 0.012 * f.ruggedness),
        (0.0, -0.35, 0.3, 0.12, 0.0, 0.02),
        (0.27, 0.17, 0.11, 0.09, 0.0, 0.026 + 0.012 * smile),
        (0.2, 0.3, 0.1, 0.08, 0.0, 0.018 * f.cheeks + 0.02 * smile),
        (0.3, 0.36, 0.09, 0.14, 0.0, -0.02 * (1 - f.cheeks)),
        (0.0, 0.36, 0.016, 0.035, 0.12, -0.006),
        (0.0, 0.45, 0.16, 0.08, 0.05, 0.016),
        (0.0, 0.545, 0.1, 0.025, 0.05, -0.016),
        (0.0, 0.625, 0.1, 0.055, 0.04, 0.026),
    ]


def _stains(f: Factors) -> list[tuple[float, ...]]:
    """Colour: u, v, width, height, depth, blood, hollow; u > 0 is both sides."""
    blush = 0.1 + 0.1 * f.makeup + 0.05 * (f.skin_warmth < 0)
    pale = 1 - 0.6 * f.skin_tone
    return [
        (0.25, 0.22, 0.12, 0.1, 0.05, blush * pale, 0.0),
        (0.0, 0.24, 0.07, 0.05, 0.15, 0.08 * pale, 0.0),
        (0.0, 0.62, 0.1, 0.06, 0.05, 0.05 * pale, 0.0),
        (0.12, 0.015, 0.045, 0.05, 0.0, 0.0, 0.22),
        (0.2, 0.065, 0.09, 0.03, 0.0, 0.0, 0.09 + 0.16 * f.age),
        (0.2, -0.07, 0.1, 0.03, 0.0, 0.0, 0.14 + 0.14 * f.makeup),
        (0.0, 0.315, 0.06, 0.02, 0.1, 0.0, 0.14),
        (0.0, 0.54, 0.08, 0.022, 0.05, 0.0, 0.22),
        (0.42, 0.35, 0.09, 0.3, 0.0, 0.0, 0.17),
    ]


def _bells(patch: Patch, rows: list[tuple[float, ...]], turn: float) -> tuple[Array, ...]:
    """Of each row, on both sides: slopes along u and v of a bell, the bell, the row's last two."""
    table = np.array(rows, np.float32)
    mirrored = table[table[:, 0] > 0] * np.where(np.arange(table.shape[1]) == 0, -1, 1)
    table = np.concatenate((table, mirrored.astype(np.float32)))[:, :, None, None]
    du = patch.u * (1 / table[:, 2]) - (table[:, 0] + table[:, 4] * turn) / table[:, 2]
    dv = patch.v * (1 / table[:, 3]) - table[:, 1] / table[:, 3]
    bells = du * du
    bells += dv * dv
    np.exp(np.negative(bells, out=bells), out=bells)
    return du * (-2 / table[:, 2]), dv * (-2 / table[:, 3]), bells, table[:, -2], table[:, -1]


def _normals(patch: Patch, f: Factors, turn: float) -> tuple[Array, Array, Array]:
    """Unit normals (u, v, out) of the face over a patch."""
    across = (patch.u - (HEAD_DEPTH + 0.25) * turn) / (0.5 * f.face_width)
    down = (patch.v + 0.02) / 0.9
    out = np.sqrt(np.maximum(1 - across**2 - down**2, 0.1))
    along_u, along_v, bells, _, amount = _bells(patch, _humps(f), turn)
    bells *= amount
    slope_u = np.einsum("nij,nij->ij", bells, along_u) - across / out
    slope_v = np.einsum("nij,nij->ij", bells, along_v) - down / out
    length = 1 / np.sqrt(slope_u**2 + slope_v**2 + 1)
    return -slope_u * length, -slope_v * length, length


def _skin(patch: Patch, f: Factors, light: Light, turn: float, mottle: Array) -> Array:
    """The lit face over a patch, as if it went on beyond its outline: (3, height, width)."""
    normal = _normals(patch, f, turn)
    _, _, bells, blood, hollow = _bells(patch, _stains(f), turn)
    taken = np.einsum("nij,nab->ij", bells, blood) * _FLUSH
    taken += np.einsum("nij,nab->ij", bells, hollow) * DUSK
    colour = lit(skin_colour(f) * np.exp(0.018 * mottle - taken), light, normal)
    x, y, z = light.direction
    glint = normal[0] * (0.55 * x) + normal[1] * (0.55 * y) + normal[2] * (0.55 * z + 0.5)
    return np.asarray(colour + light.key * (0.1 * np.maximum(glint, 0) ** 26))


def paint_head(canvas: Canvas, f: Factors, light: Light) -> None:
    """Skin from crown to chin; its relief is worked out on a coarser grid and interpolated."""
    box = (-0.6, -CROWN - 0.1, 0.6, 0.82, HEAD_DEPTH)
    patch, coarse = canvas.patch(*box), Canvas(f, min(canvas.size, FIELD))
    under = coarse.patch(*box)
    mottle = clouds_under(under, np.random.default_rng(f.texture), 40, coarse.size)
    face = under._replace(u=under.u + HEAD_DEPTH * canvas.turn)
    under.rgb[:] = _skin(face, f, light, canvas.turn, mottle)
    skin = enlarge(coarse.rgb, canvas.size, patch.rows, patch.columns)
    inside = head_profile(f).distance(patch.u, patch.v)
    patch.paint(skin, cover(inside, 1.5 * canvas.pitch + 0.006))


def paint_neck(canvas: Canvas, f: Factors, light: Light) -> None:
    """Neck and shoulders, dark under the chin."""
    patch = canvas.patch(-1.4, 0.3, 1.4, 1.4, -0.3)
    v = knots(0.2, 1.5)
    width = 0.22 + 0.07 * f.ruggedness
    flare = np.maximum(v - 0.76, 0)
    shoulders = Profile(0.2, 1.5, width + 0.25 * flare + 3.2 * flare**2 + 0.03 * (v - 0.76) ** 2)
    across = np.clip(patch.u / (width * 1.25), -0.95, 0.95)
    out = np.sqrt(1 - across**2)
    colour = lit(0.93 * skin_colour(f), light, (across, np.full_like(across, -0.1), out))
    shift = 0.12 * light.direction[0]
    chin = 0.72 * f.face_length
    shadow = cover(ellipse(patch.u + shift, patch.v - chin + 0.28, 0.46, 0.42), 0.18)
    tendons = bell(np.abs(patch.u) - 0.28 * (1.25 - patch.v), patch.v - 1.0, 0.025, 0.12)
    colour *= 1 - (0.62 * shadow + 0.08 * tendons) * DUSK * 0.93
    patch.paint(colour, cover(shoulders.distance(patch.u, patch.v), 1.5 * canvas.pitch + 0.004))


def paint_ear(canvas: Canvas, f: Factors, light: Light, *, side: int) -> None:
    """One ear: rim, hollow and lobe; it sinks behind the head when the face turns to its side."""
    centre = side * 0.452 * f.face_width
    patch = canvas.patch(centre - 0.12, -0.14, centre + 0.12, 0.3, EAR_DEPTH)
    u, v = (patch.u - centre) * side, patch.v - 0.07
    size = f.ear_size
    shape = ellipse(u - 0.02 + 0.12 * v, v, 0.062 * size, 0.155 * size)
    hollow = ellipse(u - 0.012 + 0.12 * v, v + 0.015, 0.032 * size, 0.095 * size)
    flat = np.full_like(u, 0.0)
    normal = (flat + 0.5 * side, flat, flat + 0.86)
    colour = lit(skin_colour(f) * (1 - 0.14 * _FLUSH * (1 - 0.5 * f.skin_tone)), light, normal)
    colour = (
        colour
        * (1 - 0.45 * DUSK * cover(hollow, 0.035))
        * (0.75 + 0.25 * cover(shape - 0.012, 0.03))
    )
    patch.paint(colour, cover(shape, 1.5 * canvas.pitch))


def paint_nose(canvas: Canvas, f: Factors, light: Light) -> None:
    """Nostrils, the creases of the wings and the shadow cast away from the lamp."""
    v0 = 0.283 * f.nose_length
    patch = canvas.patch(-0.2, 0.05, 0.2, 0.42, 0.14)
    x = light.direction[0]
    cast = bell(patch.u + 0.12 * x, patch.v - v0 + 0.05, 0.05, 0.08)
    patch.shade(1 - 0.42 * abs(x) * cast * np.clip(-np.sign(x) * patch.u * 24, 0, 1) * DUSK)
    u = np.abs(patch.u)
    wing = np.sqrt((u - 0.062 * f.nose_width) ** 2 + (patch.v - v0 + 0.01) ** 2)
    crease = np.exp(-(((wing - 0.036) / 0.011) ** 2)) * cover(u - 0.07 * f.nose_width, 0.03)
    patch.shade(1 - 0.3 * crease * DUSK)
    nostril = ellipse(u - 0.04 * f.nose_width, patch.v - v0 - 0.25 * u + 0.004, 0.027, 0.0155)
    dark = skin_colour(f) * colour_of(0.36, 0.25, 0.23)
    patch.paint(dark, 0.9 * cover(nostril, canvas.pitch + 0.012))


def paint_lines(canvas: Canvas, f: Factors) -> None:
    """Folds from nose to mouth, lines of age on the forehead and freckles."""
    smile = max(f.smile, 0.0)
    patch = canvas.patch(-0.3, 0.22, 0.3, 0.56, 0.05)
    fall = np.clip((patch.v - 0.26) / 0.22, 0, 1)
    fold = np.abs(patch.u) - 0.085 - 0.1 * (1 + 0.2 * smile) * (1 - (1 - fall) ** 1.7)
    ends = np.clip(fall * 5, 0, 1) * np.clip((1 - fall) * 2, 0, 1)
    patch.shade(
        1 - (0.04 + 0.17 * f.age + 0.14 * smile) * np.exp(-((fold / 0.021) ** 2)) * ends * DUSK
    )
    if f.age > 0.45:
        patch = canvas.patch(-0.34, -0.42, 0.34, -0.18)
        wave = (patch.v - 0.05 * patch.u**2 + 0.3) * 15 + 0.3 * np.sin(patch.u * 9)
        lines = np.exp(-((np.abs(wave % 1 - 0.5) / 0.14) ** 2)) * bell(
            patch.u, patch.v + 0.31, 0.2, 0.07
        )
        patch.shade(1 - 0.4 * (f.age - 0.45) * lines * DUSK)
    if f.freckles > 0:
        _paint_freckles(canvas, f)


def _paint_freckles(canvas: Canvas, f: Factors) -> None:
    """Small brown dots over nose and cheeks."""
    rng = np.random.default_rng(f.texture + 2)
    number = int(16 + 34 * f.freckles)
    places = np.column_stack((rng.normal(0, 0.19, number), rng.normal(0.16, 0.07, number)))
    for (u, v), size in zip(
        places.tolist(), rng.uniform(0.005, 0.01, number).tolist(), strict=True
    ):
        patch = canvas.patch(u - 0.03, v - 0.03, u + 0.03, v + 0.03)
        width = size + 0.4 * canvas.pitch
        patch.shade(
            1 - 0.3 * (size / width) ** 2 * bell(patch.u - u, patch.v - v, width, width) * DUSK
        )
