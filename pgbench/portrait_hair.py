"""The hair of a built-in portrait: what hangs behind the neck and what frames the face."""

from typing import NamedTuple

import numpy as np

from pgbench.portrait_canvas import (
    Array,
    Canvas,
    Light,
    Patch,
    Profile,
    arc,
    clouds_under,
    cover,
    ellipse,
    hex_colour,
    knots,
    look_up,
    mix,
    strand_table,
)
from pgbench.portrait_face import CROWN, HEAD_DEPTH
from pgbench.portrait_factors import Factors

COLOURS = {
    "black": (hex_colour("17120f"), hex_colour("5a4e48")),
    "dark_brown": (hex_colour("2e1d15"), hex_colour("7d5a42")),
    "brown": (hex_colour("4d3120"), hex_colour("a57a52")),
    "auburn": (hex_colour("5c2a1a"), hex_colour("bd7148")),
    "red": (hex_colour("8a431c"), hex_colour("e39b5c")),
    "dark_blond": (hex_colour("7a5a35"), hex_colour("cfac7c")),
    "blond": (hex_colour("b08c58"), hex_colour("f3deae")),
    "grey": (hex_colour("7d7975"), hex_colour("d9d7d3")),
}
_SWEPT = ("side_parted", "bob", "long_straight", "long_wavy")


class Cut(NamedTuple):
    """A hair style: how far it stands off the head, where it ends, what it leaves free."""

    above: float  # beyond the crown
    beside: float  # beyond the temples
    end: float  # v of the tips; short hair ends at the ears
    flare: float  # half width at the tips
    hairline: float  # v at the top of the forehead
    temple: float  # half width of the face left free
    square: float  # power of the hairline's curve
    pattern: str  # strands, brushed, waves, curls or fuzz

    @property
    def curtain(self) -> bool:
        """Whether it hangs beside the cheeks."""
        return self.end > 0.2


def cut_of(f: Factors) -> Cut:
    """The style with this sitter's volume, length and hairline."""
    more, line = f.hair_volume, -0.42 - 0.03 * f.hairline
    long = 0.62 + 0.75 * f.hair_length
    puff, puffed = 0.08 + 0.16 * more, 0.1 + 0.18 * more
    return {
        "buzz": Cut(0.025, 0.008, 0.1, 0.44, line, 0.40, 2.8, "fuzz"),
        "short": Cut(
            0.05 + 0.1 * more, 0.015 + 0.02 * more, 0.1, 0.44, line, 0.395, 2.7, "brushed"
        ),
        "side_parted": Cut(0.06 + 0.07 * more, 0.02, 0.1, 0.44, line, 0.39, 2.4, "brushed"),
        "fringe": Cut(0.06 + 0.06 * more, 0.05 + 0.05 * more, long, 0.54, -0.2, 0.38, 5, "strands"),
        "bob": Cut(0.06 + 0.07 * more, 0.07 + 0.07 * more, 0.6, 0.5, line, 0.385, 2.2, "strands"),
        "long_straight": Cut(
            0.05 + 0.06 * more, 0.04 + 0.06 * more, long, 0.56, line, 0.385, 2.2, "strands"
        ),
        "long_wavy": Cut(
            0.07 + 0.08 * more, 0.08 + 0.1 * more, long, 0.66, line, 0.385, 2.2, "waves"
        ),
        "curly": Cut(
            puff, puffed, 0.25 + 0.5 * f.hair_length, 0.45 + puffed, line, 0.39, 2.5, "curls"
        ),
        "bun": Cut(0.04 + 0.02 * more, 0.012, 0.1, 0.44, line, 0.40, 2.3, "strands"),
    }[f.hair_style]


def hair_colours(f: Factors) -> tuple[Array, Array]:
    """Base and highlight; age brings grey."""
    base, shine = COLOURS[f.hair_colour]
    grey = 0.5 * max(0.0, f.age - 0.55)
    level = 1 + 0.3 * f.hair_tint
    return mix(base, COLOURS["grey"][0], grey) * level, mix(shine, COLOURS["grey"][1], grey) * level


def _outline(f: Factors, cut: Cut) -> Profile:
    v = knots(-1.4, 1.6)
    widest = 0.445 * f.face_width + cut.beside
    middle, top = -0.1, CROWN + cut.above
    above = widest * arc((v - middle) / (top + middle), 2.5)
    fall = np.clip((v - middle) / (cut.end - middle), 0, 1)
    beside = widest + (cut.flare - widest) * fall * fall * (3 - 2 * fall)
    tips = np.minimum(arc(np.maximum((v - cut.end) / 0.14, 0), 2.5), 1)
    return Profile(-1.4, 1.6, np.where(v < middle, above, beside * tips))


def _opening(f: Factors, cut: Cut) -> Profile:
    v = knots(-1.4, 1.6)
    temple, width = -0.04, cut.temple * f.face_width
    above = width * arc(np.minimum((v - temple) / (cut.hairline - temple), 3), cut.square)
    if cut.curtain:
        below = width - 0.045 * np.clip(v / 0.5, 0, 1) ** 2 + 0.1 * np.clip(v - 0.7, 0, 1)
    else:
        below = width + 3.0 * np.maximum(v + 0.01, 0) ** 1.3
    return Profile(-1.4, 1.6, np.where(v < temple, above, below))


