"""Cutting, projecting and adding up patches, 64 at a time (section 5).

No product is larger than 12 directions by 147 values by 64 patches, so small that BLAS neither
copies its factors nor starts threads of its own.
"""

import numpy as np
from numpy.typing import NDArray

from pgbench.metrics.jit import compiled
from pgbench.metrics.patches import PATCH, TILE

TOGETHER = 12  # directions

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]


@compiled
def cut(level: Floats, corners: Integers, tiles: Floats, sums: Doubles) -> None:
    """Copy the 7x7 patches of some images, and add them up.

    level (N, C, size, size), corners (N, 128, 2), tiles (N, 2, 49 C, 64), sums (N, 2, C): of the
    values and of their squares.
    """
    size = level.shape[3]
    start = np.empty(TILE, np.int64)
    total, squares = np.empty(TILE), np.empty(TILE)
    for image in range(len(level)):
        for channel in range(level.shape[1]):
            pixels = level[image, channel].ravel()
            total[:] = 0
            squares[:] = 0
            for part in range(tiles.shape[1]):
                tile = tiles[image, part]
                for p in range(TILE):
                    y, x = corners[image, part * TILE + p]
                    start[p] = y * size + x
                for value in range(PATCH**2):
                    offset = value // PATCH * size + value % PATCH
                    row = tile[PATCH**2 * channel + value]
                    for p in range(TILE):
                        row[p] = pixels[np.uint64(start[p] + offset)]
                    for p in range(TILE):
                        number = np.float64(row[p])
                        total[p] += number
                        squares[p] += number * number
            sums[image, 0, channel] = total.sum()
            sums[image, 1, channel] = squares.sum()


@compiled
def project(
    tiles: Floats, directions: Floats, offsets: Floats, rows: Floats, first: int, last: int
) -> Floats:
    """Fill in the columns of the tiles from `first` to `last`; the largest magnitude of each row.

    tiles (T, V, 64), directions (K, V), offsets (K,), to subtract; rows (K, 64 T).
    """
    largest = np.zeros((len(directions), TILE), np.float32)
    found = np.empty((TOGETHER, TILE), np.float32)
    for t in range(first, last):
        for k in range(0, len(directions), TOGETHER):
            some = directions[k : k + TOGETHER]
            out = found[: len(some)]
            np.dot(some, tiles[t], out)
            for i in range(len(some)):
                row = rows[k + i, t * TILE : (t + 1) * TILE]
                most = largest[k + i]
                for p in range(TILE):
                    x = out[i, p] - offsets[k + i]
                    row[p] = x
                    most[p] = max(most[p], abs(x))
    return largest


@compiled
def weighted_sums(rows: Floats, tiles: Floats, first: int, last: int) -> Doubles:
    """The sum of the patches of the tiles from `first` to `last`, by the weights in each row.

    rows (K, 64 T), tiles (T, V, 64); (V, K).
    """
    found = np.zeros((tiles.shape[1], len(rows)))
    product = np.empty((tiles.shape[1], TOGETHER), np.float32)
    weights = np.zeros((TILE, TOGETHER), np.float32)
    for t in range(first, last):
        for k in range(0, len(rows), TOGETHER):
            count = min(TOGETHER, len(rows) - k)
            for i in range(count):
                for p in range(TILE):
                    weights[p, i] = rows[k + i, t * TILE + p]
            np.dot(tiles[t], weights, product)
            for v in range(len(product)):
                for i in range(count):
                    found[v, k + i] += product[v, i]
    return found
