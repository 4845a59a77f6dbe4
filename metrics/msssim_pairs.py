"""MS-SSIM of all pairs of a set, in blocks of images.

What depends on one image alone, its local means and variances at every scale, is computed once per
block instead of once per pair.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pgbench.metrics.imageset import ImageSet, Pixels
from pgbench.metrics.similarity import (
    C1,
    C2,
    CHUNK_PIXELS,
    WEIGHTS,
    halved,
    image_means,
    local_means,
)

_BLOCK_BYTES = 2**26  # images prepared at once; up to three blocks are held
_PREPARED_BYTES = 96  # per pixel: three float64 arrays of three channels, all scales

Floats = NDArray[np.float64]
Progress = Callable[[float], None]  # called with the fraction done, in [0, 1]


def mean_similarities(
    images: ImageSet,
    *,
    pool: ThreadPoolExecutor,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Floats:
    """The mean MS-SSIM of each image with all others.

    Parameters
    ----------
    images : ImageSet
        N >= 2 of them, H and W multiples of 16.
    pool : ThreadPoolExecutor
    batch_size : int, optional
        Images prepared at once. Not a bit of the value depends on it.

    Returns
    -------
    (N,) float64, [0, 1]
    """
    n = images.num_images
    sums = np.zeros((2, n))
    num_done = 0
    # Terms are added one by one in the order of the images: blocks do not change the last bit.
    for a, b, found in _similarity_matrices(images, pool, batch_size):
        for to_later in found.T:
            sums[0, a.where] += to_later
        for to_earlier in found:
            sums[1, b.where] += to_earlier
        num_done += len(found) * (len(found) - 1) // 2 if a is b else found.size
        if progress is not None:
            progress(2 * num_done / (n * (n - 1)))
    means: Floats = sums.sum(axis=0) / (n - 1)
    return means


@dataclass(frozen=True)
class _Chunk:
    """Some images and what of their similarity to others does not depend on these.

    For each scale: pixels, local means and local variances, (N, 3, h, w) each.
    """

    where: slice
    scales: tuple[tuple[Floats, Floats, Floats], ...]


def _similarity_matrices(
    images: ImageSet, pool: ThreadPoolExecutor, batch_size: int | None
) -> Iterator[tuple[_Chunk, _Chunk, Floats]]:
    """Two chunks and the similarities between them, until all pairs were there once.

    The matrix of a chunk with itself is 0 up to the diagonal.
    """
    pixels = images.shape[1] * images.shape[2]
    size = batch_size or max(1, _BLOCK_BYTES // (_PREPARED_BYTES * pixels))
    starts = range(0, images.num_images, size)
    for i, start in enumerate(starts):
        first = _prepared(images, start, size, pool)
        for other in starts[i:]:
            second = first if other == start else _prepared(images, other, size, pool)
            work = [(a, b) for a in first for b in second if a.where.start <= b.where.start]
            found = pool.map(_similarity_matrix, *zip(*work, strict=True))
            yield from ((a, b, matrix) for (a, b), matrix in zip(work, found, strict=True))


def _prepared(images: ImageSet, start: int, count: int, pool: ThreadPoolExecutor) -> list[_Chunk]:
    """Up to `count` images from `start` on, in chunks that fit in the cache."""
    end = min(start + count, images.num_images)
    pixels = images.read(np.arange(start, end))
    step = max(1, CHUNK_PIXELS // (pixels.shape[2] * pixels.shape[3]))
    wheres = [slice(i, min(i + step, end)) for i in range(start, end, step)]
    scales = pool.map(_prepare, (pixels[w.start - start : w.stop - start] for w in wheres))
    return [_Chunk(where, found) for where, found in zip(wheres, scales, strict=True)]


def _prepare(pixels: Pixels) -> tuple[tuple[Floats, Floats, Floats], ...]:
    x = pixels.astype(np.float64)
    scales = []
    for scale in range(len(WEIGHTS)):
        if scale:
            x = halved(x)
        mean = local_means(x)
        scales.append((x, mean, local_means(x * x) - mean**2))
    return tuple(scales)


def _similarity_matrix(a: _Chunk, b: _Chunk) -> Floats:
    """MS-SSIM of each image of `a` with each of `b`; of `a` with itself, above the diagonal."""
    found = np.zeros((len(a.scales[0][0]), len(b.scales[0][0])))
    for i, row in enumerate(found):
        first = i + 1 if a is b else 0
        product = np.ones(len(row) - first)
        for scale, weight in enumerate(WEIGHTS):
            x, mean_x, variance_x = (part[i] for part in a.scales[scale])
            y, mean_y, variance_y = (part[first:] for part in b.scales[scale])
            means = mean_x * mean_y
            covariance = local_means(x * y) - means
            term = (2 * covariance + C2) / (variance_x + variance_y + C2)
            if scale == len(WEIGHTS) - 1:
                term *= (2 * means + C1) / (mean_x**2 + mean_y**2 + C1)
            product *= np.maximum(image_means(term), 0) ** weight
        row[first:] = product
    return found
