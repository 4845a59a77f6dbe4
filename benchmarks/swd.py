"""Speed and memory of SWD next to plain float64 numpy and scipy: python benchmarks/swd.py

Each measurement is a process of its own, so that its peak memory is its own. The images are crops
of two photographs that scikit-image ships, cut when they are read, so that they take no memory.
"""

import argparse
import multiprocessing
import resource
import time
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data

from pgbench.metrics import ImageSet, swd
from pgbench.metrics.patches import patch_corners
from pgbench.metrics.pyramid import level_sizes
from pgbench.metrics.transport import DIRECTIONS_PER_BLOCK, unit_directions

FILTER = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None, None] / 256
BATCH = 128

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]


def crops(photograph: Pixels, seed: int, num_images: int, size: int) -> ImageSet:
    """Random crops of a photograph (H, W, 3), mirrored at its borders where it is too small."""
    high, wide = photograph.shape[:2]
    grow = max(0, 2 * size - min(high, wide))
    picture = np.pad(photograph, ((0, grow), (0, grow), (0, 0)), mode="symmetric")
    picture = np.ascontiguousarray(picture.transpose(2, 0, 1))
    limits = np.array(picture.shape[1:]) - size
    corners = np.random.default_rng(seed).integers(0, limits, (num_images, 2))

    def read(indices: NDArray[np.intp]) -> Pixels:
        return np.stack([picture[:, y : y + size, x : x + size] for y, x in corners[indices]])

    return ImageSet("crops", num_images, (3, size, size), read, cheap=True)


def plain_level(images: Pixels, size: int) -> Floats:
    """One level of the pyramid, (N, 3, size, size), straight from the definition."""
    lowpass = images.astype(np.float64)
    while True:
        smaller = ndimage.convolve(lowpass, FILTER, mode="mirror")[:, :, ::2, ::2]
        if lowpass.shape[2] == size:
            break
        lowpass = smaller
    if size == 16:
        return lowpass
    sparse = np.zeros_like(lowpass)
    sparse[:, :, ::2, ::2] = smaller
    return lowpass - ndimage.convolve(sparse, 4 * FILTER, mode="mirror")


def plain_descriptors(images: ImageSet, size: int) -> Floats:
    """The normalised patches of a level, (N x 128, 147)."""
    corners = patch_corners(0, size, images.num_images)
    patches = np.empty((images.num_images * 128, 3, 7, 7))
    position = 0
    for batch in images.batches(BATCH):
        for image in plain_level(batch, size):
            for y, x in corners[position // 128]:
                patches[position] = image[:, y : y + 7, x : x + 7]
                position += 1
    patches -= patches.mean(axis=(0, 2, 3), keepdims=True)
    patches /= patches.std(axis=(0, 2, 3), keepdims=True)
    return patches.reshape(-1, 147)


def plain_swd(real: ImageSet, fake: ImageSet) -> float:
    """The average SWD."""
    found = []
    for size in level_sizes(real.shape[1]):
        a, b = (plain_descriptors(images, size) for images in (real, fake))
        distances = []
        for block in np.split(unit_directions(0, size), 512 // DIRECTIONS_PER_BLOCK):
            projected = [np.sort(x @ block.T.astype(np.float64), axis=0) for x in (a, b)]
            distances.append(np.abs(projected[0] - projected[1]).mean())
        found.append(1000 * np.mean(distances))
    return float(np.mean(found))


def our_swd(real: ImageSet, fake: ImageSet) -> float:
    """The average SWD."""
    return swd(real, fake).values["avg"]


def measure(plain: bool, num_images: int, size: int) -> tuple[float, float, float]:
    """Value, seconds and peak memory in GB."""
    real = crops(data.astronaut(), 0, num_images, size)
    fake = crops(data.chelsea(), 1, num_images, size)
    started = time.perf_counter()
    value = (plain_swd if plain else our_swd)(real, fake)
    seconds = time.perf_counter() - started
    return value, seconds, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9


def apart(plain: bool, num_images: int, size: int) -> tuple[float, float, float]:
    """The same in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(partial(measure, plain), (num_images, size))


def main() -> None:
    """Print a line for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-images", type=int, nargs="+", default=[256])
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--no-plain", action="store_true", help="measure pgbench alone")
    options = parser.parse_args()
    for count in options.num_images:
        found, ours, memory = apart(False, count, options.resolution)
        line = f"swd of {count} + {count} images of {options.resolution} px: "
        line += f"pgbench {ours:.1f} s, {memory:.2f} GB"
        if not options.no_plain:
            expected, plain, plain_memory = apart(True, count, options.resolution)
            line += f"; plain {plain:.1f} s, {plain_memory:.2f} GB; {plain / ours:.1f} times as "
            line += f"fast; avg {found:.4f} and {expected:.4f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
