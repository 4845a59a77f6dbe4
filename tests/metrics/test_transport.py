"""Distances along directions in closed form and against scipy; directions; influences."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from pgbench.metrics.images import as_image_set
from pgbench.metrics.patches import Patches, cut_patches
from pgbench.metrics.transport import image_influences, sliced_distances, unit_directions


def patches_of(values):
    """Patches that are normalised already, 128 of each image."""
    values = np.asarray(values, np.float32)
    tiles = np.ascontiguousarray(values.reshape(-1, 64, 147).swapaxes(1, 2))
    zeros = np.zeros((len(values) // 128, 3))
    return Patches(tiles, np.zeros(3), np.ones(3), zeros, zeros)


def gaussian(seed, n=1280):
    return np.random.default_rng(seed).standard_normal((n, 147)).astype(np.float32)


@settings(deadline=None, max_examples=10)
@given(n=st.integers(1, 4), m=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
def test_agrees_with_scipy_for_any_counts(n, m, seed):
    a, b = gaussian(seed, 128 * n), 1.3 * gaussian(seed + 1, 128 * m) + 0.1
    directions = unit_directions(0, 16)[:13]
    expected = [wasserstein_distance(a @ d, b @ d) for d in directions.astype(np.float64)]
    found = sliced_distances(patches_of(a), patches_of(b), directions)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("counts", [(1280, 1280), (1280, 1024)])
def test_torch_sorts_to_the_same_distances(counts):
    a, b = patches_of(gaussian(1, counts[0])), patches_of(gaussian(2, counts[1]) + 0.3)
    directions = unit_directions(0, 16)
    found = sliced_distances(a, b, directions, device="cpu:0")
    np.testing.assert_allclose(found, sliced_distances(a, b, directions), rtol=1e-5)


@pytest.mark.gpu
def test_cuda_sorts_to_the_same_distances():
    a, b = patches_of(gaussian(1)), patches_of(gaussian(2) + 0.3)
    directions = unit_directions(0, 16)
    found = sliced_distances(a, b, directions, device="cuda")
    np.testing.assert_allclose(found, sliced_distances(a, b, directions), rtol=1e-4)


def test_the_shift_of_a_gaussian_in_closed_form():
    """Each direction sees |v . d|, whose mean over the unit sphere is known."""
    a = gaussian(3, 1920)
    shift = gaussian(4, 1)[0]
    directions = unit_directions(0, 16, orthonormal=False)
    found = sliced_distances(patches_of(a), patches_of(a + shift), directions)
    np.testing.assert_allclose(found, np.abs(directions @ shift), atol=1e-5)
    log_mean = math.lgamma(147 / 2) - math.lgamma(148 / 2) - math.log(math.pi) / 2
    expected = np.linalg.norm(shift) * math.exp(log_mean)
    assert abs(found.mean() - expected) < 4 * found.std() / math.sqrt(len(found))


def test_the_scale_of_a_gaussian_in_closed_form():
    """Between a and 3a lies 2 |a . d|, in the mean 2 sqrt(2 / pi)."""
    a = gaussian(5, 102_400)
    found = sliced_distances(patches_of(a), patches_of(3 * a), unit_directions(0, 16)[:8])
    np.testing.assert_allclose(found, 2 * math.sqrt(2 / math.pi), rtol=0.02)


def test_the_order_of_patches_and_directions_does_not_count():
    a, b = gaussian(6), gaussian(7)
    directions = unit_directions(0, 32)
    rng = np.random.default_rng(8)
    expected = sliced_distances(patches_of(a), patches_of(b), directions)
    order = rng.permutation(len(directions))
    found = sliced_distances(patches_of(rng.permutation(a)), patches_of(b), directions[order])
    np.testing.assert_allclose(found, expected[order], rtol=1e-5)


@pytest.mark.parametrize("limit", [0, 2**17, 2**40])
def test_neither_blocks_nor_threads_change_a_bit(monkeypatch, limit):
    a, b = patches_of(gaussian(9)), patches_of(gaussian(10, 1024))
    directions = unit_directions(0, 16)
    expected = sliced_distances(a, b, directions)
    influences = image_influences(a, b, directions[:32])
    monkeypatch.setattr("pgbench.metrics.transport._PROJECTION_BYTES", limit)
    monkeypatch.setattr("pgbench.metrics.transport._TILES_AT_ONCE", 3)
    for num_threads in (1, 2, 5):
        found = sliced_distances(a, b, directions, num_threads=num_threads)
        np.testing.assert_array_equal(found, expected)
        again = image_influences(a, b, directions[:32], num_threads=num_threads)
        np.testing.assert_allclose(again[0], influences[0], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(again[1], influences[1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("orthonormal", [True, False])
def test_directions_have_unit_length_and_differ_by_seed_and_level(orthonormal):
    directions = unit_directions(0, 16, orthonormal=orthonormal)
    assert (directions.shape, directions.dtype) == ((512, 147), np.float32)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-6)
    for other in ((1, 16), (0, 32)):
        assert not np.array_equal(directions, unit_directions(*other, orthonormal=orthonormal))


def test_the_directions_of_a_block_are_orthogonal_and_blocks_are_not():
    directions = unit_directions(0, 16)
    for block in directions.reshape(4, 128, 147):
        np.testing.assert_allclose(block @ block.T, np.eye(128), atol=1e-6)
    assert np.abs(directions[:128] @ directions[128:256].T).max() > 0.1


def test_orthonormal_directions_are_uniform_on_the_sphere():
    """Each coordinate of each direction has mean 0, variance 1/147 and the sphere's kurtosis."""
    directions = np.concatenate([unit_directions(seed, 16) for seed in range(30)]).astype(float)
    assert np.abs(directions.mean(axis=0)).max() < 5 / math.sqrt(147 * len(directions))
    np.testing.assert_allclose((directions**2).mean(axis=0), 1 / 147, rtol=0.05)
    np.testing.assert_allclose((directions**4).mean(), 3 / (147 * 149), rtol=0.01)
    first = np.stack([unit_directions(seed, 16)[0] for seed in range(100)]).astype(float)
    assert np.abs(first.mean(axis=0)).max() < 5 / math.sqrt(147 * 100)  # no sign is preferred


