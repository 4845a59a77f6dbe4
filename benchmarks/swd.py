"""Speed of SWD next to a plain numpy and scipy transcription: python benchmarks/swd.py"""

import argparse
import time

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pgbench.metrics import swd
from pgbench.metrics.swd import patch_corners, unit_directions

FILTER = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None, None] / 256

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]


def plain_pyramid(images: Pixels) -> list[Floats]:
    """All levels, finest first: (N, 3, size, size) each."""
    levels = []
    lowpass = images.astype(np.float64)
    while lowpass.shape[2] > 16:
        smaller = ndimage.convolve(lowpass, FILTER, mode="mirror")[:, :, ::2, ::2]
        sparse = np.zeros_like(lowpass)
        sparse[:, :, ::2, ::2] = smaller
        levels.append(lowpass - ndimage.convolve(sparse, 4 * FILTER, mode="mirror"))
        lowpass = smaller
    return [*levels, lowpass]


def plain_descriptors(level: Floats, seed: int) -> Floats:
    """Normalised patches, (N x 128, 147)."""
    corners = patch_corners(seed, level.shape[2], len(level))
    patches = np.array(
        [
            image[:, y : y + 7, x : x + 7]
            for image, places in zip(level, corners, strict=True)
            for y, x in places
        ]
    )
    patches -= patches.mean(axis=(0, 2, 3), keepdims=True)
    patches /= patches.std(axis=(0, 2, 3), keepdims=True)
    return patches.reshape(-1, 147)


def plain_swd(real: Pixels, fake: Pixels, seed: int) -> float:
    """The average SWD."""
    means = []
    for a, b in zip(plain_pyramid(real), plain_pyramid(fake), strict=True):
        directions = unit_directions(seed, a.shape[2]).T
        projected = [np.sort(plain_descriptors(x, seed) @ directions, axis=0) for x in (a, b)]
        means.append(1000 * np.abs(projected[0] - projected[1]).mean())
    return float(np.mean(means))


def main() -> None:
    """Time both on the same random images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-images", type=int, default=256)
    parser.add_argument("--resolution", type=int, default=32)
    options = parser.parse_args()
    shape = (2, options.num_images, 3, options.resolution, options.resolution)
    real, fake = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    started = time.perf_counter()
    found = swd(real, fake).values["avg"]
    ours = time.perf_counter() - started
    expected = plain_swd(real, fake, 0)
    plain = time.perf_counter() - started - ours
    print(f"swd of {options.num_images} + {options.num_images} images of {options.resolution} px")
    print(f"pgbench {ours:.2f} s, plain {plain:.2f} s, {plain / ours:.1f} times as fast")
    print(f"avg {found:.4f}, plain {expected:.4f}, difference {abs(found - expected):.1e}")


if __name__ == "__main__":
    main()
