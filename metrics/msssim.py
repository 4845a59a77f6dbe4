"""MS-SSIM within one image set: how alike two generated images are (paper section 5, Odena et al.).

Multi-scale structural similarity (Wang et al., 2003) of disjoint consecutive pairs, averaged. Lower
means more variation; the number says something only next to the one of the real images.

At each of five scales a Gaussian window of 11x11, sigma 1.5, slides over the valid positions. Where
an image is smaller, the window shrinks to the image, and sigma in proportion. The contrast term of
the first four scales and the full similarity of the fifth are averaged over the pixels and channels
of a pair, clipped at 0, raised to the scale's weight and multiplied. Between scales: 2x2 means.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgbench.metrics.images import Images, ImageSet, Pixels, as_image_set, rebatch
from pgbench.metrics.registry import MSSSIM_VERSION, MetricResult

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # they do not sum to 1
WINDOW = 11
SIGMA = 1.5
K1, K2, RANGE = 0.01, 0.03, 255.0

_DIVISOR = 2 ** (len(WEIGHTS) - 1)
_BATCH_IMAGES = 128  # read at once
_CHUNK_PIXELS = 2**15  # handled at once by a thread

Floats = NDArray[np.float64]
Progress = Callable[[float], None]  # called with the fraction done, in [0, 1]


def msssim(
    images: Images,
    *,
    num_images: int | None = None,
    seed: int = 0,
    num_threads: int | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> MetricResult:
    """Mean MS-SSIM over the pairs (0, 1), (2, 3), ... of a set.

    Parameters
    ----------
    images : ImageSet, array or iterable of batches
        uint8 NCHW, [0, 255]; C = 3; H and W multiples of 16. Read batch by batch.
    num_images : int, optional
        Use the first so many images, an even number; by default all of them.
    seed : int
        Recorded in the result; nothing in MS-SSIM is random.
    num_threads, batch_size : int, optional
        Speed and memory only: the value does not depend on them.
    progress : callable, optional
        Called with the fraction done, where the number of images is known.

    Returns
    -------
    MetricResult
        `values` and `stderr` have the key "msssim"; the standard error is the one over pairs, None
        for a single pair.

    Raises
    ------
    ValueError
        An odd number of images or none, too few of them, or a shape that five scales do not fit.
    """
    started = time.perf_counter()
    if isinstance(images, np.ndarray | ImageSet):
        images = as_image_set(images, num_images)
        num_images = images.num_images
    if num_images is not None:
        _check_even(num_images)
    read_at_once = 2 * max(1, (batch_size or _BATCH_IMAGES) // 2)
    found: list[float] = []
    with ThreadPoolExecutor(num_threads or os.cpu_count() or 1) as pool:
        for batch in rebatch(images, read_at_once, num_images):
            _check_even(len(batch))
            found.extend(chain.from_iterable(pool.map(pair_similarities, *_pair_chunks(batch))))
            if progress is not None and num_images is not None:
                progress(2 * len(found) / num_images)
    _check_even(2 * len(found))
    values, stderr = _summary(np.array(found))
    protocol = _protocol(len(found), *batch.shape[2:])
    wall_sec = round(time.perf_counter() - started, 3)
    return MetricResult(
        "msssim", MSSSIM_VERSION, 2 * len(found), seed, values, stderr, protocol, wall_sec
    )


def pair_similarities(a: NDArray[Any], b: NDArray[Any]) -> Floats:
    """MS-SSIM of each a[i] with b[i].

    Parameters
    ----------
    a, b : (N, C, H, W), [0, 255]
        H and W multiples of 16.

    Returns
    -------
    (N,) float64, [0, 1]

    Raises
    ------
    ValueError
        H or W is no multiple of 16.
    """
    if a.shape[2] % _DIVISOR or a.shape[3] % _DIVISOR or 0 in a.shape[2:]:
        raise ValueError(
            f"MS-SSIM halves images four times: height and width must be multiples of {_DIVISOR}, "
            f"not {a.shape[2]} and {a.shape[3]}."
        )
    a, b = a.astype(np.float64), b.astype(np.float64)
    product = np.ones(len(a))
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            a, b = _halved(a), _halved(b)
        similarity, contrast = _similarity_terms(a, b)
        term = similarity if scale == len(WEIGHTS) - 1 else contrast
        product *= np.maximum(term, 0) ** weight
    return product


def _similarity_terms(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """SSIM and its contrast term of each pair (N, C, H, W) at one scale, as means: (N,) each."""
    window = _window(min(WINDOW, *a.shape[2:]))
    mean_a, mean_b, squares, product = (_filtered(x, window) for x in (a, b, a * a + b * b, a * b))
    c1, c2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
    mean_product = mean_a * mean_b
    mean_squares = mean_a**2 + mean_b**2
    # Only the sum of the two variances occurs.
    contrast = (2 * (product - mean_product) + c2) / (squares - mean_squares + c2)
    luminance = (2 * mean_product + c1) / (mean_squares + c1)
    return _image_means(luminance * contrast), _image_means(contrast)


def _window(size: int) -> Floats:
    """The normalised Gaussian of `size` pixels along an axis, sigma in proportion, (size,)."""
    sigma = SIGMA * size / WINDOW
    weights = np.exp(-(((np.arange(size) - (size - 1) / 2) / sigma) ** 2) / 2)
    normalised: Floats = weights / weights.sum()
    return normalised


def _filtered(x: Floats, window: Floats) -> Floats:
    """The valid positions of (N, C, H, W) under the outer product of the window with itself."""
    return _filtered_rows(_filtered_rows(x, window).swapaxes(2, 3), window).swapaxes(2, 3)


def _filtered_rows(x: Floats, window: Floats) -> Floats:
    size = len(window)
    length = x.shape[2] - size + 1
    middle = size // 2
    out = np.zeros((*x.shape[:2], length, x.shape[3]))
    for i in range(middle):  # the window is symmetric: add opposite rows before multiplying
        opposite = size - 1 - i
        both = x[:, :, i : i + length] + x[:, :, opposite : opposite + length]
        both *= window[i]
        out += both
    if size % 2:
        out += window[middle] * x[:, :, middle : middle + length]
    return out


def _halved(x: Floats) -> Floats:
    """2x2 means."""
    return (
        x[:, :, 0::2, 0::2] + x[:, :, 0::2, 1::2] + x[:, :, 1::2, 0::2] + x[:, :, 1::2, 1::2]
    ) / 4


def _image_means(x: Floats) -> Floats:
    # Flattened, so that the order of summation, hence the last bit, is the same for any N.
    means: Floats = np.ascontiguousarray(x).reshape(len(x), -1).mean(axis=1)
    return means


def _pair_chunks(batch: Pixels) -> tuple[list[Pixels], list[Pixels]]:
    """The first and the second images of the pairs of a batch, in chunks that fit in the cache."""
    pairs = max(1, _CHUNK_PIXELS // (batch.shape[2] * batch.shape[3]))
    starts = range(0, len(batch), 2 * pairs)
    chunks = [batch[start : start + 2 * pairs] for start in starts]
    return [chunk[0::2] for chunk in chunks], [chunk[1::2] for chunk in chunks]


def _check_even(num_images: int) -> None:
    if num_images < 2 or num_images % 2:
        raise ValueError(
            f"MS-SSIM compares images in pairs: it needs an even number from 2, not {num_images}."
        )


def _summary(similarities: Floats) -> tuple[dict[str, float], dict[str, float | None]]:
    error = None
    if len(similarities) > 1:
        error = float(similarities.std(ddof=1)) / len(similarities) ** 0.5
    return {"msssim": float(similarities.mean())}, {"msssim": error}


def _protocol(num_pairs: int, height: int, width: int) -> dict[str, object]:
    return {
        "resolution": height if height == width else [height, width],
        "num_pairs": num_pairs,
        "pairs": "disjoint, consecutive",
        "window": WINDOW,
        "sigma": SIGMA,
        "small_images": "window and sigma shrink in proportion",
        "k1": K1,
        "k2": K2,
        "range": RANGE,
        "weights": list(WEIGHTS),
        "dtype": "float64",
    }
