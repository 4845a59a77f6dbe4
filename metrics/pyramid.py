"""The Laplacian pyramid that SWD looks at (paper section 5; Burt and Adelson, 1983).

Filter: the 5x5 outer product of [1 4 6 4 1], divided by 256; beyond the border the image is
mirrored without repeating its edge. `down` filters and keeps every second pixel; `up` puts zeros in
between and applies 4 times the filter. A level is the image minus up(down(image)); the last one is
what is left: the low-pass image.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALLEST = 16

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def level_sizes(resolution: int) -> tuple[int, ...]:
    """The sizes of the levels of a square image, finest first: 64 gives (64, 32, 16).

    Raises
    ------
    ValueError
        `resolution` is not a power of two, or below 16.
    """
    if resolution < SMALLEST or resolution & (resolution - 1):
        raise ValueError(
            f"The pyramid needs a power of two from {SMALLEST} as resolution, not {resolution}."
        )
    return tuple(
        resolution >> i for i in range(resolution.bit_length() - SMALLEST.bit_length() + 1)
    )


def down(images: Pixels | Floats) -> Floats:
    """Filter and keep every second pixel: (N, C, H, W) to (N, C, H/2, W/2); H, W even, above 2."""
    from pgbench.metrics import pyramid_loops

    n, c, height, width = images.shape
    out = np.empty((n, c, height // 2, width // 2), np.float32)
    planes: NDArray[Any] = np.ascontiguousarray(images).reshape(n * c, height, width)
    pyramid_loops.down(planes, out.reshape(n * c, height // 2, width // 2))
    return out


def up(images: Floats) -> Floats:
    """Double the size and interpolate: (N, C, H, W) to (N, C, 2H, 2W); H, W at least 2."""
    from pgbench.metrics import pyramid_loops

    n, c, height, width = images.shape
    out = np.empty((n, c, 2 * height, 2 * width), np.float32)
    planes = np.ascontiguousarray(images).reshape(n * c, height, width)
    pyramid_loops.up(planes, out.reshape(n * c, 2 * height, 2 * width))
    return out


def laplacian_level(images: Pixels, size: int) -> Floats:
    """One level of the Laplacian pyramid of each image.

    Parameters
    ----------
    images : (N, C, R, R) uint8, [0, 255]
    size : int
        Which level: one of `level_sizes(R)`.

    Returns
    -------
    (N, C, size, size) float32
        Differences in [-255, 255]; at size 16 the low-pass image in [0, 255].

    Raises
    ------
    ValueError
        The images have no such level.
    """
    if size not in level_sizes(images.shape[2]):
        raise ValueError(f"Images of {images.shape[2]} pixels have no pyramid level {size}.")
    lowpass: Pixels | Floats = images
    while lowpass.shape[2] > size:
        lowpass = down(lowpass)
    if size == SMALLEST:
        return lowpass.astype(np.float32, copy=False)
    difference = up(down(lowpass))
    return np.subtract(lowpass, difference, out=difference)
