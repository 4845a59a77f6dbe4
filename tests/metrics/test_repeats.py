"""Disjoint halves, and the mean over seeds with its standard error in closed form."""

import math

import numpy as np
import pytest

from pgbench.metrics.registry import MetricResult
from pgbench.metrics.repeats import disjoint_halves, repeated


def result(value, *, error=0.0, seed=0, noise_floor=None):
    return MetricResult(
        metric="swd",
        metric_version=2,
        num_images=64,
        seed=seed,
        values={"avg": value},
        stderr={"avg": error},
        protocol={"mirror": True},
        wall_sec=0.25,
        noise_floor=noise_floor,
    )


def over(values, errors):
    """What is said of repeats that gave these values and errors."""
    measured = [result(v, error=e) for v, e in zip(values, errors, strict=True)]
    return repeated(lambda _, index: measured[index], seed=0, repeats=len(measured))


class TestHalves:
    @pytest.mark.parametrize(
        ("num_images", "at_most", "size"),
        [(10, 99, 5), (10, 5, 5), (11, 99, 5), (10, 3, 3), (2, 1, 1), (1, 1, 0), (4, 0, 0)],
    )
    def test_are_disjoint_and_as_large_as_they_may_be(self, num_images, at_most, size):
        a, b = disjoint_halves(num_images, at_most, seed=0)
        assert len(a) == len(b) == size
        both = [*a, *b]
        assert len(set(both)) == 2 * size
        assert set(both) <= set(range(num_images))

    def test_of_an_even_number_are_all_of_it(self):
        assert sorted(np.concatenate(disjoint_halves(64, 64, seed=3))) == list(range(64))

    def test_depend_on_the_seed_alone(self):
        first, again, other = (disjoint_halves(64, 32, seed=seed) for seed in (1, 1, 2))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_smaller_ones_begin_as_larger_ones_do(self):
        assert np.array_equal(
            disjoint_halves(64, 8, seed=1)[0], disjoint_halves(64, 32, seed=1)[0][:8]
        )

    def test_every_image_is_as_often_in_either(self):
        """256 seeds, 32 of 64 images: 128 times, with a standard deviation of 8."""
        counts = np.zeros(64)
        for seed in range(256):
            counts[disjoint_halves(64, 32, seed=seed)[0]] += 1
        assert abs(counts - 128).max() < 5 * 8


class TestRepeated:
    def test_one_is_returned_as_it_is(self):
        only = result(3.0, error=1.0)
        assert repeated(lambda *_: only, seed=0, repeats=1) is only

    def test_seeds_follow_each_other(self):
        asked = []

        def measure(seed, index):
            asked.append((seed, index))
            return result(float(seed), seed=seed)

        found = repeated(measure, seed=5, repeats=3)
        assert asked == [(5, 0), (6, 1), (7, 2)]
        assert (found.seed, found.values) == (5, {"avg": 6.0})

    def test_everything_else_is_kept(self):
        found = over([1.0, 3.0], [1.0, 1.0])
        assert (found.metric, found.metric_version, found.num_images) == ("swd", 2, 64)
        assert found.protocol == {"mirror": True, "repeats": 2}
        assert (found.wall_sec, found.noise_floor) == (0.5, None)

    def test_the_noise_floor_is_a_mean_too(self):
        floors = [{"avg": 1.0}, {"avg": 2.0}, {"avg": 6.0}]
        found = repeated(lambda _, index: result(0.0, noise_floor=floors[index]), seed=0, repeats=3)
        assert found.noise_floor == {"avg": 3.0}


class TestError:
    @pytest.mark.parametrize(
        ("values", "errors", "variance"),
        [
            ([1.0, 3.0], [3.0, 3.0], 9 - 2 + 2 / 2),  # variance between the two: 2
            ([0.0, 3.0, 6.0], [5.0, 4.0, 7.0], 30 - 9 + 9 / 3),
            ([1.0, 3.0], [0.0, 0.0], 2 / 2),  # they scatter more than they say: not less than 2 / 2
            ([1.0, 3.0], [1.5, 0.5], 2 / 2),
            ([4.0, 4.0], [2.0, 2.0], 4),  # the seed chooses nothing: repeats are no help
        ],
    )
    def test_is_what_the_seeds_leave(self, values, errors, variance):
        found = over(values, errors)
        assert found.stderr["avg"] == pytest.approx(math.sqrt(variance), rel=1e-14)
        assert found.values["avg"] == sum(values) / len(values)

    def test_is_none_where_one_is(self):
        assert over([1.0, 3.0], [1.0, None]).stderr == {"avg": None}

    def test_covers_the_images_and_a_share_of_the_seeds(self):
        """Of variance 100 by the images and 9 by the seed, 4 repeats leave 100 + 9 / 4."""
        rng = np.random.default_rng(0)
        values = 10 * rng.normal(size=(4000, 1)) + 3 * rng.normal(size=(4000, 4))
        found = [over(list(row), [math.sqrt(109)] * 4) for row in values]
        squares = [each.stderr["avg"] ** 2 for each in found]
        assert np.mean(squares) == pytest.approx(102.25, rel=0.005)
        assert np.var([each.values["avg"] for each in found]) == pytest.approx(102.25, rel=0.1)
