"""Where patches lie, what they hold and what goes with them."""

import numpy as np
import pytest

from pgbench.metrics.images import as_image_set
from pgbench.metrics.patches import cut_patches, patch_corners
from pgbench.metrics.pyramid import laplacian_level


def random_images(seed, n=9, size=32):
    return np.random.default_rng(seed).integers(0, 256, (n, 3, size, size), np.uint8)


def test_positions_depend_on_the_image_index_alone_and_cover_the_level():
    many = patch_corners(3, 32, 50)
    np.testing.assert_array_equal(patch_corners(3, 32, 20), many[:20])
    assert (many.min(), many.max()) == (0, 25)
    assert not np.array_equal(patch_corners(4, 32, 50), many)
    assert many.shape == (50, 128, 2)


@pytest.mark.parametrize("size", [32, 16])
def test_patches_are_what_lies_at_the_positions(size):
    images = random_images(0)
    found = cut_patches(as_image_set(images), size, seed=5)
    levels, corners = laplacian_level(images, size), patch_corners(5, size, len(images))
    expected = [
        level[:, y : y + 7, x : x + 7].ravel()
        for level, places in zip(levels, corners, strict=True)
        for y, x in places
    ]
    np.testing.assert_array_equal(found.values, expected)


def test_mean_and_deviation_are_those_of_each_channel():
    found = cut_patches(as_image_set(random_images(1)), 16, seed=0)
    channels = found.values.reshape(-1, 3, 49).astype(np.float64)
    np.testing.assert_allclose(found.mean, channels.mean(axis=(0, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.std, channels.std(axis=(0, 2)), rtol=1e-10)


def test_folded_directions_project_the_normalised_patches():
    found = cut_patches(as_image_set(random_images(2)), 16, seed=0)
    directions = np.random.default_rng(3).standard_normal((4, 147)).astype(np.float32)
    channels = found.values.reshape(-1, 3, 49).astype(np.float64)
    normalised = (channels - found.mean[:, None]) / found.std[:, None]
    scaled, offset = found.folded(directions)
    np.testing.assert_allclose(
        found.values @ scaled.T - offset, normalised.reshape(-1, 147) @ directions.T, atol=1e-4
    )


def test_leaving_an_image_out_moves_mean_and_deviation_as_foretold():
    images = random_images(4, 200)
    whole = cut_patches(as_image_set(images), 16, seed=0)
    without = cut_patches(as_image_set(images[:-1]), 16, seed=0)
    moved = (without.mean - whole.mean) / whole.std
    np.testing.assert_allclose(moved, -whole.shifts[-1] / 199, atol=1e-5)
    stretched = without.std / whole.std - 1
    np.testing.assert_allclose(stretched, -whole.scales[-1] / 199, atol=1e-5)


def test_a_channel_without_variation_is_centred_and_left_unscaled():
    images = random_images(5)
    images[:, 1] = 77
    found = cut_patches(as_image_set(images), 16, seed=0)
    assert (found.mean[1], found.std[1]) == (77, 1)
    assert np.all(found.shifts[:, 1] == 0)


@pytest.mark.parametrize("mirror", [False, True])
def test_neither_batches_nor_threads_change_a_bit(mirror):
    images = as_image_set(random_images(6, 23))
    expected = cut_patches(images, 32, seed=1, mirror=mirror)
    for batch_size, num_threads in ((1, 1), (5, 3), (100, 2)):
        found = cut_patches(
            images, 32, seed=1, mirror=mirror, batch_size=batch_size, num_threads=num_threads
        )
        np.testing.assert_array_equal(found.values, expected.values)
        np.testing.assert_array_equal(found.mean, expected.mean)
        np.testing.assert_array_equal(found.scales, expected.scales)


def test_mirrored_images_are_left_as_they_are_or_flipped():
    images = random_images(7, 40, 16)
    plain = cut_patches(as_image_set(images), 16, seed=2)
    flipped = cut_patches(as_image_set(images[..., ::-1].copy()), 16, seed=2)
    mirrored = cut_patches(as_image_set(images), 16, seed=2, mirror=True)
    per_image = [x.values.reshape(40, -1) for x in (plain, flipped, mirrored)]
    kept = [np.array_equal(a, c) for a, c in zip(per_image[0], per_image[2], strict=True)]
    turned = [np.array_equal(b, c) for b, c in zip(per_image[1], per_image[2], strict=True)]
    assert all(a != b for a, b in zip(kept, turned, strict=True))
    assert 8 < sum(turned) < 32
