"""The kernel distance against a plain transcription, unbiased, seeded, with its standard error."""

import numpy as np
import pytest

from pgbench.metrics.kernel import kernel_distance


def sample(seed, n, size=6, shift=0.0, dtype=np.float32):
    return (np.random.default_rng(seed).standard_normal((n, size)) + shift).astype(dtype)


def transcribed(x, y):
    """Every pair by itself."""
    d, n = x.shape[1], len(x)
    x, y = x.astype(np.float64), y.astype(np.float64)

    def kernel(a, b):
        return (a @ b / d + 1) ** 3

    within = sum(kernel(z[i], z[j]) for z in (x, y) for i in range(n) for j in range(n) if i != j)
    between = sum(kernel(a, b) for a in x for b in y)
    return within / (n * (n - 1)) - 2 * between / n**2


def test_one_subset_of_everything_agrees_with_a_plain_transcription():
    x, y = sample(1, 23), sample(2, 23, shift=0.5)
    found = kernel_distance(x, y, seed=0, subsets=1, subset_size=23)
    assert found.mean == pytest.approx(transcribed(x, y), rel=1e-12)
    assert (found.std, found.stderr) == (0, None)


def test_subsets_are_drawn_without_replacement_from_their_own_streams():
    x, y = sample(3, 40), sample(4, 30, shift=0.2)
    found = kernel_distance(x, y, seed=7, subsets=4, subset_size=10)
    drawn = [
        transcribed(
            x[np.random.default_rng((7, 5, i)).choice(40, 10, replace=False)],
            y[np.random.default_rng((7, 6, i)).choice(30, 10, replace=False)],
        )
        for i in range(4)
    ]
    assert found.mean == pytest.approx(np.mean(drawn), rel=1e-12)
    assert found.std == pytest.approx(np.std(drawn), rel=1e-12)
    expected = np.std(drawn) * (10 / (30 - 10) + 1 / 4) ** 0.5
    assert found.stderr == pytest.approx(expected, rel=1e-12)


def test_points_in_closed_form():
    """All reals at x, all fakes at y: k(x, x) + k(y, y) - 2 k(x, y)."""
    x, y = np.tile([1.0, 0.0], (5, 1)), np.tile([0.0, 2.0], (5, 1))
    found = kernel_distance(x, y, seed=0, subsets=2, subset_size=4)
    assert found.mean == pytest.approx(1.5**3 + 3**3 - 2, rel=1e-12)
    assert found.std == pytest.approx(0, abs=1e-12)


def test_unbiased_between_samples_of_one_distribution():
    means = [
        kernel_distance(
            sample(2 * i, 60), sample(2 * i + 1, 60), seed=i, subsets=4, subset_size=30
        ).mean
        for i in range(300)
    ]
    assert abs(np.mean(means)) < 4 * np.std(means) / 300**0.5
    assert min(means) < 0


def test_the_mean_is_that_of_the_distributions():
    """Under the kernel, the features' means, second and third moments: here a shift of 1-d data.

    E k for normal x, y with means a, b and variance 1, with D = 1, is that of (xy + 1)³.
    """
    a, b = 0.0, 0.8

    def moments(m):
        return np.array([1, m, m * m + 1, m**3 + 3 * m])

    expected = np.sum([1, 3, 3, 1] * (moments(a) - moments(b)) ** 2)
    found = [
        kernel_distance(
            sample(2 * i, 50, 1, a), sample(2 * i + 1, 50, 1, b), seed=0, subsets=1, subset_size=50
        ).mean
        for i in range(400)
    ]
    assert abs(np.mean(found) - expected) < 4 * np.std(found) / 20


@pytest.mark.parametrize(
    ("n", "subsets", "shift", "low", "high"),
    [
        (1000, 80, 0.5, 0.85, 1.15),
        (200, 80, 0.5, 0.85, 1.15),
        (130, 80, 0.5, 0.85, 1.15),
        (200, 20, 0.5, 0.85, 1.15),
        (200, 80, 0.0, 1.3, 2.3),  # equal distributions: too large, as documented
    ],
)
def test_the_standard_error_is_that_of_repeated_samples(n, subsets, shift, low, high):
    found = [
        kernel_distance(
            sample(2 * i, n),
            sample(2 * i + 1, n, shift=shift),
            seed=i,
            subsets=subsets,
            subset_size=50,
        )
        for i in range(200)
    ]
    ratio = np.mean([k.stderr for k in found]) / np.std([k.mean for k in found], ddof=1)
    assert low < ratio < high


def test_the_seed_alone_decides():
    x, y = sample(5, 50), sample(6, 50)
    first = kernel_distance(x, y, seed=1, subsets=3, subset_size=20)
    assert kernel_distance(x, y, seed=1, subsets=3, subset_size=20) == first
    assert kernel_distance(x, y, seed=2, subsets=3, subset_size=20) != first
    np.testing.assert_array_equal(x, sample(5, 50))


@pytest.mark.parametrize(
    ("n", "m", "subsets", "factor"),
    [
        (100, 100, 50, 20 / 80 + 1 / 50),
        (100, 40, 50, 20 / 20 + 1 / 50),
        (40, 100, 2, 20 / 20 + 1 / 2),
        (21, 100, 50, 20 + 1 / 50),
        (20, 100, 50, None),
        (100, 20, 50, None),
        (100, 90, 1, None),
    ],
)
def test_the_standard_error_needs_two_subsets_that_can_differ(n, m, subsets, factor):
    found = kernel_distance(sample(7, n), sample(8, m), seed=0, subsets=subsets, subset_size=20)
    expected = factor and pytest.approx(found.std * factor**0.5, rel=1e-12)
    assert found.stderr == expected


def test_progress_rises_to_1():
    seen = []
    kernel_distance(
        sample(9, 9), sample(9, 9), seed=0, subsets=4, subset_size=5, progress=seen.append
    )
    assert seen == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("real", "fake", "options", "message"),
    [
        ((9, 3), (20, 3), {}, "Subsets of 10 images do not fit into 9 reals and 20 fakes"),
        ((20, 3), (9, 3), {}, "Subsets of 10 images do not fit into 20 reals and 9 fakes"),
        ((20, 3), (20, 4), {}, "have 3 features an image, the fakes 4"),
        ((20, 3), (20, 3), {"subset_size": 1}, "at least 2 images, not 100 of 1"),
        ((20, 3), (20, 3), {"subsets": 0}, "not 0 of 10"),
        ((20, 3), (20, 3), {"seed": -2}, "whole number from 0, not -2"),
        ((0, 3), (20, 3), {}, "at least 1 images, not 0"),
        ((20, 3, 1), (20, 3), {}, r"floats of shape \(N, D\)"),
    ],
)
def test_what_cannot_be_measured_is_refused(real, fake, options, message):
    with pytest.raises(ValueError, match=message):
        kernel_distance(np.zeros(real), np.zeros(fake), **{"seed": 0, "subset_size": 10, **options})


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="image 0 are not finite"):
        kernel_distance(np.zeros((9, 2)), np.full((9, 2), np.inf), seed=0, subset_size=3)
