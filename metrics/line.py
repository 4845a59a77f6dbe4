"""Two samples on a line: the area between their distribution functions (section 5).

Positions are rounded to a grid of 2^-29 times a power of two above the largest magnitude, which is
finer than what float32 tells apart in all but the smallest values. Magnitudes that are all below
2^-60 have that one's grid. From there on everything is counted in whole numbers.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FEWEST_BINS, _MOST_BINS = 2**4, 2**16
_VALUES_PER_BIN = 16  # with fewer bins, the sums in them might overflow
_SMALLEST = 2.0**-60  # zeros still have a grid, and its scale is a float32

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class _Samples:
    """Two samples, counted in bins.

    Attributes
    ----------
    a, b : (n,), (m,) float32
    scale : float
        Steps of the grid to a unit.
    shift : int
        A bin has 2^shift steps.
    counts : two (2, bins) int64
        Of each sample.
    weights : (int, int)
        What a value of each counts, so that both samples weigh the same.
    """

    a: Floats
    b: Floats
    scale: float
    shift: int
    counts: tuple[Counts, Counts]
    weights: tuple[int, int]

    @property
    def unit(self) -> float:
        """How many steps times weights are an area of 1."""
        return self.scale * len(self.a) * self.weights[0]


def distance(a: Floats, b: Floats, largest: float) -> float:
    """The one-dimensional Wasserstein distance of two samples.

    Parameters
    ----------
    a, b : (n,), (m,) float32
        At least one value each.
    largest : float
        No magnitude in either is larger.
    """
    from pgbench.metrics import line_loops

    bins = min(_MOST_BINS, max(_FEWEST_BINS, (len(a) + len(b)) // _VALUES_PER_BIN))
    samples = _counted(a, b, largest, bins)
    is_open = line_loops.open_bins(*samples.counts, *samples.weights)
    keys = _keys(samples, is_open)
    area = line_loops.area(*samples.counts, *samples.weights, is_open, keys)
    return area / samples.unit


def potentials(
    a: Floats, b: Floats, largest: float, *, images: tuple[int, int]
) -> tuple[tuple[Doubles, float], tuple[Doubles, float]]:
    """The mean Kantorovich potential of each image's values; `a` and `b` become its slopes.

    The slope is -1 where the distribution function of `a` lies above that of `b`, and 1 below. In
    the few bins where it changes, it is what prevails there.

    Parameters
    ----------
    a, b, largest
        As for `distance`.
    images : (int, int)
        How many images the values of each sample belong to, one after the other.

    Returns
    -------
    For each sample the potentials, (images,) float64, and the mean slope of all its values.
    """
    from pgbench.metrics import line_loops

    samples = _counted(a, b, largest, _MOST_BINS)
    slopes, starts = line_loops.potential(*samples.counts, *samples.weights)
    found = []
    for row, counts, number in zip((a, b), samples.counts, images, strict=True):
        means = np.empty(number)
        line_loops.potentials(row, samples.scale, samples.shift, slopes, starts, means)
        found.append((means / samples.scale, float((counts[0] * slopes).sum()) / len(row)))
    return found[0], found[1]


def _counted(a: Floats, b: Floats, largest: float, bins: int) -> _Samples:
    """`bins` is rounded down to a power of two."""
    from pgbench.metrics import line_loops

    _, exponent = math.frexp(max(largest, _SMALLEST))
    scale = 2.0 ** (line_loops.GRID_BITS - 1 - exponent)
    shift = line_loops.GRID_BITS - (bins.bit_length() - 1)
    counts = line_loops.occupancy(a, scale, shift), line_loops.occupancy(b, scale, shift)
    common = math.gcd(len(a), len(b))
    return _Samples(a, b, scale, shift, counts, (len(b) // common, len(a) // common))


def _keys(samples: _Samples, is_open: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Twice the position of each value in an open bin, in order; one more for those of `b`."""
    from pgbench.metrics import line_loops

    size_a, size_b = (int(counts[0][is_open == 1].sum()) for counts in samples.counts)
    keys = np.empty(size_a + size_b + 1, np.int32)
    of_b = keys[size_a:]
    line_loops.collect(samples.a, samples.scale, samples.shift, is_open, keys)
    line_loops.collect(samples.b, samples.scale, samples.shift, is_open, of_b)
    of_b[:size_b] += 1
    return line_loops.in_order(keys[:-1], np.empty_like(keys[:-1]))
