"""The sliced Wasserstein distance of two sets of patches, along given directions (section 5).

Along a direction the distance is the area between the two distribution functions: the mean
difference of the sorted projections; sets of unequal size are compared quantile by quantile. The
projections along some directions are in memory at a time, each in a contiguous row.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pgbench.metrics import line
from pgbench.metrics.patches import PATCH, PATCH_VALUES, Patches

NUM_DIRECTIONS = 4 * 128
DIRECTIONS_PER_BLOCK = 128

_DIRECTIONS = 2  # what a random stream is for
_PROJECTION_BYTES = 2**28
_MOST_AT_ONCE = 120  # directions
_TILES_AT_ONCE = 512  # of a thread

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Pairing = tuple[NDArray[np.intp], NDArray[np.intp], Doubles]
Rows = tuple[Floats, Floats, list[float]]  # of both sets, (K, n) and (K, m), and no less than these
Progress = Callable[[float], None]  # called with the fraction done, in [0, 1]


def unit_directions(seed: int, size: int, *, orthonormal: bool = True) -> Floats:
    """512 random directions of unit length for one level, (512, 147).

    Each is uniform on the sphere. They are four blocks of 128: those of an orthonormal block are at
    right angles to each other, otherwise all are independent.
    """
    if seed < 0:
        raise ValueError(f"A seed is a whole number from 0, not {seed}.")
    rng = np.random.default_rng((seed, _DIRECTIONS, size))
    rows = rng.standard_normal((NUM_DIRECTIONS, PATCH_VALUES))
    if orthonormal:
        for start in range(0, NUM_DIRECTIONS, DIRECTIONS_PER_BLOCK):
            _orthonormalise(rows[start : start + DIRECTIONS_PER_BLOCK])
    unit: Doubles = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit.astype(np.float32)


def _orthonormalise(rows: Doubles) -> None:
    """Gram and Schmidt's, in place: LAPACK would start threads, which cost more than they bring."""
    for i, row in enumerate(rows):
        for _ in range(2):  # once more for what rounding left
            row -= rows[:i] @ row @ rows[:i]
        row /= np.linalg.norm(row)


