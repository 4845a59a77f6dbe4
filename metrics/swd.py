"""Sliced Wasserstein distance between the patches of two image sets (paper section 5).

Per level of the Laplacian pyramid, 128 patches of 7x7x3 are taken from every image; each set is
normalised by its own mean and standard deviation per channel; the distance is the mean over 512
random directions of the one-dimensional Wasserstein distance between the projected patches.

Random numbers are common to all comparisons of a seed: the directions of a level depend on (seed,
level), the patch positions on (seed, level, index of the image) alone. Both sets share the
positions, so that a set has distance 0 to itself and comparisons differ by their images only.

One level is in memory at a time: 75 kB of float32 an image and set, 2.5 GB for 16,384 images. Sums
over them are float64.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from pgbench.metrics.images import Images, ImageSet, Pixels, as_image_set
from pgbench.metrics.pyramid import laplacian_level, level_sizes
from pgbench.metrics.registry import SWD_VERSION, MetricResult

PATCHES_PER_IMAGE = 128
PATCH = 7
NUM_DIRECTIONS = 4 * 128
SCALE = 1000.0

_POSITIONS, _DIRECTIONS, _FLIPS = 1, 2, 3  # what a random stream is for
_BATCH_PIXELS = 2**18  # pyramids of larger batches fall out of the cache
_CACHE_BYTES = 2**28  # decoded sets up to this size are kept instead of read once per level
_PROJECTION_BYTES = 2**28
_NORMALISE_ROWS = 2**14

Descriptors = NDArray[np.float32]  # (N, 147)
Progress = Callable[[float], None]  # called with the fraction done, in [0, 1]


def swd(
    real: Images,
    fake: Images,
    *,
    seed: int = 0,
    num_images: int | None = None,
    mirror: bool = False,
    num_threads: int | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> MetricResult:
    """Sliced Wasserstein distance x 1000 per pyramid level, and the plain mean over the levels.

    Parameters
    ----------
    real, fake : ImageSet, array or iterable of batches
        uint8 NCHW, [0, 255]; C = 3; H = W a power of two from 16. Iterables are gathered in memory.
    seed : int
        Of patch positions, directions and flips.
    num_images : int, optional
        Use the first so many of each set; without it both sets must hold equally many.
    mirror : bool
        Flip each real image left to right with probability 1/2, as training did.
    num_threads, batch_size : int, optional
        Speed and memory only: the value does not depend on them.
    progress : callable, optional
        Called with the fraction done.

    Returns
    -------
    MetricResult
        `values` has a key for each level, such as "32", and "avg". `stderr` is the standard error
        over the random directions: it does not cover the choice of images or patches.

    Raises
    ------
    ValueError
        Sets of different sizes or shapes, too few images, or no such pyramid.
    """
    started = time.perf_counter()
    sets = as_image_set(real, num_images), as_image_set(fake, num_images)
    sizes = _comparable_sizes(*sets)
    reals, fakes = (_cached(images) for images in sets)

    def measure(index: int) -> NDArray[np.float64]:  # one level in memory at a time
        return sliced_distances(
            _descriptors(reals, sizes[index], seed, mirror, batch_size),
            _descriptors(fakes, sizes[index], seed, False, batch_size),
            unit_directions(seed, sizes[index]),
            num_threads=num_threads,
            progress=_part(progress, index, len(sizes)),
        )

    values, stderr = _summary({size: SCALE * measure(i) for i, size in enumerate(sizes)})
    wall_sec = round(time.perf_counter() - started, 3)
    protocol = _protocol(sizes, mirror)
    count = reals.num_images
    return MetricResult("swd", SWD_VERSION, count, seed, values, stderr, protocol, wall_sec)


def sliced_distances(
    a: Descriptors,
    b: Descriptors,
    directions: NDArray[np.float32],
    *,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """The one-dimensional Wasserstein distance of two equally large sets along each direction.

    Parameters
    ----------
    a, b : (N, D) float32
    directions : (K, D) float32
        Of unit length.

    Returns
    -------
    (K,) float64
        mean |sorted(a @ d) - sorted(b @ d)| for each direction d.
    """
    block = max(1, min(len(directions), _PROJECTION_BYTES // (2 * a.itemsize * len(a))))
    buffers = np.empty((2, block, len(a)), np.float32)  # fresh memory for each block would be slow
    found: list[float] = []
    with ThreadPoolExecutor(num_threads or os.cpu_count() or 1) as pool:
        for start in range(0, len(directions), block):
            chosen = directions[start : start + block]
            projected_a, projected_b = buffers[:, : len(chosen)]
            np.matmul(chosen, a.T, out=projected_a)
            np.matmul(chosen, b.T, out=projected_b)
            found.extend(pool.map(_wasserstein_in_place, projected_a, projected_b))
            if progress is not None:
                progress((start + len(chosen)) / len(directions))
    return np.array(found)


def patch_corners(seed: int, size: int, num_images: int) -> NDArray[np.int64]:
    """Upper left corners (row, column) of the patches, (num_images, 128, 2), in [0, size - 7].

    The centres are uniform in [3, size - 3), with replacement. The corners of an image depend on
    (seed, size, index of the image) alone, whatever `num_images` is.
    """
    shape = (num_images, PATCHES_PER_IMAGE, 2)
    return _stream(seed, _POSITIONS, size).integers(0, size - PATCH + 1, shape)


def unit_directions(seed: int, size: int) -> NDArray[np.float32]:
    """512 random directions of unit length for one level, (512, 147)."""
    gaussian = _stream(seed, _DIRECTIONS, size).standard_normal((NUM_DIRECTIONS, 3 * PATCH**2))
    unit: NDArray[np.float64] = gaussian / np.linalg.norm(gaussian, axis=1, keepdims=True)
    return unit.astype(np.float32)


def _comparable_sizes(real: ImageSet, fake: ImageSet) -> tuple[int, ...]:
    """The pyramid levels of two sets that can be compared."""
    if real.shape != fake.shape:
        raise ValueError(
            f"The reals are of shape {real.shape}, the fakes of {fake.shape}; SWD compares images "
            "of one size."
        )
    if real.num_images != fake.num_images:
        raise ValueError(
            f"There are {real.num_images} reals and {fake.num_images} fakes; SWD needs equally "
            f"many, so ask for at most {min(real.num_images, fake.num_images)} images."
        )
    if not real.num_images:
        raise ValueError("SWD needs at least 1 image in each set, but both are empty.")
    _, height, width = real.shape
    if height != width:
        raise ValueError(f"SWD needs square images, not {width}x{height}.")
    return level_sizes(height)


def _descriptors(
    images: ImageSet, size: int, seed: int, mirror: bool, batch_size: int | None
) -> Descriptors:
    """The normalised patches of one level, (num_images x 128, 147), image after image.

    A channel without any variation is centred and left unscaled.
    """
    corners = patch_corners(seed, size, images.num_images)
    flips = _stream(seed, _FLIPS).integers(0, 2, images.num_images).astype(bool) & mirror
    patches = np.empty((images.num_images, PATCHES_PER_IMAGE, 3 * PATCH**2), np.float32)
    start = 0
    for batch in images.batches(batch_size or _fitting_batch(images)):
        chosen = slice(start, start + len(batch))
        level = laplacian_level(_flipped(batch, flips[chosen]), size)
        patches[chosen] = _cut(level, corners[chosen]).reshape(-1, PATCHES_PER_IMAGE, 3 * PATCH**2)
        start += len(batch)
    descriptors = patches.reshape(-1, 3 * PATCH**2)
    _normalise_in_place(descriptors)
    return descriptors


def _flipped(batch: Pixels, flips: NDArray[np.bool_]) -> Pixels:
    return np.where(flips[:, None, None, None], batch[..., ::-1], batch) if flips.any() else batch


def _cut(level: NDArray[np.float32], corners: NDArray[np.int64]) -> NDArray[np.float32]:
    """Patches (N, 128, 3, 7, 7) of (N, 3, size, size) at (N, 128, 2) corners."""
    windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(2, 3))
    found: NDArray[np.float32] = windows[
        np.arange(len(level))[:, None], :, corners[..., 0], corners[..., 1]
    ]
    return found


def _normalise_in_place(descriptors: Descriptors) -> None:
    """Give each channel of (N, 147) mean 0 and standard deviation 1 over all patches."""
    channels = descriptors.reshape(-1, 3, PATCH**2)
    blocks = [channels[i : i + _NORMALISE_ROWS] for i in range(0, len(channels), _NORMALISE_ROWS)]
    num_values = len(channels) * PATCH**2
    mean = sum(block.sum((0, 2), dtype=np.float64) for block in blocks) / num_values
    squares = sum(((block - mean[:, None]) ** 2).sum((0, 2)) for block in blocks)
    std = np.sqrt(squares / num_values)
    std[std == 0] = 1
    for block in blocks:
        block[:] = (block - mean[:, None]) / std[:, None]


def _wasserstein_in_place(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """mean |sorted a - sorted b|; both are overwritten."""
    a.sort()
    b.sort()
    a -= b
    np.abs(a, out=a)
    return float(a.mean(dtype=np.float64))


def _summary(
    distances: dict[int, NDArray[np.float64]],
) -> tuple[dict[str, float], dict[str, float | None]]:
    """Mean and standard error over the directions of each level, and of the plain mean."""
    values = {str(size): float(found.mean()) for size, found in distances.items()}
    errors = {
        str(size): float(found.std(ddof=1)) / len(found) ** 0.5 for size, found in distances.items()
    }
    # The levels have directions of their own, so their errors are independent.
    average_error = sum(error**2 for error in errors.values()) ** 0.5 / len(errors)
    values["avg"] = sum(values.values()) / len(values)
    return values, {**errors, "avg": average_error}


def _protocol(sizes: tuple[int, ...], mirror: bool) -> dict[str, object]:
    return {
        "resolution": sizes[0],
        "levels": list(sizes),
        "patches_per_image": PATCHES_PER_IMAGE,
        "patch_size": PATCH,
        "positions": "uniform, shared by both sets",
        "num_directions": NUM_DIRECTIONS,
        "directions": "gaussian, unit length, independent per level",
        "normalisation": "per set and channel",
        "scale": SCALE,
        "mirror": mirror,
        "dtype": "float32, sums float64",
    }


def _fitting_batch(images: ImageSet) -> int:
    return max(1, _BATCH_PIXELS // (images.shape[1] * images.shape[2]))


def _cached(images: ImageSet) -> ImageSet:
    if images.num_images * int(np.prod(images.shape)) > _CACHE_BYTES:
        return images
    return as_image_set(np.concatenate(list(images.batches(_fitting_batch(images)))))


def _part(progress: Progress | None, index: int, count: int) -> Progress | None:
    """The progress of part `index` of `count`, as progress of the whole."""
    if progress is None:
        return None
    return lambda fraction: progress((index + fraction) / count)


def _stream(*key: int) -> np.random.Generator:
    if min(key) < 0:
        raise ValueError(f"A seed is a whole number from 0, not {key[0]}.")
    return np.random.default_rng(key)
