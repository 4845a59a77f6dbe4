"""The Laplacian pyramid that SWD looks at (paper section 5; Burt and Adelson, 1983).

Filter: the 5x5 outer product of [1 4 6 4 1], divided by 256; beyond the border the image is
mirrored without repeating its edge. `down` filters and keeps every second pixel; `up` puts zeros in
between and applies 4 times the filter. A level is the image minus up(down(image)); the last one is
what is left: the low-pass image. Both are computed one axis after the other, and without the pixels
they would drop or the zeros they would add. Filter sums of uint8 fit in uint16, which is exact and
the fastest; everything after the first `down` is float32.
"""

import numpy as np
from numpy.typing import NDArray

SMALLEST = 16

Floats = NDArray[np.float32]  # NCHW
Numbers = NDArray[np.float32 | np.uint16]


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


def down(images: NDArray[np.uint8] | Floats) -> Floats:
    """Filter and keep every second pixel: (N, C, H, W) to (N, C, H/2, W/2); H, W even, above 2."""
    numbers: Numbers = images.astype(
        np.float32 if images.dtype == np.float32 else np.uint16, copy=False
    )
    rows = _weighted(numbers[:, :, 0::2], numbers[:, :, 1::2], axis=2)
    # Contiguous columns make the second pass several times as fast.
    even: Numbers = np.ascontiguousarray(rows[..., 0::2])
    odd: Numbers = np.ascontiguousarray(rows[..., 1::2])
    return np.multiply(_weighted(even, odd, axis=3), np.float32(1 / 256), dtype=np.float32)


def up(images: Floats) -> Floats:
    """Double the size and interpolate: (N, C, H, W) to (N, C, 2H, 2W); H, W at least 2."""
    return _doubled(_doubled(images, axis=3), axis=2)


def laplacian_level(images: NDArray[np.uint8], size: int) -> Floats:
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
    lowpass: NDArray[np.uint8] | Floats = images
    while lowpass.shape[2] > size:
        lowpass = down(lowpass)
    if size == SMALLEST:
        return lowpass.astype(np.float32, copy=False)
    difference = up(down(lowpass))
    return np.subtract(lowpass, difference, out=difference)


def _weighted(even: Numbers, odd: Numbers, *, axis: int) -> Numbers:
    """The filter's sums, times 16, at the even pixels of an axis; integers stay exact."""
    even, odd = even.swapaxes(0, axis), odd.swapaxes(0, axis)
    fours = odd * odd.dtype.type(4)
    out = even * even.dtype.type(6)
    out += fours
    out[1:] += fours[:-1]
    out[0] += fours[0]  # mirrored: what would lie before even pixel 0 is odd pixel 0
    out[1:] += even[:-1]
    out[0] += even[1]
    out[:-1] += even[1:]
    out[-1] += even[-1]
    return out.swapaxes(0, axis)


def _doubled(x: Floats, *, axis: int) -> Floats:
    """Twice as many pixels along an axis: even ones (1 6 1) / 8, odd ones (1 1) / 2."""
    doubled = np.empty([n * (1 + (i == axis)) for i, n in enumerate(x.shape)], x.dtype)
    x, out = x.swapaxes(0, axis), doubled.swapaxes(0, axis)
    even, odd = out[0::2], out[1::2]
    np.multiply(x, np.float32(6), out=even)
    even[1:] += x[:-1]
    even[0] += x[1]  # mirrored among zeros: before pixel 0 comes pixel 1, after the last itself
    even[:-1] += x[1:]
    even[-1] += x[-1]
    even *= np.float32(1 / 8)
    np.add(x[:-1], x[1:], out=odd[:-1])
    odd[:-1] *= np.float32(1 / 2)
    odd[-1] = x[-1]
    return doubled
