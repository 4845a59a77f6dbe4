"""How far a value scatters: disjoint halves of the reals, and the same metric with other seeds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pgbench.metrics.registry import MetricResult

_HALVES = 8  # what the random stream is for

Indices = NDArray[np.intp]


def disjoint_halves(num_images: int, at_most: int, *, seed: int) -> tuple[Indices, Indices]:
    """Two disjoint random choices from `num_images` images, of `at_most` each or half of them.

    A metric between the two is its noise floor: what it would say of perfect fakes.
    """
    size = min(at_most, num_images // 2)
    order = np.random.default_rng((seed, _HALVES)).permutation(num_images)
    return order[:size], order[size : 2 * size]


def repeated(
    measure: Callable[[int, int], MetricResult], *, seed: int, repeats: int
) -> MetricResult:
    """The mean of a metric over successive seeds.

    Parameters
    ----------
    measure : callable
        Seed and number of the repeat, from 0, to the result.
    seed : int
        The first seed.
    repeats : int
        At least 1; a single one is returned as it is.

    Returns
    -------
    MetricResult
        `protocol["repeats"]` is their number. Repeats average out what the seed chooses, which is
        what they scatter by, and nothing else: with R repeats the squared standard error is the
        mean of theirs less (1 - 1/R) of their variance, though not less than variance / R.
    """
    results = [measure(seed + i, i) for i in range(repeats)]
    first = results[0]
    if repeats == 1:
        return first
    keys = first.values
    floor = None
    if first.noise_floor is not None:
        floor = {key: _mean([(r.noise_floor or {})[key] for r in results]) for key in keys}
    return replace(
        first,
        values={key: _mean([r.values[key] for r in results]) for key in keys},
        stderr={key: _stderr(results, key) for key in keys},
        protocol=first.protocol | {"repeats": repeats},
        noise_floor=floor,
        wall_sec=round(sum(r.wall_sec for r in results), 3),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _stderr(results: list[MetricResult], key: str) -> float | None:
    errors = [error for r in results if (error := r.stderr[key]) is not None]
    if len(errors) < len(results):
        return None
    between = float(np.var([r.values[key] for r in results], ddof=1))
    mean_square = float(np.mean(np.square(errors)))
    of_mean = between / len(results)
    return math.sqrt(max(mean_square - between + of_mean, of_mean))
