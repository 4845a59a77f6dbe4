"""The canvas of the built-in portraits: samples, the frame of the face, soft-edged shapes, noise.

A picture is sampled on a grid finer than its pixels, each shape gives every sample its coverage
from a signed distance, and pixels are the means of their samples. Colours are squared sRGB
values, nearly linear in light, float32 of shape (3, 1, 1) or (3, height, width).
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pgbench.portrait_factors import Factors

Array = NDArray[Any]  # float32 throughout
EYE_LINE = -0.08  # image units (-1 top, 1 bottom): 46% of the height
FIELD = 128  # samples a side of fields that vary slowly; they are interpolated to the canvas
_KNOTS = 1024
_CUBIC = {  # weights of four neighbours as polynomials of the place between the middle two
    True: np.array([[1, -3, 3, -1], [4, 0, -6, 3], [1, 3, 3, -3], [0, 0, 0, 1]]) / 6,
    False: np.array([[0, -1, 2, -1], [2, 0, -5, 3], [0, 1, 4, -3], [0, 0, -1, 1]]) / 2,
}


class Patch(NamedTuple):
    """A rectangle of the canvas: face coordinates u and v, the colours to paint on, its place."""

    u: Array
    v: Array
    rgb: Array
    rows: slice
    columns: slice

    def paint(self, colour: Array, coverage: Array | float) -> None:
        """Lay `colour` over the patch."""
        rgb = self.rgb
        rgb += (colour - rgb) * coverage

    def shade(self, factor: Array) -> None:
        """Multiply the patch: shadows and stains."""
        rgb = self.rgb
        rgb *= factor


class Canvas:
    """Square grid of samples, (3, size, size), with the pose of a sitter."""

    def __init__(self, factors: Factors, size: int) -> None:
        self.size = size
        self.pitch = 2.0 / size / factors.scale  # between samples, in face units
        self.turn = 0.34 * factors.yaw  # sine of the head's turn: features in front move by it
        self.rgb: Array = np.zeros((3, size, size), np.float32)
        self._cos = math.cos(factors.roll) / factors.scale
        self._sin = math.sin(factors.roll) / factors.scale
        self._scale = factors.scale
        self._axis: Array = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
        self._origin = (factors.shift_x, EYE_LINE + factors.shift_y)

    def patch(
        self, left: float, top: float, right: float, bottom: float, depth: float = 0
    ) -> Patch:
        """The samples around a rectangle given in face units, `depth` in front of the eyes."""
        shift = depth * self.turn
        corners = [(u + shift, v) for u in (left, right) for v in (top, bottom)]
        across, down = zip(*(self._to_image(u, v) for u, v in corners), strict=True)
        columns, rows = self._span(across), self._span(down)
        x = self._axis[columns] - self._origin[0]
        y = self._axis[rows, None] - self._origin[1]
        u, v = (self._cos * x - shift) + self._sin * y, self._cos * y - self._sin * x
        return Patch(u, v, self.rgb[:, rows, columns], rows, columns)

    def whole(self) -> Patch:
        """All samples."""
        return self.patch(-2, -2, 2, 2)

    def _to_image(self, u: float, v: float) -> tuple[float, float]:
        cos, sin = self._cos * self._scale**2, self._sin * self._scale**2
        return self._origin[0] + cos * u - sin * v, self._origin[1] + sin * u + cos * v

    def _span(self, ends: tuple[float, ...]) -> slice:
        first = math.floor((min(ends) + 1) / 2 * self.size)
        last = math.ceil((max(ends) + 1) / 2 * self.size)
        return slice(max(0, min(first, self.size)), max(0, min(last, self.size)))


@dataclasses.dataclass(frozen=True)
class Light:
    """Key light from `direction` (towards it; u, v, out of the picture) and ambient light."""

    direction: tuple[float, float, float]
    key: Array
    ambient: Array


def light_of(factors: Factors) -> Light:
    """The light of a portrait: key on one side and above, warm or cool, ambient the other way."""
    side, up = 0.75 * factors.light_side, 0.25 + 0.45 * factors.light_height
    length = math.hypot(side, up, 0.8)
    tint = 0.16 * factors.light_warmth
    contrast = 0.45 + 0.4 * factors.light_contrast
    key = colour_of(1.0, 1.0, 1.0) * (1.12 * contrast * factors.exposure)
    ambient = 1.05 * (1.0 - contrast) * factors.exposure
    warm = np.array([1 + tint, 1, 1 - tint], np.float32).reshape(3, 1, 1)
    return Light((side / length, -up / length, 0.8 / length), key * warm, ambient * (2 - warm))


def colour_of(red: float, green: float, blue: float) -> Array:
    """An sRGB colour in [0, 1] as (3, 1, 1) light."""
    return (np.array([red, green, blue], np.float32) ** 2).reshape(3, 1, 1)


def hex_colour(code: str) -> Array:
    """`rrggbb` as (3, 1, 1) light."""
    red, green, blue = bytes.fromhex(code)
    return colour_of(red / 255, green / 255, blue / 255)


def mix(first: Array, second: Array, share: float | Array) -> Array:
    """`first` where `share` is 0, `second` where it is 1."""
    return first + (second - first) * share


def cover(distance: Array, softness: float) -> Array:
    """Coverage in [0, 1] of a shape from its signed distance, inside positive."""
    t = np.minimum(np.maximum(distance * (1 / softness) + 0.5, 0), 1)
    return np.asarray(t * t * (3 - 2 * t))


def bell(u: Array, v: Array, width: float, height: float) -> Array:
    """Gaussian hump of height 1 around the origin."""
    return np.asarray(np.exp(-((u * (1 / width)) ** 2 + (v * (1 / height)) ** 2)))


def ellipse(u: Array, v: Array, width: float, height: float) -> Array:
    """Signed distance, nearly, to an ellipse with these half axes; inside positive."""
    radius = np.sqrt((u * (1 / width)) ** 2 + (v * (1 / height)) ** 2)
    return (1 - radius) * (min(width, height))


class Profile:
    """A shape symmetric about a vertical axis: its half width as a function of v."""

    def __init__(self, top: float, bottom: float, widths: Array) -> None:
        self._top, self._step = top, (bottom - top) / (len(widths) - 1)
        self._widths = widths
        # Distance to a slanted edge is shorter than its horizontal part.
        cosines = 1 / np.hypot(1, np.diff(widths, append=widths[-1:]) / self._step)
        self._cosines = cosines.astype(np.float32)
        self._beyond = np.maximum(self._cosines, 0.4)  # a flat end must not reach out sideways

    def distance(self, u: Array, v: Array) -> Array:
        """Signed distance, nearly, to the edge; inside positive."""
        place = (v - self._top) * (1 / self._step)
        knot = np.clip(place, 0, len(self._widths) - 1).astype(np.int32)
        inwards = self._widths[knot] - np.abs(u)
        return np.asarray(np.minimum(inwards * self._cosines[knot], inwards * self._beyond[knot]))


def knots(top: float, bottom: float) -> Array:
    """The v at which a Profile between `top` and `bottom` is given."""
    return np.linspace(top, bottom, _KNOTS, dtype=np.float32)


def arc(t: Array, power: float) -> Array:
    """Half width of a superellipse at height t (0 the middle, 1 the end), negative beyond it."""
    rest = 1 - np.abs(t) ** power
    return np.asarray(np.sign(rest) * np.abs(rest) ** (1 / power))


def clouds(rng: np.random.Generator, cells: int, size: int) -> Array:
    """Smooth noise of about unit variance, (size, size), with `cells` random values a side."""
    values = rng.standard_normal((cells, cells), dtype=np.float32) * 2
    return _spread(values, _taps(cells, size, smooth=True), slice(None), slice(None))


def clouds_under(patch: Patch, rng: np.random.Generator, cells: int, size: int) -> Array:
    """The part of `clouds` that lies under a patch."""
    values = rng.standard_normal((cells, cells), dtype=np.float32) * 2
    return _spread(values, _taps(cells, size, smooth=True), patch.rows, patch.columns)


def enlarge(field: Array, size: int, rows: slice, columns: slice) -> Array:
    """Interpolate (3, n, n) to (3, size, size) through every value, and cut a part out."""
    if field.shape[-1] == size:
        return field[:, rows, columns]
    return _spread(field, _taps(field.shape[-1], size, smooth=False), rows, columns)


def _spread(field: Array, taps: tuple[Array, Array], rows: slice, columns: slice) -> Array:
    """Weighted sums of four neighbours along both axes; no matrix library, so no thread count."""
    index, weight = taps
    wide = _blend(field, index[:, columns], weight[:, columns], axis=-1)
    return _blend(wide, index[:, rows], weight[:, rows, None], axis=-2)


def _blend(field: Array, index: Array, weight: Array, *, axis: int) -> Array:
    total = field.take(index[0], axis) * weight[0]
    for places, share in zip(index[1:], weight[1:], strict=True):
        part = field.take(places, axis)
        part *= share
        total += part
    return np.asarray(total)


@functools.lru_cache(maxsize=64)
def _taps(cells: int, size: int, *, smooth: bool) -> tuple[Array, Array]:
    """Places and cubic weights, (4, size): B-spline or Catmull-Rom; the ends repeat."""
    place = (np.arange(size) + 0.5) * cells / size - 0.5
    first = np.floor(place).astype(np.int64)
    index = np.clip(first + np.arange(-1, 3)[:, None], 0, cells - 1)
    powers = np.stack([np.ones(size), t := place - first, t**2, t**3])
    return index, (_CUBIC[smooth] @ powers).astype(np.float32)


def strand_table(rng: np.random.Generator, cells: int) -> Array:
    """Smooth periodic noise on [0, 1), about unit variance, (4096,): the pattern across strands."""
    values = rng.standard_normal(cells, dtype=np.float32)
    cell, share = _strand_places(cells)
    return np.asarray(values[cell] + (values[(cell + 1) % cells] - values[cell]) * share)


@functools.lru_cache(maxsize=16)
def _strand_places(cells: int) -> tuple[Array, Array]:
    """For each of the table's 4096 places its cell and how far it lies towards the next."""
    place = np.arange(4096) * (cells / 4096)
    t = place % 1
    return place.astype(np.int64), (t * t * (3 - 2 * t)).astype(np.float32)


def look_up(table: Array, place: Array) -> Array:
    """A strand table at any place; it repeats with period 1."""
    return np.asarray(table[(place * 4096).astype(np.int32) & 4095])
