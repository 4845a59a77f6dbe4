"""Built-in data set `scenes`: random square crops of the photographs inside scikit-image.

It stands where LSUN bedroom stands in table 1: unaligned, no mirroring. A crop is scaled down,
never up. Everything is read from the installed package, nothing from the network. The same seed
and index give the same pixels on one machine; another Pillow or JPEG library may differ by a
rounding.
"""

import functools
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

VERSION = 1  # bumped whenever pixels change

# The colour photographs of the wheel, at least 256 pixels on the short side. The right-hand
# picture of the motorcycle is left out: it shows the same scene as the left-hand one.
PHOTOGRAPHS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
RESOLUTIONS = (4, 8, 16, 32, 64, 128, 256)
SMALLEST_CROP = 0.4  # of the photograph's short side: smaller crops show texture, not things
_STREAM = 0x5CE7E  # sets these draws apart from others that start from the same seed and index


class Crop(NamedTuple):
    """A square of `side` source pixels in PHOTOGRAPHS[photograph], its corner at (left, top)."""

    photograph: int
    left: int
    top: int
    side: int


def render(seed: int, index: int, *, resolution: int) -> NDArray[np.uint8]:
    """Image `index` of data set `seed`: CHW RGB, uint8, [0, 255]; ValueError for a bad size."""
    crop = choose_crop(seed, index, resolution=resolution)
    box = (crop.left, crop.top, crop.left + crop.side, crop.top + crop.side)
    small = load_photograph(crop.photograph).resize(
        (resolution, resolution), Image.Resampling.LANCZOS, box=box
    )
    return np.ascontiguousarray(np.asarray(small, dtype=np.uint8).transpose(2, 0, 1))


def choose_crop(seed: int, index: int, *, resolution: int) -> Crop:
    """The crop behind image `index`: inside the photograph, its side at least `resolution`."""
    if resolution not in RESOLUTIONS:
        raise ValueError(
            f"resolution {resolution} is not available for scenes: "
            f"choose one of {', '.join(map(str, RESOLUTIONS))}."
        )
    if seed < 0 or index < 0:
        raise ValueError(f"seed {seed} and index {index} must both be 0 or more.")
    rng = np.random.default_rng(np.random.SeedSequence([seed, index, _STREAM]))
    photograph = int(rng.integers(len(PHOTOGRAPHS)))
    scale, across, down = rng.uniform(size=3)
    width, height = load_photograph(photograph).size
    short = min(width, height)
    smallest = max(resolution, round(SMALLEST_CROP * short))
    side = smallest + int(scale * (short + 1 - smallest))
    left = int(across * (width + 1 - side))
    top = int(down * (height + 1 - side))
    return Crop(photograph, left, top, side)


@functools.cache
def load_photograph(number: int) -> Image.Image:
    """PHOTOGRAPHS[number], decoded once a process."""
    file = resources.files("skimage") / "data" / PHOTOGRAPHS[number]
    with file.open("rb") as stream, Image.open(stream) as image:
        return image.convert("RGB")
