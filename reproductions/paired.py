"""What seeds say about an effect: its interval, the verdict, and how many seeds would settle it.

An effect is a number per seed, such as row b's value minus row a's. Both rows of a seed are
measured on the same reals by the same random numbers, so seeds are paired.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtri, stdtrit

Side = Literal["below", "above"]
Verdict = Literal["reproduced", "not reproduced", "inconclusive", "not run"]
LEVEL = 0.95
MOST_SEEDS = 100  # beyond that no number is named


@dataclass(frozen=True)
class Estimate:
    """The mean effect over `count` seeds and its 95 % interval, NaN for fewer than two."""

    count: int
    mean: float
    low: float
    high: float


def estimate(effects: Sequence[float], *, common: float = 0.0) -> Estimate:
    """Mean and interval; `common` is the variance of an error that all effects share."""
    values = np.asarray(effects, dtype=np.float64)
    if not len(values):
        return Estimate(0, math.nan, math.nan, math.nan)
    mean, half = float(values.mean()), math.nan
    if len(values) > 1:
        half = half_width(float(values.std(ddof=1)), len(values), common=common)
    return Estimate(len(values), mean, mean - half, mean + half)


def half_width(std: float, count: int, *, common: float = 0.0) -> float:
    """Half of the 95 % interval of a mean of `count` >= 2 effects with scatter `std` (ddof 1).

    Student's t for what scatters, a normal one for what they share, added in quadrature: an
    error that all seeds share never makes the interval shorter than Student's t alone.
    """
    student = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * std / math.sqrt(count)
    return math.hypot(student, shared_half_width(common))


def shared_half_width(common: float) -> float:
    """The part of `half_width` that no number of seeds makes shorter."""
    return float(ndtri((1 + LEVEL) / 2)) * math.sqrt(common)


def verdict(found: Estimate, side: Side) -> Verdict:
    """ "reproduced" where the interval lies wholly on `side` of 0; never from one seed."""
    wholly = {"below": found.high < 0, "above": found.low > 0}
    other: Side = "above" if side == "below" else "below"
    if wholly[side]:
        return "reproduced"
    return "not reproduced" if wholly[other] else "inconclusive"


def more_seeds(effects: Sequence[float], *, common: float = 0.0) -> int | None:
    """How many seeds more exclude 0, should mean and scatter stay as they are; 0 if it is already.

    None for fewer than two effects, which have no scatter, for a mean of 0, and where it would
    take more than MOST_SEEDS in all.
    """
    if len(effects) < 2:
        return None
    mean, std = abs(float(np.mean(effects))), float(np.std(effects, ddof=1))
    for count in range(len(effects), MOST_SEEDS + 1):
        if half_width(std, count, common=common) < mean:
            return count - len(effects)
    return None
