"""Scatter of SWD over its directions, iid and orthonormal: python benchmarks/directions.py

Both draw 512 directions, at the same cost, for the same patches: built-in portraits against other
portraits, blurred. Printed is the standard deviation of a level's value from seed to seed.
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pgbench import portraits
from pgbench.metrics.images import as_image_set
from pgbench.metrics.patches import cut_patches
from pgbench.metrics.pyramid import level_sizes
from pgbench.metrics.transport import (
    DIRECTIONS_PER_BLOCK,
    NUM_DIRECTIONS,
    sliced_distances,
    unit_directions,
)

Pixels = NDArray[np.uint8]


def variances(real: Pixels, fake: Pixels, size: int, *, seeds: int) -> tuple[float, float, float]:
    """Mean distance of a level, and its variance with 512 iid and 512 orthonormal directions."""
    a, b = (cut_patches(as_image_set(images), size, seed=0) for images in (real, fake))
    # Each direction of an orthonormal block is uniform, so they give the variance of both kinds.
    found = np.stack([sliced_distances(a, b, unit_directions(i, size)) for i in range(seeds)])
    blocks = found.reshape(-1, DIRECTIONS_PER_BLOCK).mean(axis=1)
    per_value = NUM_DIRECTIONS / DIRECTIONS_PER_BLOCK
    return found.mean(), found.var(ddof=1) / NUM_DIRECTIONS, blocks.var(ddof=1) / per_value


def main() -> None:
    """Print the scatter of both kinds at each level."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-images", type=int, default=256)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=15)
    options = parser.parse_args()
    count, resolution = options.num_images, options.resolution
    images = np.stack([portraits.render(0, i, resolution=resolution) for i in range(2 * count)])
    blurred = ndimage.gaussian_filter(images[count:].astype(np.float32), (0, 0, 0.45, 0.45))
    real, fake = images[:count], np.rint(blurred).astype(np.uint8)
    print(f"scatter of swd from seed to seed, {count} + {count} portraits, {options.seeds} seeds")
    for size in level_sizes(resolution):
        mean, iid, orthonormal = variances(real, fake, size, seeds=options.seeds)
        print(
            f"level {size:>4}: iid {100 * iid**0.5 / mean:.2f} %, orthonormal "
            f"{100 * orthonormal**0.5 / mean:.2f} %, {iid / orthonormal:.1f} times less variance"
        )


if __name__ == "__main__":
    main()