def sliced_distances(
    a: Patches,
    b: Patches,
    directions: Floats,
    *,
    device: str = "cpu",
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> Doubles:
    """The one-dimensional Wasserstein distance of two sets along each direction.

    Parameters
    ----------
    a, b : Patches
        Of any numbers of images.
    directions : (K, 147) float32
        Of unit length.
    device : str
        Where projections are made and compared: "cpu", or any other through torch, which sorts.

    Returns
    -------
    (K,) float64
    """
    found: list[Doubles] = []
    with ThreadPoolExecutor(num_threads or os.cpu_count() or 1) as pool:
        measure = (
            partial(_distances_on_cpu, pool=pool)
            if device == "cpu"
            else partial(_distances_on_device, device=device)
        )
        for rows in measure(a, b, _blocks(directions, a, b)):
            found.append(rows)
            if progress is not None:
                progress(sum(map(len, found)) / len(directions))
    return np.concatenate(found)


def image_influences(
    a: Patches, b: Patches, directions: Floats, *, num_threads: int | None = None
) -> tuple[Doubles, Doubles]:
    """What each image contributes to the mean distance: the delta method's influence function.

    For an image of `a` it is the mean over its patches, and over the directions, of the Kantorovich
    potential, less what the image does to the distance by moving the mean and standard deviation
    that its set is normalised by. The variances of the two results, each over its number of
    images, add up to the variance that the choice of the images leaves.

    Returns
    -------
    (number of images of a,), (number of images of b,) float64
    """
    sets = (a, b)
    totals = tuple(np.zeros(x.num_images) for x in sets)
    blocks = _blocks(directions, a, b)
    with ThreadPoolExecutor(num_threads or os.cpu_count() or 1) as pool:
        for chosen, rows in zip(blocks, _projections(a, b, blocks, pool), strict=True):
            measure = partial(line.potentials, images=(a.num_images, b.num_images))
            found = zip(*pool.map(measure, *rows), strict=True)  # for each set, of all directions
            for total, x, slopes, each in zip(totals, sets, rows[:2], found, strict=True):
                total += _influences(x, chosen, slopes, each, pool)
    return totals[0] / len(directions), -totals[1] / len(directions)


def _influences(
    patches: Patches,
    directions: Floats,
    slopes: Floats,
    found: Sequence[tuple[Doubles, float]],
    pool: ThreadPoolExecutor,
) -> Doubles:
    """The sum over the directions of what each image contributes, (number of images,).

    `slopes`: (K, N x 128), of the potential at each patch; `found`: the potential of each image and
    the mean slope, for each direction.
    """
    potential = np.sum([each for each, _ in found], axis=0)
    mean_slopes = np.array([slope for _, slope in found])
    products = _weighted_means(patches, slopes, pool) - np.outer(patches.means, mean_slopes)
    scaled, _ = patches.folded(directions)
    by_mean = _per_channel(directions.T * mean_slopes)
    by_std = _per_channel(scaled.T * products)
    influence: Doubles = potential - patches.shifts @ by_mean - patches.scales @ by_std
    return influence


def _per_channel(values: Doubles) -> Doubles:
    """Sums over the columns of (147, K) and over each channel's rows, (3,)."""
    total: Doubles = values.sum(axis=1).reshape(3, PATCH**2).sum(axis=1)
    return total


def _weighted_means(patches: Patches, weights: Floats, pool: ThreadPoolExecutor) -> Doubles:
    """The mean of all patches by the weights in each row: (K, N x 128) to (147, K)."""
    from pgbench.metrics import patch_loops

    parts = pool.map(partial(patch_loops.weighted_sums, weights, patches.tiles), *_ranges(patches))
    means: Doubles = np.sum(list(parts), axis=0) / weights.shape[1]
    return means


def _blocks(directions: Floats, a: Patches, b: Patches) -> list[Floats]:
    """Parts of the directions whose projections fit in memory, each of whole products."""
    from pgbench.metrics.patch_loops import TOGETHER

    fitting = _PROJECTION_BYTES // (4 * (a.num_patches + b.num_patches))
    step = max(TOGETHER, min(_MOST_AT_ONCE, fitting) // TOGETHER * TOGETHER)
    return [directions[i : i + step] for i in range(0, len(directions), step)]


def _ranges(patches: Patches) -> tuple[list[int], list[int]]:
    """The first and last tiles of what a thread does at a time."""
    count = len(patches.tiles)
    first = list(range(0, count, _TILES_AT_ONCE))
    return first, [*first[1:], count]


def _projections(
    a: Patches, b: Patches, blocks: list[Floats], pool: ThreadPoolExecutor
) -> Iterator[Rows]:
    """The normalised patches of both sets along the directions of each block."""
    # Fresh memory for each block would be slow.
    buffers = [np.empty((len(blocks[0]), x.num_patches), np.float32) for x in (a, b)]
    for chosen in blocks:
        rows_a, rows_b = (buffer[: len(chosen)] for buffer in buffers)
        largest = np.maximum(_project(a, chosen, rows_a, pool), _project(b, chosen, rows_b, pool))
        yield rows_a, rows_b, largest.tolist()


def _project(
    patches: Patches, directions: Floats, rows: Floats, pool: ThreadPoolExecutor
) -> Floats:
    """Fill in the projections; the largest magnitude along each direction."""
    from pgbench.metrics import patch_loops

    scaled, offset = patches.folded(directions)
    fill = partial(patch_loops.project, patches.tiles, scaled, offset.astype(np.float32), rows)
    found: Floats = np.max(list(pool.map(fill, *_ranges(patches))), axis=(0, 2))
    return found


def _distances_on_cpu(
    a: Patches, b: Patches, blocks: list[Floats], *, pool: ThreadPoolExecutor
) -> Iterator[Doubles]:
    for rows in _projections(a, b, blocks, pool):
        yield np.array(list(pool.map(line.distance, *rows)))


def _distances_on_device(
    a: Patches, b: Patches, blocks: list[Floats], *, device: str
) -> Iterator[Doubles]:
    import torch

    tiles = (torch.from_numpy(x.tiles).to(device) for x in (a, b))
    values = [x.swapaxes(1, 2).reshape(-1, PATCH_VALUES) for x in tiles]
    pairing = _pairing(a.num_patches, b.num_patches)
    indices = None if pairing is None else [torch.from_numpy(x).to(device) for x in pairing]
    for chosen in blocks:
        rows = []
        for x, moved in zip((a, b), values, strict=True):
            scaled, offset = (torch.from_numpy(y).to(device) for y in x.folded(chosen))
            rows.append((scaled @ moved.T - offset.float()[:, None]).sort(dim=1).values)
        if indices is None:
            found = (rows[0] - rows[1]).abs().double().mean(dim=1)
        else:
            found = (rows[0][:, indices[0]] - rows[1][:, indices[1]]).abs().double() @ indices[2]
        yield found.cpu().numpy()


def _pairing(count_a: int, count_b: int) -> Pairing | None:
    """Which quantiles of two sorted samples of unequal size meet, and on how much of [0, 1].

    None for equal sizes, where the i-th meet on an equal part each.
    """
    if count_a == count_b:
        return None
    # Both quantile functions are steps; counted in parts of 1 / (count_a x count_b), they end at:
    ends = np.union1d(np.arange(1, count_a + 1) * count_b, np.arange(1, count_b + 1) * count_a)
    weights = np.diff(ends, prepend=0) / (count_a * count_b)
    return (ends - 1) // count_b, (ends - 1) // count_a, weights
