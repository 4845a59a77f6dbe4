"""Precision, recall, density and coverage: are the fakes real, do they span all of the reals?

The region of a set is the union of the balls around its features that reach to the k-th nearest
other feature of the set. Precision is the share of the fakes in the reals' region, recall that of
the reals in the fakes' (Kynkäänniemi et al. 2019, k = 3); density is the mean number of the reals'
balls that a fake is in, divided by k, and coverage the share of the reals' balls with a fake in
them (Naeem et al. 2020, k = 5).

Balls are closed, and distances float64: squared ones are compared with a tolerance of 1e-12 of the
squared lengths of the two (centred) features, far above rounding and far below any real difference,
so that equal distances, which copies of images make, count as inside whatever the rounding.
"""

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgbench.metrics.frechet import check_features

REGION_NEIGHBOURS = 3  # precision and recall
BALL_NEIGHBOURS = 5  # density and coverage

_TOLERANCE = 1e-12
_BLOCK_ROWS = 2048
_BLOCK_VALUES = 2**22  # features of a block: 32 MiB

Features = NDArray[np.floating[Any]]  # (N, D)
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]
Progress = Callable[[float], None]  # called with the fraction done, in [0, 1]


def precision_recall_density_coverage(
    real: Features, fake: Features, *, progress: Progress | None = None
) -> tuple[dict[str, float], dict[str, float]]:
    """Precision, recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Parameters
    ----------
    real : (N, D), floating
    fake : (M, D), floating
        At least 6 images each. Memory stays bounded: distances are taken in blocks.
    progress : callable, optional
        Called with the fraction done.

    Returns
    -------
    values, stderrs : dict of str to float
        Keys `precision`, `recall`, `coverage` in [0, 1] and `density`, >= 0. The standard errors
        take the set that makes the balls as given: binomial over the images that are counted
        (the fakes for precision, the reals for recall, the reals' balls for coverage), and for
        density that of a mean over the fakes.

    Raises
    ------
    ValueError
        Fewer than 6 images in a set, D differs, or a feature is not finite.
    """
    for features in (real, fake):
        check_features(features, least=BALL_NEIGHBOURS + 1, what="Precision and recall")
    if real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"The reals have {real.shape[1]} features an image, the fakes {fake.shape[1]}; take "
            "both from the same network."
        )
    centre = real.mean(axis=0, dtype=np.float64)  # less cancellation in short vectors
    step = _counted(progress, len(real), len(fake), real.shape[1])
    counts = _memberships(
        real,
        fake,
        _nearest_squared(real, centre, step),
        _nearest_squared(fake, centre, step),
        centre,
        step,
    )
    return _summary(*counts)


def _nearest_squared(x: Features, centre: Floats, step: Callable[[], None]) -> Floats:
    """Squared distances of each image to its nearest others in the set, ascending: (N, 5)."""
    nearest = np.full((len(x), BALL_NEIGHBOURS), np.inf)
    for rows in _row_blocks(len(x), x.shape[1]):
        block = x[rows] - centre
        for columns in _row_blocks(len(x), x.shape[1]):
            if columns.start < rows.start:  # done as the transpose
                continue
            squared = _squared_distances(block, x[columns] - centre)
            if columns == rows:
                np.fill_diagonal(squared, np.inf)
            else:
                nearest[columns] = _smallest(nearest[columns], squared.T)
            nearest[rows] = _smallest(nearest[rows], squared)
            step()
    return np.sort(nearest, axis=1)


def _smallest(held: Floats, found: Floats) -> Floats:
    """The smallest of each row of both, as many as are held."""
    k = held.shape[1]
    smallest: Floats = np.partition(np.hstack([held, found]), k - 1, axis=1)[:, :k]
    return smallest


def _memberships(
    real: Features,
    fake: Features,
    nearest_real: Floats,
    nearest_fake: Floats,
    centre: Floats,
    step: Callable[[], None],
) -> tuple[Flags, Flags, Counts, Flags]:
    """Is a fake in the reals' region (M,), a real in the fakes' (N,); how many balls hold a fake
    (M,); does a ball hold one (N,).
    """
    precise, recalled = np.zeros(len(fake), bool), np.zeros(len(real), bool)
    held, covered = np.zeros(len(fake), np.int64), np.zeros(len(real), bool)
    for rows in _row_blocks(len(real), real.shape[1]):
        reals = real[rows] - centre
        for columns in _row_blocks(len(fake), real.shape[1]):
            squared = _squared_distances(reals, fake[columns] - centre, shrink=_TOLERANCE)
            in_ball = squared <= nearest_real[rows, -1:]
            held[columns] += in_ball.sum(axis=0)
            covered[rows] |= in_ball.any(axis=1)
            region = REGION_NEIGHBOURS - 1
            precise[columns] |= (squared <= nearest_real[rows, region, None]).any(axis=0)
            recalled[rows] |= (squared <= nearest_fake[columns, region]).any(axis=1)
            step()
    return precise, recalled, held, covered


def _squared_distances(x: Floats, y: Floats, *, shrink: float = 0.0) -> Floats:
    """Squared distances (n, m), less `shrink` times the sum of both squared lengths."""
    squared: Floats = x @ y.T
    squared *= -2
    squared += (1 - shrink) * np.einsum("nd,nd->n", x, x)[:, None]
    squared += (1 - shrink) * np.einsum("nd,nd->n", y, y)
    return squared


def _summary(
    precise: Flags, recalled: Flags, held: Counts, covered: Flags
) -> tuple[dict[str, float], dict[str, float]]:
    shares = {"precision": precise, "recall": recalled, "coverage": covered}
    density = held / BALL_NEIGHBOURS
    values = {key: float(found.mean()) for key, found in shares.items()}
    errors = {
        key: float(np.sqrt(values[key] * (1 - values[key]) / len(found)))
        for key, found in shares.items()
    }
    order = ("precision", "recall", "density", "coverage")
    values["density"] = float(density.mean())
    errors["density"] = float(density.std(ddof=1)) / len(density) ** 0.5
    return {key: values[key] for key in order}, {key: errors[key] for key in order}


def _row_blocks(num_images: int, num_features: int) -> list[slice]:
    rows = max(1, min(_BLOCK_ROWS, _BLOCK_VALUES // num_features))
    return [slice(i, min(i + rows, num_images)) for i in range(0, num_images, rows)]


def _counted(
    progress: Progress | None, num_real: int, num_fake: int, num_features: int
) -> Callable[[], None]:
    """What to call after each pair of blocks."""
    n, m = (len(_row_blocks(size, num_features)) for size in (num_real, num_fake))
    total = n * (n + 1) // 2 + m * (m + 1) // 2 + n * m
    steps = count(1)

    def step() -> None:
        if progress is not None:
            progress(next(steps) / total)

    return step
