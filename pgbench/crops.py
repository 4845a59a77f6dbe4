"""How a picture becomes a square of the store's size: the crops of section 3 and of LSUN.

Pictures are CHW uint8, [0, 255]. Errors speak of "a picture": whoever knows its name puts it first.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pgbench.data import Images

Crop = Literal["none", "centre"]
Resize = Literal["lanczos", "box"]

CELEBA_SIDE = 128
_CELEBA_WIDTH, _CELEBA_HEIGHT = 178, 218
_CELEBA_X, _CELEBA_Y = 89, 121  # the centre of the crop


@dataclass(frozen=True)
class Fit:
    """What is done to a picture (3, H, W) so that it is (3, resolution, resolution)."""

    resolution: int
    crop: Crop = "none"
    resize: Resize | None = None
    allow_upscale: bool = False

    def __call__(self, image: Images) -> Images:
        if self.crop == "centre":
            image = centre_square(image)
        if self.resize is not None:
            image = resized(
                image, self.resolution, method=self.resize, allow_upscale=self.allow_upscale
            )
        if image.shape != (3, self.resolution, self.resolution):
            raise ValueError(
                f"a picture of {_size(image)} pixels does not fit where "
                f"{self.resolution}x{self.resolution} are expected; bring all pictures to one "
                "square size, or give --resolution with --crop centre and --resize lanczos"
            )
        return np.ascontiguousarray(image)

    def __str__(self) -> str:
        """The words of `dataset.json`."""
        crop = ["centre square"] if self.crop == "centre" else []
        resize = [f"{self.resize} to {self.resolution}x{self.resolution}"] if self.resize else []
        return ", ".join(crop + resize) or "none"


def celeba_crop(image: Images) -> Images:
    """Rows 57 to 184 and columns 25 to 152 of an aligned CelebA picture, (3, 128, 128)."""
    if image.shape != (3, _CELEBA_HEIGHT, _CELEBA_WIDTH):
        raise ValueError(
            f"a picture of {_size(image)} pixels is no aligned CelebA picture, which has "
            f"{_CELEBA_WIDTH}x{_CELEBA_HEIGHT}; give the pictures of img_align_celeba as they are"
        )
    top, left = _CELEBA_Y - CELEBA_SIDE // 2, _CELEBA_X - CELEBA_SIDE // 2
    return np.ascontiguousarray(image[:, top : top + CELEBA_SIDE, left : left + CELEBA_SIDE])


def centre_square(image: Images) -> Images:
    """The largest square in the middle; an odd pixel too many is cut at the bottom or right."""
    _, height, width = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[:, top : top + side, left : left + side]


def resized(
    image: Images, resolution: int, *, method: Resize = "lanczos", allow_upscale: bool = False
) -> Images:
    """A square picture at another size.

    `lanczos` is Pillow's, antialiased; `box` is the mean of whole blocks, rounded once.
    """
    _, height, width = image.shape
    if height != width:
        raise ValueError(
            f"a picture of {_size(image)} pixels would be distorted; crop it to a square first "
            "(--crop centre)"
        )
    check_side(image, resolution, allow_upscale=allow_upscale)
    if height == resolution:
        return image
    return _box(image, resolution) if method == "box" else _lanczos(image, resolution)


def check_side(image: Images, resolution: int, *, allow_upscale: bool) -> None:
    """ValueError when the picture would have to be enlarged and may not be."""
    if min(image.shape[1:]) < resolution and not allow_upscale:
        raise ValueError(
            f"a picture of {_size(image)} pixels is too small for {resolution}x{resolution}; "
            "give larger ones, or allow enlarging with --allow-upscale"
        )


def _lanczos(image: Images, resolution: int) -> Images:
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    scaled = picture.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(scaled, dtype=np.uint8).transpose(2, 0, 1))


def _box(image: Images, resolution: int) -> Images:
    block, rest = divmod(image.shape[1], resolution)
    if rest or block == 0:
        raise ValueError(
            f"a picture of {_size(image)} pixels is no whole multiple of {resolution}x{resolution} "
            "as box needs; use lanczos"
        )
    blocks = image.reshape(3, resolution, block, resolution, block)
    means: NDArray[np.float64] = blocks.mean(axis=(2, 4), dtype=np.float64)
    return np.rint(means).astype(np.uint8)


def _size(image: Images) -> str:
    return f"{image.shape[2]}x{image.shape[1]}"
