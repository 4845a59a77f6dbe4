"""Where the lines of a figure lie on a page: scales, ticks, paths and points in SVG units.

The drawing is a box of WIDTH x HEIGHT units, y downwards. What has no place on an axis (a value
that is not finite, or not positive on a logarithmic axis) is a gap in its line.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pgbench.reports.figures import Curve, Figure
from pgbench.reports.tables import NONE

WIDTH, HEIGHT = 640, 330
LEFT, RIGHT, TOP, BOTTOM = 60, 628, 12, 300
MARKERS = 8  # that many at most on a line, so that it stays a line
SHAPES = (  # of markers: circle, square, triangle, diamond, triangle upside down
    '<circle cx="{x}" cy="{y}" r="3.5"/>',
    '<path d="M{x},{y}m-3.2-3.2h6.4v6.4h-6.4z"/>',
    '<path d="M{x},{y}m0-4 4 7h-8z"/>',
    '<path d="M{x},{y}m0-4.5 4.5 4.5-4.5 4.5-4.5-4.5z"/>',
    '<path d="M{x},{y}m0 4 4-7h-8z"/>',
)
SHORT = 10_000  # numbers of five digits and more may have their thousands apart
LARGEST = 1e150  # beyond it, and below its inverse, differences and ratios leave float64

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic axis from `low` to `high`, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    @cached_property
    def _ends(self) -> Floats:
        return _transformed(np.array([self.low, self.high]), self.log)

    def __call__(self, values: Floats) -> Floats:
        """Positions (n,) of `values` (n,); NaN where there is none."""
        low, high = self._ends
        share = (_transformed(values, self.log) - low) / (high - low)
        return np.asarray(self.start + share * (self.end - self.start))

    def ticks(self, values: list[float] | None = None) -> list[tuple[float, str]]:
        """(position, label) of `values`, or of round numbers inside the axis."""
        if values is None:
            values = _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high)
        positions = self(np.array(values, float))
        return [
            (round(float(at), 1), _label(value))
            for at, value in zip(positions, values, strict=True)
            if math.isfinite(at)
        ]


@dataclass(frozen=True)
class Line:
    """A curve as SVG path data, with the places of its markers, and its values as table rows.

    A row's `data-at` is the place of its point; a value without a place has none. The rows are
    made here, as a template is too slow for the hundred thousands of a large report.
    """

    name: str
    dashed: bool
    path: str
    band: str
    markers: list[tuple[float, float]]
    rows: Markup


@dataclass(frozen=True)
class Chart:
    """A figure, ready to be drawn; `lines` is empty of paths when nothing has a place."""

    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    marks: list[float]
    lines: list[Line]
    has_intervals: bool


def chart(figure: Figure) -> Chart:
    """Lay out `figure`."""
    banded = any(curve.low is not None and curve.high is not None for curve in figure.curves)
    arrays = [_arrays(curve) for curve in figure.curves]
    x = _scale([xs for xs, *_ in arrays], (LEFT, RIGHT), log=figure.log_x)
    heights = [values for _, *of_curve in arrays for values in of_curve]
    y = _scale(heights, (BOTTOM, TOP), log=figure.log_y, margin=0.05)
    doublings = _doublings(xs for xs, *_ in arrays) if figure.log_x else None
    marks = x(np.array([mark for mark in figure.marks if x.low <= mark <= x.high], float))
    return Chart(
        x.ticks(doublings),
        y.ticks(),
        [round(float(mark), 1) for mark in marks],
        [
            _line(curve, x(xs), *map(y, ys), with_band=banded)
            for curve, (xs, *ys) in zip(figure.curves, arrays, strict=True)
        ],
        banded,
    )


def marker(number: int, x: float, y: float) -> Markup:
    """The marker of the line with this number, at a place of the drawing."""
    return Markup(SHAPES[number % len(SHAPES)].format(x=x, y=y))


def number(value: float) -> str:
    """Six digits, or a large whole number in full with its thousands apart."""
    if not math.isfinite(value):
        return NONE
    whole = SHORT <= abs(value) < 1e12 and value == round(value)
    return f"{int(value):,}" if whole else f"{value:.6g}"


def _doublings(xs: Iterable[Floats]) -> list[float] | None:
    """All values, where they are a few resolutions, each to have a tick."""
    values = sorted({value for of_curve in xs for value in of_curve.tolist()})
    few = 1 < len(values) <= MARKERS and values[0] >= 1
    return values if few and all(math.log2(value).is_integer() for value in values) else None


def _label(value: float) -> str:
    """A tick's number, short: millions are M."""
    return f"{value / 1e6:g}M" if 1e6 <= abs(value) < 1e9 else number(value)


