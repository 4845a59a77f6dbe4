"""The Laplacian pyramid that SWD looks at (paper section 5; Burt and Adelson, 1983).

Filter: the 5x5 outer product of [1 4 6 4 1], divided by 256; beyond the border the image is
mirrored without repeating its edge. `down` filters and keeps every second pixel; `up` puts zeros in
between and applies 4 times the filter. A level is the image minus up(down(image)); the last one is
what is left: the low-pass image. Both are computed one axis after the other, and without the pixels
they would drop or the zeros they would add.
"""

import numpy as np
from numpy.typing import NDArray

SMALLEST = 16

Floats = NDArray[np.float32]  # NCHW


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


def down(images: Floats) -> Floats:
    """Filter and keep every second pixel: (N, C, H, W) to (N, C, H/2, W/2); H, W even, above 2."""
    return _down_rows(_down_rows(images).swapaxes(2, 3)).swapaxes(2, 3)


def up(images: Floats) -> Floats:
    """Double the size and interpolate: (N, C, H, W) to (N, C, 2H, 2W); H, W at least 2."""
    return _up_rows(_up_rows(images).swapaxes(2, 3)).swapaxes(2, 3)


def laplacian_level(images: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
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
    lowpass = images.astype(np.float32)
    while lowpass.shape[2] > size:
        lowpass = down(lowpass)
    return lowpass if size == SMALLEST else lowpass - up(down(lowpass))


def _down_rows(x: Floats) -> Floats:
    padded = np.pad(x, ((0, 0), (0, 0), (2, 1), (0, 0)), mode="reflect")
    even, odd = padded[:, :, 0::2], padded[:, :, 1::2]
    out = 6 * even[:, :, 1:-1]
    out += 4 * (odd[:, :, :-1] + odd[:, :, 1:])
    out += even[:, :, :-2]
    out += even[:, :, 2:]
    out /= 16
    return out


def _up_rows(x: Floats) -> Floats:
    # Mirroring the zero-filled rows gives row 1 before the first row, the last row after itself.
    padded = np.concatenate([x[:, :, 1:2], x, x[:, :, -1:]], axis=2)
    before, here, after = padded[:, :, :-2], x, padded[:, :, 2:]
    out = np.empty((*x.shape[:2], 2 * x.shape[2], x.shape[3]), x.dtype)
    out[:, :, 0::2] = (before + 6 * here + after) / 8
    out[:, :, 1::2] = (here + after) / 2
    return out
