"""SWD in closed form, against a plain float64 transcription, and its invariances."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pgbench.metrics import swd
from pgbench.metrics.images import as_image_set
from pgbench.metrics.swd import patch_corners, sliced_distances, unit_directions

FILTER = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def random_images(seed, n=12, size=32, high=256):
    """Smooth random images, so that every pyramid level has something to show."""
    noise = np.random.default_rng(seed).uniform(0, high, (n, 3, size, size))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 1, 1))
    return (noise / 2 + smooth / 2).astype(np.uint8)


def transcribed_level(image, size):
    """One level (size, size) of one channel, straight from the definition."""
    lowpass = image.astype(np.float64)
    while True:
        smaller = ndimage.convolve(lowpass, FILTER, mode="mirror")[::2, ::2]
        if len(lowpass) == size:
            break
        lowpass = smaller
    if size == 16:
        return lowpass
    sparse = np.zeros_like(lowpass)
    sparse[::2, ::2] = smaller
    return lowpass - ndimage.convolve(sparse, 4 * FILTER, mode="mirror")


def transcribed_descriptors(images, size, corners):
    patches = []
    for image, places in zip(images, corners, strict=True):
        level = np.stack([transcribed_level(channel, size) for channel in image])
        patches.extend(level[:, y : y + 7, x : x + 7] for y, x in places)
    patches = np.array(patches)
    for channel in range(3):
        patches[:, channel] -= patches[:, channel].mean()
        patches[:, channel] /= patches[:, channel].std()
    return patches.reshape(len(patches), 147)


def transcribed_swd(real, fake, seed):
    values = {}
    size = real.shape[2]
    while size >= 16:
        corners = patch_corners(seed, size, len(real))
        a = transcribed_descriptors(real, size, corners)
        b = transcribed_descriptors(fake, size, corners)
        distances = [
            np.abs(np.sort(a @ d) - np.sort(b @ d)).mean() for d in unit_directions(seed, size)
        ]
        values[str(size)] = 1000 * np.mean(distances)
        size //= 2
    return {**values, "avg": np.mean(list(values.values()))}


@pytest.mark.parametrize(("size", "seed"), [(16, 0), (32, 1), (64, 2)])
def test_agrees_with_a_plain_transcription(size, seed):
    real, fake = random_images(3, 6, size), random_images(4, 6, size, high=180)
    measured = swd(real, fake, seed=seed).values
    expected = transcribed_swd(real, fake, seed)
    assert list(measured) == list(expected)
    for key, value in expected.items():
        assert measured[key] == pytest.approx(value, rel=1e-5)


@settings(deadline=None, max_examples=10)
@given(n=st.integers(1, 5), size=st.sampled_from([16, 32, 64]), seed=st.integers(0, 2**64))
def test_a_set_has_distance_0_to_itself(n, size, seed):
    images = np.random.default_rng(n).integers(0, 256, (n, 3, size, size), np.uint8)
    assert set(swd(images, images.copy(), seed=seed).values.values()) == {0.0}


def test_brightness_and_contrast_of_a_set_do_not_count():
    images = random_images(5) // 4
    assert swd(images, 2 * images + 10).values["avg"] == pytest.approx(0, abs=1e-3)


def test_symmetric():
    a, b = random_images(6), random_images(7, high=150)
    assert swd(a, b).values == swd(b, a).values


def test_the_shift_of_a_gaussian_in_closed_form():
    """Each direction sees |v . d|, whose mean over the unit sphere is known."""
    rng = np.random.default_rng(8)
    a = rng.standard_normal((2000, 147)).astype(np.float32)
    shift = rng.standard_normal(147).astype(np.float32)
    directions = unit_directions(0, 16)
    found = sliced_distances(a, a + shift, directions)
    np.testing.assert_allclose(found, np.abs(directions @ shift), atol=1e-5)
    log_mean = math.lgamma(147 / 2) - math.lgamma(148 / 2) - math.log(math.pi) / 2
    expected = np.linalg.norm(shift) * math.exp(log_mean)
    assert abs(found.mean() - expected) < 4 * found.std() / math.sqrt(len(found))


def test_the_scale_of_a_gaussian_in_closed_form():
    """Between a and 3a lies 2 |a . d|, in the mean 2 sqrt(2 / pi)."""
    a = np.random.default_rng(9).standard_normal((100_000, 147)).astype(np.float32)
    found = sliced_distances(a, 3 * a, unit_directions(0, 16)[:8])
    np.testing.assert_allclose(found, 2 * math.sqrt(2 / math.pi), rtol=0.02)


def test_directions_in_another_order_give_the_same_distances():
    rng = np.random.default_rng(10)
    a, b = (rng.standard_normal((500, 147)).astype(np.float32) for _ in range(2))
    directions = unit_directions(0, 32)
    order = rng.permutation(len(directions))
    found = sliced_distances(a, b, directions)
    np.testing.assert_allclose(sliced_distances(a, b, directions[order]), found[order], rtol=1e-5)


def test_neither_batches_nor_threads_change_a_bit():
    real, fake = random_images(11, 13), random_images(12, 13)
    expected = swd(real, fake).values
    assert swd(real, fake, batch_size=1, num_threads=1).values == expected
    assert swd(real, fake, batch_size=5, num_threads=3).values == expected
    halves = iter([fake[:4], fake[4:]])
    assert swd(as_image_set(real), halves).values == expected


def test_sets_too_large_to_keep_are_read_again_with_the_same_result(monkeypatch):
    real, fake = random_images(11), random_images(12)
    expected = swd(real, fake).values
    module = sys.modules["pgbench.metrics.swd"]  # the package's attribute of this name is swd()
    monkeypatch.setattr(module, "_CACHE_BYTES", 0)
    monkeypatch.setattr(module, "_PROJECTION_BYTES", 0)
    assert swd(real, fake).values == pytest.approx(expected, rel=1e-5)


def test_positions_depend_on_the_image_index_alone_and_cover_the_level():
    many = patch_corners(3, 32, 50)
    np.testing.assert_array_equal(patch_corners(3, 32, 20), many[:20])
    assert (many.min(), many.max()) == (0, 25)
    assert not np.array_equal(patch_corners(4, 32, 50), many)
    assert many.shape == (50, 128, 2)


def test_directions_have_unit_length_and_differ_by_seed_and_level():
    directions = unit_directions(0, 16)
    assert directions.shape == (512, 147)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-6)
    assert not np.array_equal(directions, unit_directions(1, 16))
    assert not np.array_equal(directions, unit_directions(0, 32))


def test_the_seed_decides():
    real, fake = random_images(13), random_images(14)
    assert swd(real, fake, seed=5).values == swd(real, fake, seed=5).values
    assert swd(real, fake, seed=5).values != swd(real, fake, seed=6).values


def test_mirror_flips_reals_at_random_and_seeded():
    images = random_images(15, 40, 16)
    images[..., 8:] //= 3  # the two sides differ, or a flip would not show
    plain, mirrored = swd(images, images), swd(images, images, mirror=True)
    assert plain.values["avg"] == 0
    assert mirrored.values["avg"] > 1
    assert mirrored.values == swd(images, images, mirror=True).values
    assert (plain.protocol["mirror"], mirrored.protocol["mirror"]) == (False, True)


def test_the_first_images_are_used():
    real, fake = random_images(16, 9), random_images(17, 7)
    found = swd(real, fake, num_images=5)
    assert found.num_images == 5
    assert found.values == swd(real[:5], fake[:5]).values
    assert found.values == swd(real, iter([fake[:3], fake[3:]]), num_images=5).values


def test_sets_without_variation_still_have_a_distance():
    black = np.zeros((4, 3, 32, 32), np.uint8)
    assert swd(black, black).values["avg"] == 0
    assert 0 < swd(random_images(18, 4), black).values["avg"] < math.inf


def test_the_error_is_the_one_over_directions():
    real, fake = random_images(19), random_images(20, high=100)
    found = swd(real, fake)
    corners = [patch_corners(0, size, len(real)) for size in (32, 16)]
    expected = []
    for size, places in zip((32, 16), corners, strict=True):
        a, b = (transcribed_descriptors(x, size, places) for x in (real, fake))
        each = 1000 * sliced_distances(
            a.astype(np.float32), b.astype(np.float32), unit_directions(0, size)
        )
        expected.append(np.sqrt(np.sum((each - each.mean()) ** 2) / 511 / 512))
    assert found.stderr["32"] == pytest.approx(expected[0], rel=1e-3)
    assert found.stderr["16"] == pytest.approx(expected[1], rel=1e-3)
    assert found.stderr["avg"] == pytest.approx(math.hypot(*expected) / 2, rel=1e-3)


def test_progress_rises_to_1():
    seen = []
    swd(random_images(21, 2), random_images(22, 2), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1


@pytest.mark.parametrize(
    ("real", "fake", "options", "message"),
    [
        ((4, 32, 32), (3, 32, 32), {}, "4 reals and 3 fakes.*at most 3"),
        ((4, 32, 32), (4, 16, 16), {}, "images of one size"),
        ((0, 32, 32), (0, 32, 32), {}, "at least 1 image"),
        ((4, 32, 16), (4, 32, 16), {}, "square images, not 16x32"),
        ((4, 48, 48), (4, 48, 48), {}, "power of two from 16 as resolution, not 48"),
        ((4, 32, 32), (4, 32, 32), {"num_images": 5}, "5 images were asked for.*holds 4"),
        ((4, 32, 32), (4, 32, 32), {"seed": -1}, "seed is a whole number from 0, not -1"),
    ],
)
def test_what_cannot_be_compared_is_refused(real, fake, options, message):
    sets = (np.zeros((n, 3, h, w), np.uint8) for n, h, w in (real, fake))
    with pytest.raises(ValueError, match=message):
        swd(*sets, **options)
