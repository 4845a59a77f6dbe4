"""Sliced Wasserstein distance between the patches of two image sets (paper section 5).

Per level of the Laplacian pyramid, 128 patches of 7x7x3 are taken from every image; each set is
normalised by its own mean and standard deviation per channel; the distance is the mean over 512
random directions of the one-dimensional Wasserstein distance between the projected patches.

Random numbers are common to all comparisons of a seed: the directions of a level depend on (seed,
level), the patch positions on (seed, level, index of the image) alone. Both sets share the
positions, so that a set has distance 0 to itself and comparisons differ by their images only.

One level is in memory at a time: 75 kB of float32 an image and set, 2.5 GB for 16,384 images. What
takes long is compiled, which numba does once and keeps.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pgbench.metrics.images import Images, ImageSet, as_image_set
from pgbench.metrics.patches import PATCH, PATCHES_PER_IMAGE, cut_patches
from pgbench.metrics.pyramid import level_sizes
from pgbench.metrics.registry import SWD_VERSION, MetricResult
from pgbench.metrics.repeats import disjoint_halves
from pgbench.metrics.spool import spooled
from pgbench.metrics.transport import (
    DIRECTIONS_PER_BLOCK,
    NUM_DIRECTIONS,
    image_influences,
    sliced_distances,
    unit_directions,
)

SCALE = 1000.0

_ERROR_DIRECTIONS = 32  # of the 512: enough for a standard error
_CUTTING = 0.1  # part of the time, for the progress bar

_DIRECTIONS_IN_WORDS = {
    "orthonormal": "4 orthonormal blocks of 128, independent per level",
    "iid": "gaussian, unit length, independent",
}

Doubles = NDArray[np.float64]
Directions = Literal["orthonormal", "iid"]
Progress = Callable[[float], None]  # called with the fraction done, in [0, 1]


@dataclass(frozen=True)
class _Settings:
    """What is the same at every level."""

    seed: int
    directions: Directions
    device: str
    num_threads: int | None
    batch_size: int | None

    def __post_init__(self) -> None:
        if self.directions not in _DIRECTIONS_IN_WORDS:
            raise ValueError(f"Directions are orthonormal or iid, not {self.directions!r}.")


@dataclass(frozen=True)
class _Level:
    """What was measured at one level, in units of the value."""

    value: float
    direction_variance: float  # of the value, over the choice of directions
    real_influence: Doubles  # (number of reals,)
    fake_influence: Doubles  # (number of fakes,)


def swd(
    real: Images,
    fake: Images,
    *,
    seed: int = 0,
    num_images: int | None = None,
    mirror: bool = False,
    directions: Directions = "orthonormal",
    noise_floor: bool = False,
    device: str = "cpu",
    num_threads: int | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> MetricResult:
    """Sliced Wasserstein distance x 1000 per pyramid level, and the plain mean over the levels.

    Parameters
    ----------
    real, fake : ImageSet, array or iterable of batches
        uint8 NCHW, [0, 255]; C = 3; H = W a power of two from 16. Sets of unequal size are compared
        by their quantiles.
    seed : int
        Of patch positions, directions and flips.
    num_images : int, optional
        Use the first so many of each set.
    mirror : bool
        Flip each real image left to right with probability 1/2, as training did.
    directions : "orthonormal" or "iid"
        Four orthonormal blocks of 128, for less scatter, or independent, as the paper has it.
    noise_floor : bool
        Also compare two disjoint random halves of the reals, of at most as many images as fakes.
    device : str
        Where to project and compare patches: "cpu" or a torch device such as "cuda".
    num_threads, batch_size : int, optional
        Speed and memory only: the value does not depend on them.
    progress : callable, optional
        Called with the fraction done.

    Returns
    -------
    MetricResult
        `values` and `stderr` have a key for each level, such as "32", and "avg"; the error is what
        the choice of images, patches and directions leaves.

    Raises
    ------
    ValueError
        Sets of different shapes, too few images, or no such pyramid.
    """
    started = time.perf_counter()
    settings = _Settings(seed, directions, device, num_threads, batch_size)
    all_reals = as_image_set(real, None if noise_floor else num_images)
    sets = as_image_set(all_reals, num_images), as_image_set(fake, num_images)
    part = _span(progress, 0, 1 / 2) if noise_floor else progress
    result = _compared(sets, mirror, settings, part)
    if noise_floor:
        result = _with_floor(result, all_reals, settings, _span(progress, 1 / 2, 1))
    return replace(result, wall_sec=round(time.perf_counter() - started, 3))


def _compared(
    sets: tuple[ImageSet, ImageSet], mirror: bool, settings: _Settings, progress: Progress | None
) -> MetricResult:
    """The result but for the noise floor and the time."""
    protocol = _protocol(*sets, mirror=mirror, directions=settings.directions)
    values, stderr = _summary(_levels(sets, (mirror, False), settings, progress))
    count = min(x.num_images for x in sets)
    return MetricResult("swd", SWD_VERSION, count, settings.seed, values, stderr, protocol, 0.0)


def _with_floor(
    result: MetricResult, reals: ImageSet, settings: _Settings, progress: Progress | None
) -> MetricResult:
    """Add what the reals' own halves are apart."""
    halves = _halves(reals, result.protocol["num_fakes"], settings.seed)
    mirror = result.protocol["mirror"]
    floor, _ = _summary(_levels(halves, (mirror, mirror), settings, progress))
    protocol = {**result.protocol, "noise_floor_images": halves[0].num_images}
    return replace(result, protocol=protocol, noise_floor=floor)


