"""The area between two distribution functions, without sorting all values (section 5).

Positions are whole steps of a grid, and the line is cut into bins of 2^shift steps. With F the
share of a sample below a position, the area between F of `a` and F of `b` is wanted. Where their
difference cannot change its sign in a bin, its part follows from the number and the sum of the
values there; only the other bins, the open ones, need their values one by one, in order.
"""

import numpy as np
from numpy.typing import NDArray

from pgbench.metrics.jit import compiled

GRID_BITS = 30

_BLOCK = 1024
_SHARE_BITS = 40  # of 64 bits for the sum in a bin, the others for the number
_AT_A_TIME = 2**22  # values until either might overflow

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]
Keys = NDArray[np.int32]
Flags = NDArray[np.uint8]


@compiled
def occupancy(row: Floats, scale: float, shift: int) -> Integers:
    """Numbers and sums, each from the bin's start, of the values in each bin: (2, bins)."""
    bins = 1 << (GRID_BITS - shift)
    found = np.zeros((2, bins), np.int64)
    both = np.empty(bins, np.int64)
    steps = np.empty(_BLOCK, np.int32)
    mask = (1 << shift) - 1
    one = 1 << _SHARE_BITS
    for whole in range(0, len(row), _AT_A_TIME):
        both[:] = 0
        for start in range(whole, min(whole + _AT_A_TIME, len(row)), _BLOCK):
            count = _to_grid(row[start : start + _BLOCK], scale, steps)
            for i in range(count):
                both[np.uint64((steps[i] >> shift) + bins // 2)] += one + (steps[i] & mask)
        for i in range(bins):
            found[0, i] += both[i] >> _SHARE_BITS
            found[1, i] += both[i] & (one - 1)
    return found


@compiled
def _to_grid(values: Floats, scale: float, steps: Keys) -> int:
    factor = np.float32(scale)
    for i in range(len(values)):
        steps[i] = np.int32(np.rint(values[i] * factor))
    return len(values)


@compiled
def open_bins(in_a: Integers, in_b: Integers, weight_a: int, weight_b: int) -> Flags:
    """1 for each bin in which the difference of the shares may change its sign.

    Shares are counted such that a value of `a` adds `weight_a`, one of `b` takes `weight_b`.
    """
    found = np.zeros(in_a.shape[1], np.uint8)
    difference = 0
    for i in range(len(found)):
        more, less = in_a[0, i] * weight_a, in_b[0, i] * weight_b
        found[i] = difference - less < 0 < difference + more
        difference += more - less
    return found


@compiled
def collect(row: Floats, scale: float, shift: int, is_open: Flags, keys: Keys) -> np.int64:
    """Put twice the position of each value of an open bin into `keys`, and say how many.

    `keys` has room for one more than those.
    """
    steps = np.empty(_BLOCK, np.int32)
    half = len(is_open) // 2
    found = np.int64(0)
    for start in range(0, len(row), _BLOCK):
        count = _to_grid(row[start : start + _BLOCK], scale, steps)
        for i in range(count):
            keys[found] = 2 * steps[i]
            found += is_open[np.uint64((steps[i] >> shift) + half)]
    return found


@compiled
def in_order(keys: Keys, spare: Keys) -> Keys:
    """The keys sorted, in one of two arrays that are overwritten: by 11 bits, then 11, then 10."""
    starts = np.zeros((3, 2**11), np.int64)
    for i in range(len(keys)):
        key = np.int64(keys[i]) + (1 << 31)
        for part in range(3):
            starts[part, key >> 11 * part & 2047] += 1
    for part in range(3):
        before = np.int64(0)
        for digit in range(2**11):
            count = starts[part, digit]
            starts[part, digit] = before
            before += count
        for i in range(len(keys)):
            key = np.int64(keys[i]) + (1 << 31)
            here = key >> 11 * part & 2047
            spare[starts[part, here]] = keys[i]
            starts[part, here] += 1
        keys, spare = spare, keys
    return keys


@compiled
def area(
    in_a: Integers,
    in_b: Integers,
    weight_a: int,
    weight_b: int,
    is_open: Flags,
    keys: Keys,
) -> float:
    """The area between, in steps times shares; `keys` of the open bins in order, odd for `b`."""
    bins = len(is_open)
    width = (1 << GRID_BITS) // bins
    position = -(1 << (GRID_BITS - 1))
    difference = 0
    seen = 0
    whole = 0.0
    for i in range(bins):
        before = difference
        difference += in_a[0, i] * weight_a - in_b[0, i] * weight_b
        if is_open[i]:
            at = position
            for _ in range(in_a[0, i] + in_b[0, i]):
                here = keys[seen] >> 1
                whole += abs(before) * np.float64(here - at)
                before += -weight_b if keys[seen] & 1 else weight_a
                at = here
                seen += 1
            whole += abs(before) * np.float64(position + width - at)
        else:
            whole += abs(
                _signed_area(difference, width, in_a[1, i], in_b[1, i], weight_a, weight_b)
            )
        position += width
    return whole


@compiled
def _signed_area(
    difference: int, width: int, sum_a: np.int64, sum_b: np.int64, weight_a: int, weight_b: int
) -> float:
    """The integral over a bin of the difference of the shares, which is `difference` at its end."""
    moved = np.float64(sum_a) * weight_a - np.float64(sum_b) * weight_b
    return np.float64(difference) * width - moved


@compiled
def potential(
    in_a: Integers, in_b: Integers, weight_a: int, weight_b: int
) -> tuple[Floats, Doubles]:
    """The Kantorovich potential, in steps: its slope in each bin, its value at each bin's start.

    The slope is -1 where more of `a` lies below than of `b`, and 1 where less does. An open bin has
    the slope that prevails in it.
    """
    bins = in_a.shape[1]
    width = (1 << GRID_BITS) // bins
    slopes, starts = np.zeros(bins, np.float32), np.zeros(bins)
    difference = 0
    height = 0.0
    for i in range(bins):
        difference += in_a[0, i] * weight_a - in_b[0, i] * weight_b
        signed = _signed_area(difference, width, in_a[1, i], in_b[1, i], weight_a, weight_b)
        slopes[i] = (signed < 0) - np.int64(signed > 0)
        starts[i] = height
        height += slopes[i] * width
    return slopes, starts


@compiled
def potentials(
    row: Floats, scale: float, shift: int, slopes: Floats, starts: Doubles, means: Doubles
) -> None:
    """Replace each value by the slope at it; fill in the mean potential of each image's values."""
    each = len(row) // len(means)
    steps = np.empty(each, np.int32)
    mask = (1 << shift) - 1
    for image in range(len(means)):
        values = row[image * each : (image + 1) * each]
        _to_grid(values, scale, steps)
        total = 0.0
        for i in range(each):
            at = np.uint64((steps[i] >> shift) + len(slopes) // 2)
            values[i] = slopes[at]
            total += starts[at] + slopes[at] * (steps[i] & mask)
        means[image] = total / each
