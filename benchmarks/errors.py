"""Are the standard errors of SWD right? python benchmarks/errors.py

Fresh portraits, with a fresh seed for patches and directions, are compared again and again with
others that were changed; the scatter of the values is set beside the error that each stated.
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pgbench import portraits
from pgbench.metrics import swd

Pixels = NDArray[np.uint8]

CHANGES: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "unchanged": lambda x: x,
    "blurred": lambda x: ndimage.gaussian_filter(x, (0, 0, 0.45, 0.45)),
    "gamma 2": lambda x: x**2 / 255,
}


def main() -> None:
    """Print mean, scatter and stated error for each change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-images", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--resolution", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=16)
    options = parser.parse_args()
    total = 2 * options.repeats * max(options.num_images)
    made = np.stack([portraits.render(1, i, resolution=options.resolution) for i in range(total)])
    for count in options.num_images:
        for name, change in CHANGES.items():
            found = []
            for seed in range(options.repeats):
                real, fake = made[2 * seed * count :][: 2 * count].reshape(
                    2, count, *made.shape[1:]
                )
                changed = np.rint(change(fake.astype(np.float32))).astype(np.uint8)
                found.append(swd(real, changed, seed=seed))
            scatter = np.std([result.values["avg"] for result in found], ddof=1)
            stated = np.mean([result.stderr["avg"] ** 2 for result in found]) ** 0.5
            mean = np.mean([result.values["avg"] for result in found])
            print(
                f"{count:>5} + {count} portraits, {name}: avg {mean:.1f}, scatter {scatter:.2f}, "
                f"stated {stated:.2f}, {stated / scatter:.2f} times the scatter"
            )


if __name__ == "__main__":
    main()