def _arrays(curve: Curve) -> list[Floats]:
    """x and y and, of a curve with a band, low and high, of equal length."""
    band = () if curve.low is None or curve.high is None else (curve.low, curve.high)
    return [np.asarray(values, dtype=float) for values in (curve.x, curve.y, *band)]


def _transformed(values: Floats, log: bool) -> Floats:
    if log:
        usable = (values > 1 / LARGEST) & (values < LARGEST)
        return np.log10(values, out=np.full(len(values), np.nan), where=usable)
    near = np.where(np.abs(values) < 1 / LARGEST, 0.0, values)
    return np.where(np.abs(near) < LARGEST, near, np.nan)


def _scale(
    values: list[Floats], span: tuple[float, float], *, log: bool, margin: float = 0.0
) -> Scale:
    """An axis that holds all usable values, and `margin` of its length more at both ends."""
    usable = _transformed(np.concatenate([*values, np.empty(0)]), log)
    usable = usable[np.isfinite(usable)]
    low, high = (float(usable.min()), float(usable.max())) if len(usable) else (0.0, 1.0)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = 0.5 if log else abs(low) / 2 or 0.5  # a single value stands in the middle
        low, high = low - half, high + half
    low, high = low - margin * (high - low), high + margin * (high - low)
    return Scale(10**low, 10**high, *span, log) if log else Scale(low, high, *span, log)


def _ticks(low: float, high: float) -> list[float]:
    """Four to nine multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((factor * power for factor in (1, 2, 5, 10)), key=lambda step: abs(step - rough))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; on a shorter axis 2 and 5 between, then 3 and 7, then plain ticks."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = math.log10(high / low)
    factors = (1,) if decades > 3 else (1, 2, 5) if decades > 1 else (1, 2, 3, 5, 7)
    powers = range(first, last + 1, max(1, round(decades / 7)))
    values = [float(f"{factor}e{power}") for power in powers for factor in factors]
    inside = [value for value in values if low * 0.999 <= value <= high * 1.001]
    return inside if len(inside) > 2 else _ticks(low, high)


def _line(curve: Curve, x: Floats, y: Floats, *band: Floats, with_band: bool) -> Line:
    places = list(zip(x.tolist(), y.tolist(), strict=True))
    spots = [None if math.isnan(a + b) else f"{a:.1f},{b:.1f}" for a, b in places]
    drawn = [place for place, spot in zip(places, spots, strict=True) if spot]
    every = math.ceil(len(drawn) / MARKERS) or 1
    return Line(
        curve.name,
        curve.dashed,
        " ".join("M" + "L".join(part) for part in _parts(spots)),
        _band(x, *band) if band else "",
        [(round(a, 1), round(b, 1)) for a, b in drawn[::every]],
        _rows(curve, spots, with_band=with_band),
    )


def _parts(spots: list[str | None]) -> Iterable[list[str]]:
    """Runs of points without a gap."""
    part: list[str] = []
    for spot in [*spots, None]:
        if spot:
            part.append(spot)
        elif part:
            yield part
            part = []


def _band(x: Floats, low: Floats, high: Floats) -> str:
    """Closed outlines, one for every run of points that has both bounds."""
    outlines = []
    known = ~np.isnan(x + low + high)
    for start, end in _spans(known):
        there = zip(x[start:end].tolist(), low[start:end].tolist(), strict=True)
        back = zip(x[start:end][::-1].tolist(), high[start:end][::-1].tolist(), strict=True)
        outlines.append("M" + "L".join(f"{a:.1f},{b:.1f}" for a, b in [*there, *back]) + "Z")
    return " ".join(outlines)


def _spans(known: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end of every stretch of at least two True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(int)))
    pairs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    return [(start, end) for start, end in pairs if end - start > 1]


def _rows(curve: Curve, spots: list[str | None], *, with_band: bool) -> Markup:
    """A table row for every point: x, y and, where any curve has one, the band; numbers alone."""
    bands = ["<td></td>" if with_band else ""] * len(spots)
    if curve.low is not None and curve.high is not None:
        bands = [f"<td>{_between(*of)}</td>" for of in zip(curve.low, curve.high, strict=True)]
    cells = zip(spots, _numbers(curve.x), _numbers(curve.y), bands, strict=True)
    rows = [
        f'<tr data-at="{spot}"><td>{x}</td><td>{y}</td>{band}</tr>\n'
        if spot
        else f"<tr><td>{x}</td><td>{y}</td>{band}</tr>\n"
        for spot, x, y, band in cells
    ]
    return Markup("".join(rows))


def _numbers(values: Iterable[float]) -> list[str]:
    """`number` of each, most of them without a call."""
    return [f"{x:.6g}" if -SHORT < x < SHORT else number(x) for x in values]


def _between(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}" if math.isfinite(low + high) else ""
