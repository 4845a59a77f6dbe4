"""Distances on a line in closed form, against scipy, and for samples that are hard to bin."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from pgbench.metrics import line, line_loops

FINE = 2.0**-12  # a grid that every tested distance represents exactly


def distance(a, b):
    """Of any numbers, as float32."""
    a, b = (np.ascontiguousarray(x, np.float32) for x in (a, b))
    return line.distance(a, b, float(max(np.abs(a).max(), np.abs(b).max())))


def on_grid(rng, n, scale):
    """Values that neither float32 nor the grid rounds; many are equal where `scale` is small."""
    return np.clip(np.rint(rng.standard_t(3, n) * scale), -(2**15), 2**15) * FINE


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([0], [1], 1),
        ([0], [0], 0),
        ([-3], [4], 7),
        ([0, 1], [1, 0], 0),
        ([0, 0, 0, 4], [0, 0, 0, 0], 1),
        ([0, 1], [0, 0, 1, 1], 0),
        ([0, 1, 2], [1], 2 / 3),
        ([-(2**-126)], [2**-126], 0),
        ([0, 2**20], [2**20, 2**21], 2**20),
    ],
)
def test_few_values_in_closed_form(a, b, expected):
    assert distance(a, b) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("n", [3, 1000, 2**17])
def test_a_shift_and_a_scale_in_closed_form(n):
    a = np.arange(n) / n
    assert distance(a, a + 0.25) == pytest.approx(0.25, rel=1e-6)
    assert distance(a, 2 * a) == pytest.approx((n - 1) / n / 2, rel=1e-6)


@pytest.mark.parametrize("n", [1, 7, 1000, 100_000])
def test_the_same_values_in_another_order_have_distance_0(n):
    a = np.random.default_rng(n).standard_normal(n)
    assert distance(a, a[::-1]) == 0
    assert distance(a, np.repeat(a, 3)) == 0


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 3000),
    m=st.integers(1, 3000),
    scale=st.sampled_from([1, 30, 3000]),
    shift=st.sampled_from([0, 1, 100]),
    seed=st.integers(0, 2**32 - 1),
)
def test_exact_for_any_counts_and_ties(n, m, scale, shift, seed):
    rng = np.random.default_rng(seed)
    a, b = on_grid(rng, n, scale), on_grid(rng, m, scale) + shift * FINE
    assert distance(a, b) == pytest.approx(wasserstein_distance(a, b), rel=1e-12, abs=1e-14)
    assert distance(b, a) == pytest.approx(distance(a, b), rel=1e-12, abs=1e-14)


@settings(deadline=None, max_examples=40)
@given(
    a=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50),
    b=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50),
)
@example(a=[0.0], b=[2.0**-129])
@example(a=[0.0], b=[2.0**-61])
def test_any_values_agree_with_scipy(a, b):
    grid = max(*map(abs, [*a, *b]), 2.0**-60) * 2.0**-28
    assert distance(a, b) == pytest.approx(wasserstein_distance(a, b), rel=1e-12, abs=grid)


@pytest.mark.parametrize("bins", [2**4, 2**9, 2**16])
@pytest.mark.parametrize(("n", "m"), [(5000, 5000), (5000, 700)])
def test_the_number_of_bins_does_not_count(monkeypatch, bins, n, m):
    rng = np.random.default_rng(1)
    a, b = on_grid(rng, n, 500), on_grid(rng, m, 520)
    monkeypatch.setattr(line, "_FEWEST_BINS", bins)
    monkeypatch.setattr(line, "_MOST_BINS", bins)
    assert distance(a, b) == pytest.approx(wasserstein_distance(a, b), rel=1e-12)


def test_a_value_far_outside_does_not_hurt():
    """All others share a bin then."""
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((2, 4000))
    a[0] = 2.0**16
    expected = wasserstein_distance(a.astype(np.float32), b.astype(np.float32))
    assert distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_more_values_than_are_counted_at_a_time():
    a = np.zeros(2**22 + 1000)
    a[-1000:] = 1
    assert distance(a, 1 - a) == pytest.approx(1 - 2000 / len(a), rel=1e-12)
    assert distance(a, [0]) == pytest.approx(1000 / len(a), rel=1e-12)


@pytest.mark.parametrize("n", [0, 1, 2, 5000])
def test_keys_in_order(n):
    keys = np.random.default_rng(n).integers(-(2**30), 2**30, n).astype(np.int32)
    keys[n // 2 :] = keys[: n - n // 2]  # each twice
    found = line_loops.in_order(keys.copy(), np.empty_like(keys))
    np.testing.assert_array_equal(found, np.sort(keys))


def test_the_potential_of_two_points():
    """With all of `a` at -1 and all of `b` at 1 it falls from -1 to 1."""
    a, b = np.full(256, -1, np.float32), np.full(128, 1, np.float32)
    (of_a, slope_a), (of_b, _) = line.potentials(a, b, 1.0, images=(2, 1))
    assert of_a[0] == of_a[1]
    assert of_a[0] - of_b[0] == pytest.approx(2, abs=1e-3)
    np.testing.assert_array_equal(a, slope_a)
    assert slope_a == -1


def test_the_potential_integrates_to_the_distance():
    rng = np.random.default_rng(3)
    a = rng.standard_normal(128 * 300).astype(np.float32)
    b = (1.1 * rng.standard_normal(128 * 200) + 0.05).astype(np.float32)
    expected = wasserstein_distance(a, b)
    (of_a, _), (of_b, _) = line.potentials(a, b, 8.0, images=(300, 200))
    assert of_a.mean() - of_b.mean() == pytest.approx(expected, rel=1e-4)
    assert set(np.unique(a)) <= {-1, 0, 1}
