"""Kernel distance between two sets of features, the K of KID.

The squared maximum mean discrepancy under the kernel (x·y / D + 1)³, in its unbiased estimate, of
random subsets of both sets; mean and standard deviation over the subsets (Bińkowski et al. 2018).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgbench.metrics.frechet import check_features

_REALS, _FAKES = 5, 6  # what a random stream is for

Features = NDArray[np.floating[Any]]  # (N, D)
Floats = NDArray[np.float64]
Progress = Callable[[float], None]  # called with the fraction done, in [0, 1]


@dataclass(frozen=True)
class KernelDistance:
    """The squared discrepancy over the subsets.

    Attributes
    ----------
    mean : float
        Unbiased, so it is 0 on average between two samples of one distribution, maybe negative.
    std : float
        With divisor `subsets`, as it is always quoted: of one subset, not of the mean.
    stderr : float or None
        Of the mean from the choice of the images and of the subsets. Subsets of n of the N images
        of the smaller set overlap, and scatter less than new images would: std² estimates the part
        1 - n / N of what one subset of new images would scatter, and all N images leave n / N of
        it. Hence std √(n / (N - n) + 1 / subsets), where the second term is the choice of the
        subsets. None for one subset, or where a subset is a whole set. It is too small for few
        subsets, too large where one set is much the larger, and between equal distributions, where
        the mean converges faster.
    """

    mean: float
    std: float
    stderr: float | None


def kernel_distance(
    real: Features,
    fake: Features,
    *,
    seed: int,
    subsets: int = 100,
    subset_size: int = 1000,
    progress: Progress | None = None,
) -> KernelDistance:
    """Kernel distance, Bińkowski et al. 2018.

    Parameters
    ----------
    real : (N, D), floating
    fake : (M, D), floating
    seed : int
        Of the subsets. Subset i depends on (seed, i), N and M alone.
    subsets, subset_size : int
        How many subsets, and how many images of each set in one, drawn without replacement.
    progress : callable, optional
        Called with the fraction done.

    Raises
    ------
    ValueError
        A set is smaller than a subset, a subset smaller than 2, D differs, or a feature is not
        finite.
    """
    _check(real, fake, seed, subsets, subset_size)
    found = np.empty(subsets)
    for index in range(subsets):
        found[index] = _discrepancy(
            _subset(real, subset_size, (seed, _REALS, index)),
            _subset(fake, subset_size, (seed, _FAKES, index)),
        )
        if progress is not None:
            progress((index + 1) / subsets)
    std = float(found.std())
    stderr = _stderr(std, subsets, subset_size, min(len(real), len(fake)))
    return KernelDistance(float(found.mean()), std, stderr)


def _stderr(std: float, subsets: int, subset_size: int, num_images: int) -> float | None:
    if subsets < 2 or num_images == subset_size:
        return None
    return std * math.sqrt(subset_size / (num_images - subset_size) + 1 / subsets)


def _check(real: Features, fake: Features, seed: int, subsets: int, subset_size: int) -> None:
    if seed < 0:
        raise ValueError(f"A seed is a whole number from 0, not {seed}.")
    if subsets < 1 or subset_size < 2:
        raise ValueError(
            f"A kernel distance needs at least 1 subset of at least 2 images, not {subsets} of "
            f"{subset_size}."
        )
    check_features(real, least=1, what="A kernel distance")
    check_features(fake, least=1, what="A kernel distance")
    if real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"The reals have {real.shape[1]} features an image, the fakes {fake.shape[1]}; take "
            "both from the same network."
        )
    if min(len(real), len(fake)) < subset_size:
        raise ValueError(
            f"Subsets of {subset_size} images do not fit into {len(real)} reals and {len(fake)} "
            "fakes; ask for smaller subsets or give more images."
        )


def _subset(features: Features, size: int, key: tuple[int, ...]) -> Floats:
    chosen = np.random.default_rng(key).choice(len(features), size, replace=False)
    return features[chosen].astype(np.float64)


def _discrepancy(x: Floats, y: Floats) -> float:
    """Unbiased squared maximum mean discrepancy of (n, D) and (n, D)."""
    n = len(x)
    within = sum(kernel.sum() - np.trace(kernel) for kernel in (_kernel(x, x), _kernel(y, y)))
    return float(within / (n * (n - 1)) - 2 * _kernel(x, y).mean())


def _kernel(x: Floats, y: Floats) -> Floats:
    """(x·y / D + 1)³ of all pairs, (n, m)."""
    kernel: Floats = x @ y.T
    kernel /= x.shape[1]
    kernel += 1
    kernel *= kernel * kernel
    return kernel