def _halves(reals: ImageSet, at_most: int, seed: int) -> tuple[ImageSet, ImageSet]:
    if reals.num_images < 2:
        raise ValueError("A noise floor needs at least 2 reals, but there is 1.")
    a, b = disjoint_halves(reals.num_images, at_most, seed=seed)
    return reals.select(a), reals.select(b)


def _levels(
    sets: tuple[ImageSet, ImageSet],
    mirrors: tuple[bool, bool],
    settings: _Settings,
    progress: Progress | None,
) -> dict[int, _Level]:
    """Compare two sets at every level; one is in memory at a time."""
    sizes = level_sizes(sets[0].shape[1])
    with spooled(sets[0]) as a, spooled(sets[1]) as b:
        return {
            size: _measure(
                (a, b),
                mirrors,
                size,
                settings,
                progress=_span(progress, i / len(sizes), (i + 1) / len(sizes)),
            )
            for i, size in enumerate(sizes)
        }


def _comparable_sizes(real: ImageSet, fake: ImageSet) -> tuple[int, ...]:
    """The pyramid levels of two sets that can be compared."""
    if real.shape != fake.shape:
        raise ValueError(
            f"The reals are of shape {real.shape}, the fakes of {fake.shape}; SWD compares images "
            "of one size."
        )
    if not (real.num_images and fake.num_images):
        raise ValueError(
            f"SWD needs at least 1 image in each set, but there are {real.num_images} reals and "
            f"{fake.num_images} fakes."
        )
    _, height, width = real.shape
    if height != width:
        raise ValueError(f"SWD needs square images, not {width}x{height}.")
    return level_sizes(height)


def _measure(
    sets: tuple[ImageSet, ImageSet],
    mirrors: tuple[bool, bool],
    size: int,
    settings: _Settings,
    *,
    progress: Progress | None,
) -> _Level:
    """Compare two sets at one level."""
    a, b = (
        cut_patches(
            images,
            size,
            seed=settings.seed,
            mirror=mirror,
            batch_size=settings.batch_size,
            num_threads=settings.num_threads,
            progress=_span(progress, i * _CUTTING, (i + 1) * _CUTTING),
        )
        for i, (images, mirror) in enumerate(zip(sets, mirrors, strict=True))
    )
    directions = unit_directions(
        settings.seed, size, orthonormal=settings.directions == "orthonormal"
    )
    distances = sliced_distances(
        a,
        b,
        directions,
        device=settings.device,
        num_threads=settings.num_threads,
        progress=_span(progress, 2 * _CUTTING, 1),
    )
    few = directions[:: NUM_DIRECTIONS // _ERROR_DIRECTIONS]
    influences = image_influences(a, b, few, num_threads=settings.num_threads)
    return _Level(
        SCALE * float(distances.mean()),
        SCALE**2 * _direction_variance(distances, settings.directions),
        SCALE * influences[0],
        SCALE * influences[1],
    )


def _direction_variance(distances: Doubles, directions: Directions) -> float:
    """Of the mean over the directions, of which only whole blocks are independent."""
    if directions == "orthonormal":
        distances = distances.reshape(-1, DIRECTIONS_PER_BLOCK).mean(axis=1)
    return float(distances.var(ddof=1)) / len(distances)


def _summary(
    levels: dict[int, _Level],
) -> tuple[dict[str, float], dict[str, float | None]]:
    """Value and standard error of each level, and of the plain mean over the levels."""
    values = {str(size): level.value for size, level in levels.items()}
    stderr: dict[str, float | None] = {
        str(size): _stderr([level]) for size, level in levels.items()
    }
    values["avg"] = sum(values.values()) / len(values)
    return values, {**stderr, "avg": _stderr(list(levels.values()))}


def _stderr(levels: list[_Level]) -> float:
    """Of the mean over some levels: they share their images, but not their directions."""
    variance = sum(level.direction_variance for level in levels) / len(levels) ** 2
    for influences in (
        [level.real_influence for level in levels],
        [level.fake_influence for level in levels],
    ):
        mean = np.mean(influences, axis=0)
        variance += float(mean.var()) / max(1, len(mean) - 1)
    return math.sqrt(variance)


def _protocol(
    reals: ImageSet,
    fakes: ImageSet,
    *,
    mirror: bool,
    directions: Directions,
) -> dict[str, object]:
    sizes = _comparable_sizes(reals, fakes)
    return {
        "resolution": sizes[0],
        "levels": list(sizes),
        "num_reals": reals.num_images,
        "num_fakes": fakes.num_images,
        "patches_per_image": PATCHES_PER_IMAGE,
        "patch_size": PATCH,
        "positions": "uniform, shared by both sets",
        "num_directions": NUM_DIRECTIONS,
        "directions": _DIRECTIONS_IN_WORDS[directions],
        "normalisation": "per set and channel",
        "scale": SCALE,
        "mirror": mirror,
        "dtype": "float32, sums float64",
    }


def _span(progress: Progress | None, start: float, end: float) -> Progress | None:
    """The progress of a part, as progress of the whole."""
    if progress is None:
        return None
    return lambda fraction: progress(start + (end - start) * fraction)
