"""What seeds say: intervals beside SciPy's t tests, and sample sizes by recomputing intervals."""

import math

import numpy as np
import pytest
from scipy import stats

from pgbench.reproductions.paired import MOST_SEEDS, estimate, more_seeds, verdict


@pytest.mark.parametrize("factor", [1.0, 1.1])
def test_the_interval_is_that_of_a_paired_t_test(factor: float) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(10, 2, (2, 7))
    found = estimate(list(second - factor * first))
    expected = stats.ttest_rel(second, factor * first).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.count, found.mean) == (7, pytest.approx(np.mean(second - factor * first)))


def test_a_shared_error_is_added_in_quadrature() -> None:
    # Two effects, one degree of freedom: t = tan(pi * 0.475); their standard error is 1.
    half = math.hypot(math.tan(math.pi * 0.475), stats.norm.ppf(0.975) * 3)
    found = estimate([4.0, 6.0], common=9.0)
    assert (found.low, found.high) == pytest.approx((5 - half, 5 + half))


@pytest.mark.parametrize("common", [0.0, 0.04])
@pytest.mark.parametrize("effect", [0.5, -0.5, 2.0])
def test_so_many_seeds_more_exclude_zero_and_one_fewer_do_not(effect: float, common: float) -> None:
    def excludes_zero(count: int) -> bool:
        """The interval of `count` effects with the same mean and scatter."""
        spread = np.tile([1.0, -1.0], count)[:count]
        scaled = effect + (spread - spread.mean()) / spread.std(ddof=1)
        student = stats.ttest_1samp(scaled, 0).confidence_interval(0.95)
        half = math.hypot(student.high - effect, stats.norm.ppf(0.975) * math.sqrt(common))
        return half < abs(effect)

    effects = [effect - math.sqrt(0.5), effect + math.sqrt(0.5)]
    more = more_seeds(effects, common=common)
    assert more is not None
    assert excludes_zero(2 + more)
    assert not excludes_zero(2 + more - 1)


@pytest.mark.parametrize(
    ("effects", "common"),
    [([3.0], 0.0), ([], 0.0), ([-1.0, 1.0], 0.0), ([0.9, 1.1], 1.0), ([-0.9, 1.0], 0.0)],
)
def test_no_number_of_seeds(effects: list[float], common: float) -> None:
    """One, none, a mean of 0, a shared error as large as the effect, far too much scatter."""
    assert more_seeds(effects, common=common) is None


def test_settled_effects_need_no_more_and_the_cap_is_reached() -> None:
    assert more_seeds([1.0, 1.0, 1.01]) == 0
    threshold = stats.t.ppf(0.975, MOST_SEEDS - 1) / math.sqrt(MOST_SEEDS)
    scatter = np.array([-math.sqrt(0.5), math.sqrt(0.5)])  # a standard deviation of 1
    assert more_seeds(list(1.001 * threshold + scatter)) == MOST_SEEDS - 2
    assert more_seeds(list(0.999 * threshold + scatter)) is None


@pytest.mark.parametrize(
    ("effects", "below", "above"),
    [
        ([-2.0, -2.1, -1.9], "reproduced", "not reproduced"),
        ([2.0, 2.1, 1.9], "not reproduced", "reproduced"),
        ([-2.0, 2.1, 1.9], "inconclusive", "inconclusive"),
        ([0.0, 0.0, 0.0], "inconclusive", "inconclusive"),
        ([-99.0], "inconclusive", "inconclusive"),
        ([], "inconclusive", "inconclusive"),
    ],
)
def test_verdicts_of_intervals(effects: list[float], below: str, above: str) -> None:
    found = estimate(effects)
    assert (verdict(found, "below"), verdict(found, "above")) == (below, above)
