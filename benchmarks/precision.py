"""How far each step is from plain float64 on the same images: python benchmarks/precision.py

Images and plain versions are those of benchmarks/conformance.py. A step is compared with all that
went before it, and shown is the largest deviation at any level and of any set. Relative means: over
the largest magnitude that occurs.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from conformance import (
    SEED,
    Frechet,
    Msssim,
    Pair,
    Pixels,
    Swd,
    fake_outputs,
    half_size,
    real_images,
    synthetic_features,
    to_pixels,
)
from numpy.typing import ArrayLike, NDArray

from pgbench.metrics import msssim, swd
from pgbench.metrics.frechet import frechet_distance, statistics
from pgbench.metrics.images import as_image_set
from pgbench.metrics.patches import cut_patches
from pgbench.metrics.pyramid import laplacian_level
from pgbench.metrics.similarity import halved, local_means, pair_similarities
from pgbench.metrics.transport import sliced_distances, unit_directions

RESOLUTION = 64


class Compared(NamedTuple):
    """What pgbench found at a step, computed with `arithmetic`, and the plain version of it."""

    step: str
    arithmetic: str
    found: ArrayLike
    plain: ArrayLike


def swd_steps(reals: Pixels, fakes: Pixels) -> Iterator[Compared]:
    """The steps of SWD at each level."""
    for levels in zip(Swd().pyramid(reals), Swd().pyramid(fakes), strict=True):
        size = levels[0].shape[2]
        sets = [cut_patches(as_image_set(images), size, seed=SEED) for images in (reals, fakes)]
        directions = unit_directions(SEED, size)
        projected = [x @ directions.T.astype(np.float64) for x in Swd().descriptors(*levels)]
        for images, level, found, plain in zip(
            (reals, fakes), levels, sets, projected, strict=True
        ):
            yield Compared(
                "SWD: pyramid level",
                "float32",
                laplacian_level(images, size),
                level,
            )
            patches = Swd().patches(level)
            moments = patches.mean(axis=(0, 2)), patches.std(axis=(0, 2))
            yield Compared(
                "SWD: moments", "float64 sums of float32", (found.mean, found.std), moments
            )
            scaled, offset = found.folded(directions)
            rows = found.values @ scaled.T - offset.astype(np.float32)
            yield Compared("SWD: projections", "float32", rows, plain)
        a, b = (np.sort(x, axis=0) for x in projected)
        yield Compared(
            "SWD: area between the projections",
            "float32, sums float64",
            sliced_distances(sets[0], sets[1], directions, num_threads=1),
            np.abs(a - b).mean(axis=0),
        )


def msssim_steps(images: Pixels) -> Iterator[Compared]:
    """The steps of MS-SSIM; the first two at each scale."""
    x = images.astype(np.float64)
    while x.shape[2] > RESOLUTION / 16:
        yield Compared("MS-SSIM: local means", "float64", local_means(x), Msssim().local_mean(x))
        yield Compared("MS-SSIM: 2x2 means", "float64", halved(x), half_size(x))
        x = half_size(x)
    pairs = pair_similarities(images[0::2], images[1::2])
    yield Compared("MS-SSIM: each pair", "float64", pairs, Msssim().similarities(images))


def frechet_steps(features: Pair) -> Iterator[Compared]:
    """The steps of the Fréchet distance, of float32 features as networks give them."""
    real, fake = (x.astype(np.float32) for x in features)
    for x in (real, fake):
        found, plain = statistics(x), x.astype(np.float64)
        yield Compared("Fréchet: mean", "float64", found.mean, plain.mean(axis=0))
        yield Compared("Fréchet: covariance", "float64", found.cov, np.cov(plain, rowvar=False))
    distance = frechet_distance(statistics(real), statistics(fake))
    exact = Frechet()(real.astype(np.float64), fake.astype(np.float64))
    yield Compared("Fréchet: distance", "float64", distance, exact)


def all_steps(count: int) -> Iterator[Compared]:
    """Of all metrics, on so many images of each set."""
    reals, outputs = real_images(count, RESOLUTION), fake_outputs(count, RESOLUTION)
    fakes = to_pixels(outputs)
    yield from swd_steps(reals, fakes)
    found, plain = swd(reals, fakes, seed=SEED, num_threads=1), Swd()(reals, outputs)
    for key, value in plain.items():
        yield Compared("SWD: value", "float32, sums float64", found.values[key], value)
    yield from msssim_steps(fakes)
    similarity = msssim(fakes, num_threads=1).values["msssim"]
    yield Compared("MS-SSIM: value", "float64", similarity, Msssim()(fakes)["msssim"])
    for num_images in (512, 64):  # more and fewer than features
        yield from frechet_steps(synthetic_features(num_images))


def table(steps: Iterable[Compared]) -> str:
    """Markdown, one row for each kind of step."""
    largest: dict[tuple[str, str], NDArray[np.float64]] = {}
    for step, arithmetic, found, plain in steps:
        deviation = float(np.abs(np.subtract(found, plain)).max())
        both = np.array([deviation, deviation / float(np.abs(plain).max())])
        largest[step, arithmetic] = np.maximum(both, largest.get((step, arithmetic), 0))
    rows = [
        f"| {step} | {arithmetic} | {absolute:.1e} | {relative:.1e} |"
        for (step, arithmetic), (absolute, relative) in largest.items()
    ]
    head = ["| step | computed in | largest deviation | relative |", "| --- | --- | ---: | ---: |"]
    return "\n".join(head + rows)


def main() -> None:
    """Print the table."""
    print(table(all_steps(128)))


if __name__ == "__main__":
    main()
