"""The descriptors of SWD: 128 patches of 7x7x3 from a pyramid level of every image (section 5).

The positions in an image depend on (seed, level, index of the image) alone: both sets of a
comparison, and all comparisons of a seed, share them. Patches are kept as they are cut; each set's
mean and standard deviation per channel go with them and are applied to the directions instead.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pgbench.metrics.images import ImageSet, Pixels
from pgbench.metrics.pyramid import laplacian_level

PATCHES_PER_IMAGE = 128
PATCH = 7
PATCH_VALUES = 3 * PATCH**2
TILE = 64  # patches

_TILES_PER_IMAGE = PATCHES_PER_IMAGE // TILE
_POSITIONS, _FLIPS = 1, 3  # what a random stream is for
_CHUNK_PIXELS = 2**18  # of a thread at a time: more fall out of the cache
_READ_PIXELS = 2**22

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Progress = Callable[[float], None]  # called with the fraction done, in [0, 1]


@dataclass(frozen=True)
class Patches:
    """The patches of one set at one level.

    Attributes
    ----------
    tiles : (N x 2, 147, 64) float32
        Image after image, 64 patches of 3 channels of 7x7 at a time, one in each column.
    mean, std : (3,) float64
        Of each channel over all patches. The std of a channel without any variation is 1.
    shifts, scales : (N, 3) float64
        How far the patches of each image are off: the mean of (x - mean) / std, and half the mean
        of its square less 1/2. To first order, so much would the set's own mean and std move.
    """

    tiles: Floats
    mean: Doubles
    std: Doubles
    shifts: Doubles
    scales: Doubles

    @property
    def num_images(self) -> int:
        return len(self.shifts)

    @property
    def num_patches(self) -> int:
        return len(self.tiles) * TILE

    @property
    def values(self) -> Floats:
        """A copy with a patch in each row, (N x 128, 147)."""
        return self.tiles.swapaxes(1, 2).reshape(-1, PATCH_VALUES)

    @property
    def means(self) -> Doubles:
        """The mean that is taken off each value of a patch, (147,)."""
        return np.repeat(self.mean, PATCH**2)

    def folded(self, directions: Floats) -> tuple[Floats, Doubles]:
        """What projects the normalised patches: `values @ scaled.T - offset`.

        Parameters
        ----------
        directions : (K, 147) float32

        Returns
        -------
        scaled : (K, 147) float32
        offset : (K,) float64
        """
        scaled = (directions / np.repeat(self.std, PATCH**2)).astype(np.float32)
        return scaled, scaled.astype(np.float64) @ self.means


def cut_patches(
    images: ImageSet,
    size: int,
    *,
    seed: int,
    mirror: bool = False,
    batch_size: int | None = None,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> Patches:
    """The patches of one level of a set.

    Parameters
    ----------
    images : ImageSet
        Square, a power of two from 16; at least one image.
    size : int
        The level.
    seed : int
        Of the positions and flips.
    mirror : bool
        Flip each image left to right with probability 1/2.
    batch_size, num_threads : int, optional
        Speed and memory only: not a bit of the patches depends on them.
    """
    from pgbench.metrics import patch_loops

    corners = patch_corners(seed, size, images.num_images)
    flips = _stream(seed, _FLIPS).integers(0, 2, images.num_images).astype(bool) & mirror
    tiles = np.empty((images.num_images, _TILES_PER_IMAGE, PATCH_VALUES, TILE), np.float32)
    sums = np.empty((images.num_images, 2, 3))
    step = batch_size or max(1, _READ_PIXELS // (images.shape[1] * images.shape[2]))

    def cut(batch: Pixels, chosen: slice) -> None:
        level = laplacian_level(_flipped(batch, flips[chosen]), size)
        patch_loops.cut(np.ascontiguousarray(level), corners[chosen], tiles[chosen], sums[chosen])

    with ThreadPoolExecutor(num_threads or os.cpu_count() or 1) as pool:
        start = 0
        for batch in images.batches(step):
            chunks = _chunks(batch, start)
            list(pool.map(cut, *zip(*chunks, strict=True)))
            start += len(batch)
            if progress is not None:
                progress(start / images.num_images)
    return _with_moments(
        tiles.reshape(-1, PATCH_VALUES, TILE), sums / (PATCHES_PER_IMAGE * PATCH**2)
    )


def patch_corners(seed: int, size: int, num_images: int) -> NDArray[np.int64]:
    """Upper left corners (row, column) of the patches, (num_images, 128, 2), in [0, size - 7].

    The centres are uniform in [3, size - 3), with replacement. The corners of an image depend on
    (seed, size, index of the image) alone, whatever `num_images` is.
    """
    shape = (num_images, PATCHES_PER_IMAGE, 2)
    return _stream(seed, _POSITIONS, size).integers(0, size - PATCH + 1, shape)


def _chunks(batch: Pixels, start: int) -> list[tuple[Pixels, slice]]:
    """Parts of a batch that fit in the cache, and which images they are."""
    step = max(1, _CHUNK_PIXELS // (batch.shape[2] * batch.shape[3]))
    parts = [batch[i : i + step] for i in range(0, len(batch), step)]
    return [
        (part, slice(start + i * step, start + i * step + len(part)))
        for i, part in enumerate(parts)
    ]


def _flipped(batch: Pixels, flips: NDArray[np.bool_]) -> Pixels:
    return np.where(flips[:, None, None, None], batch[..., ::-1], batch) if flips.any() else batch


def _with_moments(tiles: Floats, image_moments: Doubles) -> Patches:
    """`image_moments`: mean and mean square of each image and channel, (N, 2, 3)."""
    mean, square = image_moments.mean(axis=0)
    variance = square - mean**2
    flat = variance <= 1e-12 * square  # rounding leaves a little of a constant channel
    std = np.sqrt(np.where(flat, 1, variance))
    means, squares = image_moments.swapaxes(0, 1)
    shifts = (means - mean) / std
    scales = (squares - 2 * means * mean + mean**2) / (2 * std**2) - 1 / 2
    return Patches(tiles, mean, std, shifts, scales)


def _stream(*key: int) -> np.random.Generator:
    if min(key) < 0:
        raise ValueError(f"A seed is a whole number from 0, not {key[0]}.")
    return np.random.default_rng(key)
