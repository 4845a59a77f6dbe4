"""MS-SSIM within one image set: how alike two generated images are (paper section 5, Odena et al.).

Multi-scale structural similarity (Wang et al., 2003) of pairs of images, averaged: of disjoint
consecutive ones, as the paper has it, or of all, which takes more time for a smaller standard
error. Lower means more variation; the number says something only next to the one of the reals.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Literal

import numpy as np

from pgbench.metrics.images import Images, ImageSet, Pixels, as_image_set, rebatch
from pgbench.metrics.msssim_pairs import mean_similarities
from pgbench.metrics.registry import MSSSIM_VERSION, MetricResult
from pgbench.metrics.similarity import (
    CHUNK_PIXELS,
    K1,
    K2,
    RANGE,
    SIGMA,
    WEIGHTS,
    WINDOW,
    check_shape,
    pair_similarities,
)

_BATCH_IMAGES = 128  # read at once

Progress = Callable[[float], None]  # called with the fraction done, in [0, 1]


def msssim(
    images: Images,
    *,
    reals: Images | None = None,
    pairs: Literal["consecutive", "all"] = "consecutive",
    num_images: int | None = None,
    seed: int = 0,
    num_threads: int | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> MetricResult:
    """Mean MS-SSIM over pairs of images of a set.

    Parameters
    ----------
    images : ImageSet, array or iterable of batches
        uint8 NCHW, [0, 255]; C = 3; H and W multiples of 16. Read batch by batch, but an iterable
        is gathered in memory for all pairs.
    reals : the same, optional
        Measured likewise, for reference: as many of them, of the same size; gathered if iterable.
    pairs : {"consecutive", "all"}
        (0, 1), (2, 3), ... or all N (N - 1) / 2 of them.
    num_images : int, optional
        Use the first so many images, by default all of them: an even number for consecutive pairs.
    seed : int
        Recorded in the result; nothing in MS-SSIM is random.
    num_threads, batch_size : int, optional
        Speed and memory only: the value does not depend on them.
    progress : callable, optional
        Called with the fraction done, where the number of images is known.

    Returns
    -------
    MetricResult
        Keys "msssim" and, if given, "reals". The standard error is that of a mean over disjoint
        pairs, None for one pair; over all pairs, that of a U-statistic: 2 / √N of the standard
        deviation over images of the mean similarity to the others, None for two images.

    Raises
    ------
    ValueError
        Too few images or an odd number of them, a shape that five scales or the reals do not fit.
    """
    started = time.perf_counter()
    if pairs not in _MEASURES:
        raise ValueError(f"MS-SSIM takes pairs that are consecutive or all, not {pairs!r}.")
    with ThreadPoolExecutor(num_threads or os.cpu_count() or 1) as pool:
        measure = partial(_MEASURES[pairs], pool=pool, batch_size=batch_size)
        found = _measured_sets(measure, images, reals, num_images, progress)
    return MetricResult(
        metric="msssim",
        metric_version=MSSSIM_VERSION,
        num_images=found["msssim"].num_images,
        seed=seed,
        values={key: measured.mean for key, measured in found.items()},
        stderr={key: measured.stderr for key, measured in found.items()},
        protocol=_protocol(found["msssim"]),
        wall_sec=round(time.perf_counter() - started, 3),
    )


@dataclass(frozen=True)
class _Measured:
    """What is known of a set when its pairs are done."""

    mean: float
    stderr: float | None
    num_images: int
    num_pairs: int
    pairs: str  # as the protocol says it
    shape: tuple[int, ...]  # of one image


def _measured_sets(
    measure: Callable[..., _Measured],
    images: Images,
    reals: Images | None,
    num_images: int | None,
    progress: Progress | None,
) -> dict[str, _Measured]:
    """What is measured of the images, and of the reals if there are any."""
    if isinstance(images, np.ndarray | ImageSet):
        images = as_image_set(images, num_images)
        num_images = images.num_images
    if reals is None:
        return {"msssim": measure(images, num_images, progress=progress)}
    reals = as_image_set(reals)
    if isinstance(images, ImageSet):  # else its size is known when it has been read
        reals = _comparable(reals, images.num_images, images.shape)
    found = measure(images, num_images, progress=_half(progress, 0))
    reals = _comparable(reals, found.num_images, found.shape)
    other = measure(reals, found.num_images, progress=_half(progress, 1))
    return {"msssim": found, "reals": other}


def _measure_consecutive(
    images: Images,
    num_images: int | None,
    *,
    pool: ThreadPoolExecutor,
    batch_size: int | None,
    progress: Progress | None,
) -> _Measured:
    if num_images is not None:
        _check_even(num_images)
    read_at_once = 2 * max(1, (batch_size or _BATCH_IMAGES) // 2)
    found: list[float] = []
    for batch in rebatch(images, read_at_once, num_images):
        _check_even(len(batch))
        found.extend(chain.from_iterable(pool.map(pair_similarities, *_pair_chunks(batch))))
        if progress is not None and num_images is not None:
            progress(2 * len(found) / num_images)
    n = len(found)
    _check_even(2 * n)
    error = float(np.std(found, ddof=1)) / n**0.5 if n > 1 else None
    shape = batch.shape[1:]
    return _Measured(float(np.mean(found)), error, 2 * n, n, "disjoint, consecutive", shape)


def _measure_all(
    images: Images,
    num_images: int | None,
    *,
    pool: ThreadPoolExecutor,
    batch_size: int | None,
    progress: Progress | None,
) -> _Measured:
    images = as_image_set(images, num_images)
    n = images.num_images
    check_shape(*images.shape[1:])
    if n < 2:
        raise ValueError(f"MS-SSIM compares images in pairs: it needs at least 2, not {n}.")
    means = mean_similarities(images, pool=pool, batch_size=batch_size, progress=progress)
    error = 2 * float(means.std(ddof=1)) / n**0.5 if n > 2 else None
    return _Measured(float(means.mean()), error, n, n * (n - 1) // 2, "all", images.shape)


def _pair_chunks(batch: Pixels) -> tuple[list[Pixels], list[Pixels]]:
    """The first and the second images of the pairs of a batch, in chunks that fit in the cache."""
    pairs = max(1, CHUNK_PIXELS // (batch.shape[2] * batch.shape[3]))
    starts = range(0, len(batch), 2 * pairs)
    chunks = [batch[start : start + 2 * pairs] for start in starts]
    return [chunk[0::2] for chunk in chunks], [chunk[1::2] for chunk in chunks]


def _check_even(num_images: int) -> None:
    if num_images < 2 or num_images % 2:
        raise ValueError(
            f"MS-SSIM compares images in pairs: it needs an even number from 2, not {num_images}."
        )


def _comparable(reals: ImageSet, num_images: int, shape: tuple[int, ...]) -> ImageSet:
    if reals.shape != shape:
        raise ValueError(
            f"The reals are of shape {reals.shape}, the images of {shape}; bring both to one size."
        )
    return reals.first(num_images)


def _half(progress: Progress | None, index: int) -> Progress | None:
    """The progress of one of two parts, as progress of both."""
    return None if progress is None else lambda fraction: progress((index + fraction) / 2)


def _protocol(found: _Measured) -> dict[str, object]:
    _, height, width = found.shape
    return {
        "resolution": height if height == width else [height, width],
        "num_pairs": found.num_pairs,
        "pairs": found.pairs,
        "window": WINDOW,
        "sigma": SIGMA,
        "small_images": "window and sigma shrink in proportion",
        "k1": K1,
        "k2": K2,
        "range": RANGE,
        "weights": list(WEIGHTS),
        "dtype": "float64",
    }


_MEASURES = {"consecutive": _measure_consecutive, "all": _measure_all}