def test_orthonormal_directions_scatter_less():
    """The mean of (d . v)^2 over a block of 128 of 147 varies (147 - 128) / 146 as much."""
    v = gaussian(11, 1)[0].astype(float)
    v /= np.linalg.norm(v)

    def scatter(orthonormal):
        means = [
            ((unit_directions(seed, 16, orthonormal=orthonormal) @ v) ** 2).mean()
            for seed in range(100)
        ]
        return np.var(means, ddof=1)

    ratio = scatter(True) / scatter(False)
    assert 0.6 < ratio / (19 / 146) < 1.7


def test_influences_are_what_leaving_an_image_out_does():
    """The delta method's influence is the jackknife's, to first order."""
    rng = np.random.default_rng(12)
    real = rng.integers(0, 256, (60, 3, 16, 16), np.uint8)
    fake = (rng.integers(0, 256, (60, 3, 16, 16)) ** 2 / 255).astype(np.uint8)
    fake[:20] //= 2
    directions = unit_directions(0, 16)[::16]
    cut = [cut_patches(as_image_set(x), 16, seed=0) for x in (real, fake)]
    whole = sliced_distances(*cut, directions).mean()
    _, of_fakes = image_influences(*cut, directions)
    corners_kept = [cut_patches(as_image_set(fake[:59]), 16, seed=0)]
    without = sliced_distances(cut[0], corners_kept[0], directions).mean()
    foretold = -(of_fakes[59] - of_fakes.mean()) / 59
    assert without - whole == pytest.approx(foretold, rel=0.25, abs=2e-5)


def potential_of(a, b):
    """The Kantorovich potential at each value of two samples, and its slope around it."""
    edges = np.union1d(a, b)
    shares = [np.searchsorted(np.sort(x), edges, side="right") / len(x) for x in (a, b)]
    slopes = np.sign(shares[1] - shares[0])
    heights = np.concatenate([[0], np.cumsum(slopes[:-1] * np.diff(edges))])
    at = [np.searchsorted(edges, x) for x in (a, b)]
    around = (np.concatenate([[0], slopes[:-1]]) + slopes) / 2
    return [(heights[i], around[i]) for i in at]


def test_influences_agree_with_a_plain_transcription():
    """The potential of each image, less what its shift of mean and std does, in float64."""
    rng = np.random.default_rng(15)
    images = [rng.integers(0, 256, (n, 3, 16, 16), np.uint8) for n in (30, 20)]
    images[1] = (images[1] // 2 + rng.integers(0, 128, (20, 1, 1, 1))).astype(np.uint8)
    sets = [cut_patches(as_image_set(x), 16, seed=0) for x in images]
    directions = unit_directions(0, 16)[::32]
    expected = [np.zeros(30), np.zeros(20)]
    for direction in directions.astype(np.float64):
        rows = []
        for x in sets:
            channels = x.values.reshape(-1, 3, 49).astype(np.float64)
            normalised = (channels - x.mean[:, None]) / x.std[:, None]
            rows.append(np.einsum("ncv,cv->nc", normalised, direction.reshape(3, 49)))
        found = potential_of(*(x.sum(axis=1) for x in rows))
        for k, (x, parts, (height, slope)) in enumerate(zip(sets, rows, found, strict=True)):
            by_mean = direction.reshape(3, 49).sum(axis=1) * slope.mean()
            by_std = (parts * slope[:, None]).mean(axis=0)
            influence = height.reshape(-1, 128).mean(axis=1) - x.shifts @ by_mean
            influence -= x.scales @ by_std
            expected[k] += (influence - influence.mean()) * (-1) ** k / len(directions)
    for found, wanted in zip(image_influences(*sets, directions), expected, strict=True):
        np.testing.assert_allclose(found - found.mean(), wanted, atol=1e-2 * wanted.std())


def test_the_mean_influence_of_one_set_less_the_other_is_the_distance():
    a, b = patches_of(gaussian(13, 12800)), patches_of(1.4 * gaussian(14, 6400) + 0.2)
    directions = unit_directions(0, 16)[::32]
    of_a, of_b = image_influences(a, b, directions)
    assert (of_a.shape, of_b.shape) == ((100,), (50,))
    expected = sliced_distances(a, b, directions).mean()
    assert of_a.mean() + of_b.mean() == pytest.approx(expected, rel=0.01)
