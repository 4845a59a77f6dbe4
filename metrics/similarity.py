"""MS-SSIM of a pair of images (Wang et al. 2003; paper section 5), and the parts it is made of.

At each of five scales a Gaussian window of 11x11, sigma 1.5, slides over the valid positions. Where
an image is smaller, the window shrinks to the image, and sigma in proportion. The contrast term of
the first four scales and the full similarity of the fifth are averaged over the pixels and channels
of a pair, clipped at 0, raised to the scale's weight and multiplied. Between scales: 2x2 means.
"""

from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # they do not sum to 1
WINDOW = 11
SIGMA = 1.5
K1, K2, RANGE = 0.01, 0.03, 255.0
C1, C2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
CHUNK_PIXELS = 2**15  # of the images that a thread handles at once: they stay in the cache

_DIVISOR = 2 ** (len(WEIGHTS) - 1)

Floats = NDArray[np.float64]


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
    check_shape(a.shape[2], a.shape[3])
    a, b = a.astype(np.float64), b.astype(np.float64)
    product = np.ones(len(a))
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            a, b = halved(a), halved(b)
        similarity, contrast = _similarity_terms(a, b)
        term = similarity if scale == len(WEIGHTS) - 1 else contrast
        product *= np.maximum(term, 0) ** weight
    return product


def check_shape(height: int, width: int) -> None:
    """Refuse images that five scales do not fit."""
    if height % _DIVISOR or width % _DIVISOR or not height or not width:
        raise ValueError(
            f"MS-SSIM halves images four times: height and width must be multiples of {_DIVISOR}, "
            f"not {height} and {width}."
        )


def local_means(x: Floats) -> Floats:
    """The window's mean at each valid position of (..., H, W), (..., H', W')."""
    window = _window(min(WINDOW, *x.shape[-2:]))
    return _filtered(_filtered(x, window, axis=-2), window, axis=-1)


def halved(x: Floats) -> Floats:
    """2x2 means of (N, C, H, W)."""
    return (
        x[:, :, 0::2, 0::2] + x[:, :, 0::2, 1::2] + x[:, :, 1::2, 0::2] + x[:, :, 1::2, 1::2]
    ) / 4


def image_means(x: Floats) -> Floats:
    """The mean of each image (N, ...), (N,)."""
    # Flattened, so that the order of summation, hence the last bit, is the same for any N.
    means: Floats = np.ascontiguousarray(x).reshape(len(x), prod(x.shape[1:])).mean(axis=1)
    return means


def _similarity_terms(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """SSIM and its contrast term of each pair (N, C, H, W) at one scale, as means: (N,) each."""
    mean_a, mean_b, squares, product = map(local_means, (a, b, a * a + b * b, a * b))
    mean_product = mean_a * mean_b
    mean_squares = mean_a**2 + mean_b**2
    # Only the sum of the two variances occurs.
    contrast = (2 * (product - mean_product) + C2) / (squares - mean_squares + C2)
    luminance = (2 * mean_product + C1) / (mean_squares + C1)
    return image_means(luminance * contrast), image_means(contrast)


def _window(size: int) -> Floats:
    """The normalised Gaussian of `size` pixels along an axis, sigma in proportion, (size,)."""
    sigma = SIGMA * size / WINDOW
    weights = np.exp(-(((np.arange(size) - (size - 1) / 2) / sigma) ** 2) / 2)
    normalised: Floats = weights / weights.sum()
    return normalised


def _filtered(x: Floats, window: Floats, *, axis: int) -> Floats:
    size = len(window)
    shifted = np.moveaxis(sliding_window_view(x, size, axis), -1, 0)
    out = np.zeros(shifted.shape[1:])
    term = np.empty_like(out)
    for i in range(size // 2):  # the window is symmetric: add opposite pixels before multiplying
        np.add(shifted[i], shifted[size - 1 - i], out=term)
        term *= window[i]
        out += term
    if size % 2:
        np.multiply(shifted[size // 2], window[size // 2], out=term)
        out += term
    return out
