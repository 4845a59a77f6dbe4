"""The loops of `small_conv.py`, as machine code (numba).

A channel with a border of zeros lies in one row, so that a neighbour is an offset and all products
of a weight are one loop over it. Arrays are contiguous.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
P = ParamSpec("P")
R = TypeVar("R")
_ORDER_IS_FREE = {"reassoc", "contract", "nsz"}  # of sums; NaN stays NaN


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Machine code, made at the first call and kept on disk where a folder can be written."""
    return _machine_code(function, _ORDER_IS_FREE)


def ordered(function: Callable[P, R]) -> Callable[P, R]:
    """The same with sums in the order that is written."""
    return _machine_code(function, set())


def _machine_code(function: Callable[P, R], freedom: set[str]) -> Callable[P, R]:
    try:
        fast: Callable[P, R] = njit(nogil=True, fastmath=freedom, cache=True)(function)
    except RuntimeError:
        fast = njit(nogil=True, fastmath=freedom)(function)
    return fast


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """A part of machine code: apart, code kept on disk would not round as code just made does."""
    part: Callable[P, R] = njit(inline="always")(function)
    return part


@compiled
def convolve(x: Floats, weight: Floats, bias: Floats, out: Floats) -> None:
    """Fill `out` (N, O, H, W)."""
    count, maps, height, width = x.shape
    pitch = width + 2
    rows = np.zeros((maps, (height + 2) * pitch + 2), np.float32)
    total = np.empty(height * pitch, np.float32)
    for n in range(count):
        _lay_out(x[n], rows)
        for o in range(len(weight)):
            total[:] = bias[o]
            for c in range(maps):
                _add_products(rows[c], weight[o, c], total, pitch)
            for y in range(height):
                for p in range(width):
                    out[n, o, y, p] = total[y * pitch + p]


@compiled
def correlate(x: Floats, gradient: Floats, out: Doubles) -> None:
    """Add to `out` (O, C, 3, 3)."""
    count, maps, height, width = x.shape
    pitch = width + 2
    rows = np.zeros((maps, (height + 2) * pitch + 2), np.float32)
    row = np.zeros(height * pitch, np.float32)
    for n in range(count):
        _lay_out(x[n], rows)
        for o in range(gradient.shape[1]):
            for y in range(height):
                for p in range(width):
                    row[y * pitch + p] = gradient[n, o, y, p]
            for c in range(maps):
                _add_sums(rows[c], row, out[o, c], pitch)


@compiled
def enlarge(x: Floats, weight: Floats, out: Floats) -> None:
    """Fill `out` (N, O, 2H, 2W); weights (O, C, 2, 2, 2, 2) of x's pixels for each of the four."""
    count, maps, height, width = x.shape
    pitch = width + 2
    rows = np.zeros((maps + 1, (height + 2) * pitch + 2), np.float32)  # the last stays zero
    totals = np.empty((2, height * pitch), np.float32)
    for n in range(count):
        _lay_out(x[n], rows)
        for o in range(len(weight)):
            for i in range(2):
                for j in range(2):
                    totals[j] = 0
                    start = i * pitch + j
                    for c in range(0, maps, 2):
                        second = min(c + 1, maps)
                        _add_fours(
                            rows[c, start:],
                            rows[second, start:],
                            weight[o, c, i, j],
                            weight[o, min(second, maps - 1), i, j],
                            totals[j],
                            pitch,
                        )
                for y in range(height):
                    line = out[n, o, 2 * y + i]
                    for p in range(width):
                        line[2 * p] = totals[0, y * pitch + p]
                        line[2 * p + 1] = totals[1, y * pitch + p]


@inlined
def _add_fours(
    row: Floats, other: Floats, weight: Floats, more: Floats, total: Floats, pitch: int
) -> None:
    """Add two channels' four products each to all pixels."""
    a, b, c, d = weight[0, 0], weight[0, 1], weight[1, 0], weight[1, 1]
    e, f, g, h = more[0, 0], more[0, 1], more[1, 0], more[1, 1]
    below, beneath = row[pitch:], other[pitch:]
    for p in range(len(total)):
        total[p] += (a * row[p] + b * row[p + 1] + c * below[p] + d * below[p + 1]) + (
            e * other[p] + f * other[p + 1] + g * beneath[p] + h * beneath[p + 1]
        )


@compiled
def halve(h: Floats, x: Floats, slope: float, out: Floats) -> None:
    """Fill `out` (N, C, H/2, W/2) with means of h times the slope at x."""
    low, high = np.float32(0.25 * slope), np.float32(0.25)
    count, maps, height, width = out.shape
    for n in range(count):
        for c in range(maps):
            for y in range(height):
                means = out[n, c, y]
                for p in range(width):
                    total = np.float32(0)
                    for i in range(2):
                        for j in range(2):
                            above = x[n, c, 2 * y + i, 2 * p + j] > 0
                            total += h[n, c, 2 * y + i, 2 * p + j] * (high if above else low)
                    means[p] = total


@compiled
def spread(h: Floats, x: Floats, slope: float, out: Floats) -> None:
    """Fill `out` (N, C, H, W) with h (N, C, H/2, W/2) times the slope at x."""
    low, high = np.float32(0.25 * slope), np.float32(0.25)
    count, maps, height, width = h.shape
    for n in range(count):
        for c in range(maps):
            for y in range(2 * height):
                seen, spread, given = x[n, c, y], out[n, c, y], h[n, c, y // 2]
                for p in range(width):
                    for j in range(2):
                        above = seen[2 * p + j] > 0
                        spread[2 * p + j] = given[p] * (high if above else low)


@inlined
def _lay_out(image: Floats, rows: Floats) -> None:
    """Write each channel (H, W) of an image into its row, inside a border of zeros."""
    maps, height, width = image.shape
    for c in range(maps):
        for y in range(height):
            start = (y + 1) * (width + 2) + 1
            for p in range(width):
                rows[c, start + p] = image[c, y, p]


@inlined
def _add_products(row: Floats, weight: Floats, total: Floats, pitch: int) -> None:
    """Add a channel's nine products to all pixels; those of the border are nobody's."""
    a, b, c = weight[0, 0], weight[0, 1], weight[0, 2]
    d, e, f = weight[1, 0], weight[1, 1], weight[1, 2]
    g, h, i = weight[2, 0], weight[2, 1], weight[2, 2]
    below, last = row[pitch:], row[2 * pitch :]
    for p in range(len(total)):
        total[p] += (
            (a * row[p] + b * row[p + 1] + c * row[p + 2])
            + (d * below[p] + e * below[p + 1] + f * below[p + 2])
            + (g * last[p] + h * last[p + 1] + i * last[p + 2])
        )


@inlined
def _add_sums(row: Floats, gradient: Floats, out: Doubles, pitch: int) -> None:
    """Add the nine sums over all pixels of a channel times a gradient."""
    a = b = c = d = e = f = g = h = i = np.float32(0)
    below, last = row[pitch:], row[2 * pitch :]
    for p in range(len(gradient)):
        value = gradient[p]
        a += value * row[p]
        b += value * row[p + 1]
        c += value * row[p + 2]
        d += value * below[p]
        e += value * below[p + 1]
        f += value * below[p + 2]
        g += value * last[p]
        h += value * last[p + 1]
        i += value * last[p + 2]
    sums = ((a, b, c), (d, e, f), (g, h, i))
    for y in range(3):
        for x in range(3):
            out[y, x] += sums[y][x]
