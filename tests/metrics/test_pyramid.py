"""The Laplacian pyramid against scipy and its own inverse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pgbench.metrics.pyramid import down, laplacian_level, level_sizes, up

FILTER = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def scipy_down(images):
    return ndimage.convolve(images, FILTER[None, None], mode="mirror")[:, :, ::2, ::2]


def scipy_up(images):
    n, c, h, w = images.shape
    sparse = np.zeros((n, c, 2 * h, 2 * w))
    sparse[:, :, ::2, ::2] = images
    return ndimage.convolve(sparse, 4 * FILTER[None, None], mode="mirror")


def random_images(seed, n, size):
    return np.random.default_rng(seed).integers(0, 256, (n, 3, size, size), np.uint8)


@pytest.mark.parametrize(
    ("resolution", "sizes"), [(16, (16,)), (32, (32, 16)), (256, (256, 128, 64, 32, 16))]
)
def test_levels_halve_down_to_16(resolution, sizes):
    assert level_sizes(resolution) == sizes


@pytest.mark.parametrize("resolution", [-16, 0, 8, 17, 48, 1023])
def test_other_resolutions_are_refused(resolution):
    with pytest.raises(ValueError, match=f"power of two from 16 as resolution, not {resolution}"):
        level_sizes(resolution)


def test_a_missing_level_is_refused():
    with pytest.raises(ValueError, match="32 pixels have no pyramid level 64"):
        laplacian_level(random_images(0, 1, 32), 64)


@settings(deadline=None)  # the first call compiles
@given(
    n=st.integers(1, 3), h=st.integers(2, 9), w=st.integers(2, 9), seed=st.integers(0, 2**32 - 1)
)
def test_down_and_up_agree_with_scipy_for_any_shape(n, h, w, seed):
    images = np.random.default_rng(seed).uniform(0, 255, (n, 3, 2 * h, 2 * w))
    small = down(images.astype(np.float32))
    large = up(images.astype(np.float32))
    assert small.shape == (n, 3, h, w)
    assert small.dtype == large.dtype == np.float32
    np.testing.assert_allclose(small, scipy_down(images), atol=1e-4)
    np.testing.assert_allclose(large, scipy_up(images), atol=1e-4)


def test_every_level_agrees_with_scipy():
    images = random_images(1, 2, 128)
    lowpass = images.astype(np.float64)
    for size in (128, 64, 32):
        smaller = scipy_down(lowpass)
        level = laplacian_level(images, size)
        np.testing.assert_allclose(level, lowpass - scipy_up(smaller), atol=1e-4)
        lowpass = smaller
    np.testing.assert_allclose(laplacian_level(images, 16), lowpass, atol=1e-4)


def test_the_finest_level_is_exact():
    images = random_images(2, 2, 32)
    expected = images - scipy_up(scipy_down(images.astype(np.float64)))
    np.testing.assert_array_equal(laplacian_level(images, 32), expected)


@pytest.mark.parametrize("resolution", [16, 32, 128])
def test_the_levels_reconstruct_the_image(resolution):
    images = random_images(3, 2, resolution)
    *finer, rebuilt = (laplacian_level(images, size) for size in level_sizes(resolution))
    for level in reversed(finer):
        rebuilt = up(rebuilt) + level
    np.testing.assert_allclose(rebuilt, images, atol=1e-4)


def test_a_constant_image_has_only_a_lowpass():
    images = np.full((1, 3, 64, 64), 200, np.uint8)
    assert np.all(laplacian_level(images, 64) == 0)
    assert np.all(laplacian_level(images, 32) == 0)
    assert np.all(laplacian_level(images, 16) == 200)
