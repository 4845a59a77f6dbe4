"""The sliced Wasserstein distance of two sets of patches, along given directions (section 5).

Along a direction the distance is the area between the two distribution functions: the mean
difference of the sorted projections; sets of unequal size are compared quantile by quantile. Most
of the time goes into sorting, so projections lie in contiguous rows, one for each direction.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pgbench.metrics.patches import PATCH, PATCH_VALUES, PATCHES_PER_IMAGE, Patches

NUM_DIRECTIONS = 4 * 128
DIRECTIONS_PER_BLOCK = 128

_DIRECTIONS = 2  # what a random stream is for
_PROJECTION_BYTES = 2**28
_MOST_AT_ONCE = 128
_BINS = 2**14

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Pairing = tuple[NDArray[np.intp], NDArray[np.intp], Doubles]
Progress = Callable[[float], None]  # called with the fraction done, in [0, 1]


def unit_directions(seed: int, size: int, *, orthonormal: bool = True) -> Floats:
    """512 random directions of unit length for one level, (512, 147).

    Each is uniform on the sphere. They are four blocks of 128: those of an orthonormal block are at
    right angles to each other, otherwise all are independent.
    """
    if seed < 0:
        raise ValueError(f"A seed is a whole number from 0, not {seed}.")
    rng = np.random.default_rng((seed, _DIRECTIONS, size))
    gaussian = rng.standard_normal((NUM_DIRECTIONS, PATCH_VALUES))
    if orthonormal:
        blocks = gaussian.reshape(-1, DIRECTIONS_PER_BLOCK, PATCH_VALUES).swapaxes(1, 2)
        q, r = np.linalg.qr(blocks)
        # The signs that make the factorisation unique make its directions uniform.
        q *= np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]
        gaussian = q.swapaxes(1, 2).reshape(NUM_DIRECTIONS, PATCH_VALUES)
    unit: Doubles = gaussian / np.linalg.norm(gaussian, axis=1, keepdims=True)
    return unit.astype(np.float32)


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
        Where projections are made and sorted: "cpu" through NumPy, any other through torch.

    Returns
    -------
    (K,) float64
    """
    pairing = _pairing(len(a.values), len(b.values))
    found: list[Doubles] = []
    with ThreadPoolExecutor(num_threads or os.cpu_count() or 1) as pool:
        measure = (
            partial(_distances_on_cpu, pairing=pairing, pool=pool)
            if device == "cpu"
            else partial(_distances_on_device, pairing=pairing, device=device)
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
    each: list[tuple[Doubles, Doubles]] = []
    with ThreadPoolExecutor(num_threads or os.cpu_count() or 1) as pool:
        for chosen in _blocks(directions, a, b, rows_each=9):  # 3 channels and what follows
            parts = _channel_parts(chosen)
            rows = (_projected(x, parts).reshape(len(chosen), 3, -1) for x in (a, b))
            each.extend(pool.map(partial(_influences_along, a, b), chosen, *rows))
    of_a, of_b = (np.mean(found, axis=0) for found in zip(*each, strict=True))
    return of_a, of_b


def _influences_along(
    a: Patches, b: Patches, direction: Floats, channels_a: Floats, channels_b: Floats
) -> tuple[Doubles, Doubles]:
    """The influences for one direction; `channels_*`: the projections of each channel, (3, N)."""
    slopes, potentials = _potential(channels_a.sum(axis=0), channels_b.sum(axis=0))
    sums = direction.reshape(3, -1).sum(axis=1, dtype=np.float64)
    influence_a = _image_influence(a, sums, channels_a, slopes[0], potentials[0])
    influence_b = _image_influence(b, sums, channels_b, slopes[1], potentials[1])
    return influence_a, -influence_b


def _image_influence(
    patches: Patches, sums: Doubles, parts: Floats, slope: Floats, potential: Doubles
) -> Doubles:
    per_image = potential.reshape(-1, PATCHES_PER_IMAGE).mean(axis=1)
    by_mean = sums * slope.mean(dtype=np.float64)
    by_std = (parts @ slope).astype(np.float64) / len(slope)
    influence: Doubles = per_image - patches.shifts @ by_mean - patches.scales @ by_std
    return influence


def _channel_parts(directions: Floats) -> Floats:
    """The three channels of each direction apart, (3 K, 147)."""
    parts = np.zeros((len(directions), 3, 3, PATCH**2), np.float32)
    parts[:, range(3), range(3)] = directions.reshape(-1, 3, PATCH**2)
    return parts.reshape(-1, PATCH_VALUES)


def _blocks(directions: Floats, a: Patches, b: Patches, *, rows_each: int = 1) -> list[Floats]:
    """Parts of the directions whose projections fit in memory."""
    bytes_each = 4 * (len(a.values) + len(b.values)) * rows_each
    step = min(_MOST_AT_ONCE, max(1, _PROJECTION_BYTES // bytes_each))
    return [directions[i : i + step] for i in range(0, len(directions), step)]


def _projected(patches: Patches, directions: Floats, out: Floats | None = None) -> Floats:
    """The normalised patches along each direction, (K, N)."""
    scaled, offset = patches.folded(directions)
    rows: Floats = np.matmul(scaled, patches.values.T, out=out)
    rows -= offset[:, None].astype(np.float32)
    return rows


def _distances_on_cpu(
    a: Patches,
    b: Patches,
    blocks: list[Floats],
    *,
    pairing: Pairing | None,
    pool: ThreadPoolExecutor,
) -> Iterator[Doubles]:
    # Fresh memory for each block would be slow.
    buffers = [np.empty((len(blocks[0]), len(x.values)), np.float32) for x in (a, b)]
    for chosen in blocks:
        rows = (
            _projected(x, chosen, out=buffer[: len(chosen)])
            for x, buffer in zip((a, b), buffers, strict=True)
        )
        yield np.array(list(pool.map(partial(_distance_in_place, pairing), *rows)))


def _distance_in_place(pairing: Pairing | None, a: Floats, b: Floats) -> float:
    """The distance of two rows, which are overwritten."""
    a.sort()
    b.sort()
    if pairing is not None:
        at_a, at_b, weights = pairing
        return float(np.abs(a[at_a] - b[at_b]) @ weights)
    a -= b
    np.abs(a, out=a)
    return float(a.mean(dtype=np.float64))


def _distances_on_device(
    a: Patches, b: Patches, blocks: list[Floats], *, pairing: Pairing | None, device: str
) -> Iterator[Doubles]:
    import torch

    values = [torch.from_numpy(x.values).to(device) for x in (a, b)]
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


def _potential(a: Floats, b: Floats) -> tuple[tuple[Floats, Floats], tuple[Doubles, Doubles]]:
    """The Kantorovich potential and its slope at each value of two samples, to a bin's width.

    The slope is -1 where the distribution function of `a` lies above that of `b`, and 1 below.
    """
    low, high = min(a.min(), b.min()), max(a.max(), b.max())
    scale = np.float32((_BINS - 1) / ((high - low) or 1))
    at = [((x - low) * scale).astype(np.intp) for x in (a, b)]
    share_a, share_b = (np.bincount(k, minlength=_BINS) / len(k) for k in at)
    slope = -np.sign(np.cumsum(share_a - share_b))
    potential = np.cumsum(slope) / scale
    slope = slope.astype(np.float32)
    return (slope[at[0]], slope[at[1]]), (potential[at[0]], potential[at[1]])