def _pattern(canvas: Canvas, f: Factors, patch: Patch, kind: str) -> Array:
    """Light and dark of the strands, about unit variance; the finest fade on coarse canvases."""
    rng = np.random.default_rng(f.texture + 4)
    u, v = patch.u, patch.v
    cells = clouds_under(patch, rng, 30, canvas.size)
    if kind in ("curls", "fuzz"):
        fine = clouds_under(patch, rng, 62, canvas.size)
        return 0.35 * fine if kind == "fuzz" else 1.2 - 0.9 * np.abs(cells) - 0.8 * np.abs(fine)
    if kind == "brushed":
        lean = -0.55 if f.hair_parting > 0 else 0.55
        across = u * 0.75 + lean * (v + 0.9 * u * u) + 0.005 * cells
    else:
        across = (u - 0.25 * f.hair_parting) / np.sqrt(np.maximum(v + 0.92, 0.03))
        wave = 0.028 * np.sin(v * 13 + 0.5 * cells + 5 * np.abs(u)) if kind == "waves" else 0.0
        across = across + wave + 0.003 * cells
    across = across * 0.45
    coarse, middle, fine = (look_up(strand_table(rng, n), across) for n in (22, 70, 210))
    fade = min(1.0, 0.004 / canvas.pitch)
    return np.asarray(0.55 * coarse + 0.5 * middle + 0.45 * fade * fine)


def _lit_hair(f: Factors, light: Light, patch: Patch, cut: Cut, pattern: Array) -> Array:
    """Colour of the hair as a lit volume with a band of shine around the crown."""
    base, shine = hair_colours(f)
    x, y, z = light.direction
    across = np.clip(patch.u / (0.47 + cut.beside), -0.96, 0.96)
    down = np.clip((patch.v + 0.1) / (CROWN - 0.06 + cut.above), -0.96, 0.35)
    out = np.sqrt(np.maximum(1 - 0.95 * (across**2 + down**2), 0.05))
    facing = np.maximum(0.25 + 0.75 * (across * x + down * y + out * z), 0)
    relief = np.maximum(1 + 0.26 * pattern, 0.25)
    ring = np.sqrt(across**2 + down**2) + 0.03 * pattern
    band = np.exp(-(((ring - 0.66) / 0.17) ** 2)) * facing**2 * np.maximum(1 + 0.5 * pattern, 0)
    gloss = {"curls": 0.14, "fuzz": 0.05, "brushed": 0.28}.get(cut.pattern, 0.4)
    diffuse = light.ambient + light.key * (1.15 * facing)
    return np.asarray(base * diffuse * relief + shine * light.key * (gloss * band))


def paint_back_hair(canvas: Canvas, f: Factors, light: Light) -> None:
    """Hair behind neck and ears, in the shadow of the head, and a bun."""
    if f.hair_style in ("bald", "buzz", "short", "side_parted"):
        return
    cut = cut_of(f)
    if f.hair_style == "bun":
        patch = canvas.patch(-0.4, -1.2, 0.4, -0.5, -0.35)
    else:
        patch = canvas.patch(-0.95, -1.2, 0.95, cut.end + 0.17, -0.3)
    pattern = _pattern(canvas, f, patch, cut.pattern)
    colour = _lit_hair(f, light, patch, cut, pattern)
    if f.hair_style == "bun":
        size = 0.17 + 0.05 * f.hair_volume
        shape = ellipse(patch.u - 0.1 * f.hair_parting, patch.v + 0.78, size * 1.15, size)
        patch.paint(colour, cover(shape + 0.006 * pattern, 1.5 * canvas.pitch + 0.008))
    else:
        shape = _outline(f, cut).distance(patch.u, patch.v) + _roughness(cut) * pattern
        patch.paint(0.5 * colour, cover(shape, 1.5 * canvas.pitch + 0.012))


def paint_front_hair(canvas: Canvas, f: Factors, light: Light) -> None:
    """Hair over the skull and beside the face, and the shadow it throws on the forehead."""
    if f.hair_style == "bald":
        return
    cut = cut_of(f)
    patch = canvas.patch(-0.85, -1.15, 0.85, cut.end + 0.17)
    u, v = patch.u - HEAD_DEPTH * canvas.turn, patch.v
    pattern = _pattern(canvas, f, patch, cut.pattern)
    rough = _roughness(cut) * np.clip(pattern, -1.4, 1.4)
    outer = _outline(f, cut).distance(u, v) + rough
    tufts = 1.4 * rough if cut.curtain else rough * np.clip(-10 * v - 1, 0, 1.4)
    opening = _opening(f, cut).distance(u - 0.1 * canvas.turn, v - _sweep(f, u)) + tufts
    shadow = np.exp(np.minimum(-opening, 0) / 0.045) * cover(ellipse(u, v, 0.43, CROWN), 0.03)
    patch.shade(1 - 0.4 * shadow)
    thin = cut.pattern == "fuzz"
    soft = 0.07 if thin else 1.5 * canvas.pitch + (0.02 if cut.pattern == "brushed" else 0.012)
    roots = 0.72 + 0.28 * cover(-opening - 0.03, 0.08)
    colour = _lit_hair(f, light, patch, cut, pattern) * roots
    patch.paint(colour, (0.8 if thin else 1.0) * cover(np.minimum(outer, -opening), soft))


def _roughness(cut: Cut) -> float:
    """How far single strands reach over the edge."""
    return {"curls": 0.017, "brushed": 0.011, "fuzz": 0.008}.get(cut.pattern, 0.005)


def _sweep(f: Factors, u: Array) -> Array:
    """How much lower the hair lies across the forehead, away from the parting."""
    lean = -1.0 if f.hair_parting > 0 else 1.0
    strength = 0.38 if f.hair_style in _SWEPT else 0.06
    return np.asarray(strength * np.maximum(lean * (u - 0.28 * f.hair_parting), 0) ** 1.2)
