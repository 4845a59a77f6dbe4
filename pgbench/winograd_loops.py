"""Transforms of Winograd's convolutions F(2x2, 3x3), as machine code (numba).

Lavin and Gray 2016 (arXiv:1509.09308), section 4.1: the 2x2 outputs that 3x3 weights g make of 4x4
inputs d, a tile, are A'((G g G') * (B' d B))A, 16 products instead of 36, with

         1  0 -1  0            1    0    0
    B' = 0  1  1  0       G = 1/2  1/2  1/2      A' = 1  1  1  0
         0 -1  1  0           1/2 -1/2  1/2           0  1 -1 -1
         0  1  0 -1            0    0    1

Component 4i + j of all tiles of a channel is one row, tile after tile, line after line, image after
image. Every function does the channels `first` to `last` alone, so that cores can share them.
Arrays are contiguous and the order of sums is fixed.
"""

import numpy as np

from pgbench.small_loops import Floats, inlined, ordered

_BLOCK = 256  # tiles of a channel at a time: sixteen rows of them stay in the nearest cache
_APART = 16  # more than a power of two from row to row, or they would share a place in it
_HALF = np.float32(0.5)
_COLUMNS = 16  # of weights that are turned at a time


@ordered
def gather(x: Floats, out: Floats, first: int, last: int) -> None:
    """B' d B of x (N, C, H, W) into `out` (16, C, T)."""
    count, _, height, width = x.shape
    across = width // 2
    lines = count * (height // 2)
    together = max(1, _BLOCK // across)
    mixed = np.zeros((4, width + 2), np.float32)  # four lines of pixels inside a border of zeros
    mixed0, mixed1, mixed2, mixed3 = mixed
    nothing = np.zeros(width, np.float32)
    rows = np.empty((16, together * across + _APART), np.float32)
    for c in range(first, last):
        for start in range(0, lines, together):
            many = min(together, lines - start)
            for line in range(many):
                n, y = (start + line) // (height // 2), 2 * ((start + line) % (height // 2))
                above = x[n, c, y - 1] if y else nothing
                even, odd = x[n, c, y], x[n, c, y + 1]
                below = x[n, c, y + 2] if y + 2 < height else nothing
                for p in range(width):
                    mixed0[p + 1] = above[p] - odd[p]
                    mixed1[p + 1] = even[p] + odd[p]
                    mixed2[p + 1] = odd[p] - even[p]
                    mixed3[p + 1] = even[p] - below[p]
                for i in range(4):
                    for p in range(across):
                        t = line * across + p
                        d0, d1 = mixed[i, 2 * p], mixed[i, 2 * p + 1]
                        d2, d3 = mixed[i, 2 * p + 2], mixed[i, 2 * p + 3]
                        rows[4 * i, t] = d0 - d2
                        rows[4 * i + 1, t] = d1 + d2
                        rows[4 * i + 2, t] = d2 - d1
                        rows[4 * i + 3, t] = d1 - d3
            for k in range(16):
                row, to = rows[k], out[k, c, start * across :]
                for t in range(many * across):
                    to[t] = row[t]


@ordered
def scatter(products: tuple[Floats, ...], bias: Floats, out: Floats, first: int, last: int) -> None:
    """A' m A + bias of sixteen products m (O, T) into `out` (N, O, H, W)."""
    count, _, height, width = out.shape
    across = width // 2
    lines = count * (height // 2)
    together = max(1, _BLOCK // across)
    values = np.empty((4, together * across + _APART), np.float32)
    left, right, below, beneath = values
    for o in range(first, last):
        for start in range(0, lines, together):
            many = min(together, lines - start)
            begin, end = start * across, (start + many) * across
            values[:] = bias[o]
            for j in range(4):
                m0, m1 = products[j][o, begin:end], products[4 + j][o, begin:end]
                m2, m3 = products[8 + j][o, begin:end], products[12 + j][o, begin:end]
                to_left = np.float32(j < 3)
                to_right = np.float32(0 if j == 0 else 1 if j == 1 else -1)
                for t in range(len(m0)):
                    upper, lower = m0[t] + m1[t] + m2[t], m1[t] - m2[t] - m3[t]
                    left[t] += to_left * upper
                    right[t] += to_right * upper
                    below[t] += to_left * lower
                    beneath[t] += to_right * lower
            for line in range(many):
                n, top = (start + line) // (height // 2), (start + line) % (height // 2)
                even, odd = out[n, o, 2 * top], out[n, o, 2 * top + 1]
                for p in range(across):
                    t = line * across + p
                    even[2 * p], even[2 * p + 1] = left[t], right[t]
                    odd[2 * p], odd[2 * p + 1] = below[t], beneath[t]


@ordered
def spread(y: Floats, out: Floats, first: int, last: int) -> None:
    """A y A' of y (N, O, H, W) into `out` (16, O, T): `scatter` transposed."""
    count, _, height, width = y.shape
    across = width // 2
    lines = count * (height // 2)
    together = max(1, _BLOCK // across)
    values = np.empty((4, together * across + _APART), np.float32)
    left, right, below, beneath = values
    for o in range(first, last):
        for start in range(0, lines, together):
            many = min(together, lines - start)
            for line in range(many):
                n, top = (start + line) // (height // 2), (start + line) % (height // 2)
                even, odd = y[n, o, 2 * top], y[n, o, 2 * top + 1]
                for p in range(across):
                    t = line * across + p
                    left[t], right[t] = even[2 * p], even[2 * p + 1]
                    below[t], beneath[t] = odd[2 * p], odd[2 * p + 1]
            begin, end = start * across, (start + many) * across
            for i in range(4):
                above = np.float32(i < 3)
                under = np.float32(0 if i == 0 else 1 if i == 1 else -1)
                out0, out1 = out[4 * i, o, begin:end], out[4 * i + 1, o, begin:end]
                out2, out3 = out[4 * i + 2, o, begin:end], out[4 * i + 3, o, begin:end]
                for t in range(len(out0)):
                    a = above * left[t] + under * below[t]
                    b = above * right[t] + under * beneath[t]
                    out0[t], out1[t], out2[t], out3[t] = a, a + b, a - b, -b


@ordered
def transform(weight: Floats, scale: float, out: Floats, first: int, last: int) -> None:
    """G g G' of scale * weight (O, C, 9) into `out` (16, O, C)."""
    factor, maps = np.float32(scale), weight.shape[1]
    nine, mixed = np.empty((9, maps + _APART), np.float32), np.empty((3, maps), np.float32)
    for o in range(first, last):
        for c in range(maps):
            for k in range(9):
                nine[k, c] = weight[o, c, k] * factor
        _transform(nine, mixed, out, o)


@ordered
def transform_turned(weight: Floats, scale: float, out: Floats, first: int, last: int) -> None:
    """The same of the weights that take a gradient back to the input, into `out` (16, C, O)."""
    factor, maps = np.float32(scale), len(weight)
    nine = np.empty((_COLUMNS, 9, maps + _APART), np.float32)
    mixed = np.empty((3, maps), np.float32)
    for start in range(first, last, _COLUMNS):
        many = min(_COLUMNS, last - start)
        for o in range(maps):
            for c in range(many):
                for k in range(9):
                    nine[c, 8 - k, o] = weight[o, start + c, k] * factor
        for c in range(many):
            _transform(nine[c], mixed, out, start + c)


@inlined
def _transform(nine: Floats, mixed: Floats, out: Floats, row: int) -> None:
    """G g G' of nine rows into a row of all sixteen."""
    for i in range(4):
        for j in range(3):
            top, middle, bottom, to = nine[j], nine[3 + j], nine[6 + j], mixed[j]
            if i == 0:
                for c in range(len(to)):
                    to[c] = top[c]
            elif i == 3:
                for c in range(len(to)):
                    to[c] = bottom[c]
            else:
                sign = _HALF if i == 1 else -_HALF
                for c in range(len(to)):
                    to[c] = _HALF * (top[c] + bottom[c]) + sign * middle[c]
        left, centre, right = mixed
        first, plus = out[4 * i, row], out[4 * i + 1, row]
        minus, last = out[4 * i + 2, row], out[4 * i + 3, row]
        for c in range(len(left)):
            outer, inner = _HALF * (left[c] + right[c]), _HALF * centre[c]
            first[c], last[c] = left[c], right[c]
            plus[c], minus[c] = outer + inner, outer - inner


@ordered
def transform_back(
    sums: tuple[Floats, ...], scale: float, out: Floats, first: int, last: int
) -> None:
    """scale * G' u G of sixteen sums u (O, C) into `out` (O, C, 9): `transform` transposed."""
    factor, maps = np.float32(scale), out.shape[1]
    mixed = np.empty((12, maps), np.float32)
    for o in range(first, last):
        for i in range(4):
            u0, u1 = sums[4 * i][o], sums[4 * i + 1][o]
            u2, u3 = sums[4 * i + 2][o], sums[4 * i + 3][o]
            for c in range(maps):
                both = _HALF * (u1[c] + u2[c])
                mixed[3 * i, c] = u0[c] + both
                mixed[3 * i + 1, c] = _HALF * (u1[c] - u2[c])
                mixed[3 * i + 2, c] = both + u3[c]
        for j in range(3):
            u0, u1, u2, u3 = mixed[j], mixed[3 + j], mixed[6 + j], mixed[9 + j]
            for c in range(maps):
                both = _HALF * (u1[c] + u2[c])
                out[o, c, j] = factor * (u0[c] + both)
                out[o, c, 3 + j] = factor * (_HALF * (u1[c] - u2[c]))
                out[o, c, 6 + j] = factor * (both + u3[c])
