"""SWD in closed form, against a plain float64 transcription, and its invariances."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import wasserstein_distance

from pgbench.metrics import swd
from pgbench.metrics.images import ImageSet, as_image_set
from pgbench.metrics.patches import patch_corners
from pgbench.metrics.transport import unit_directions

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


def transcribed_swd(real, fake, seed, *, orthonormal=True):
    values = {}
    size = real.shape[2]
    while size >= 16:
        corners = patch_corners(seed, size, max(len(real), len(fake)))
        a = transcribed_descriptors(real, size, corners[: len(real)])
        b = transcribed_descriptors(fake, size, corners[: len(fake)])
        directions = unit_directions(seed, size, orthonormal=orthonormal)
        distances = [wasserstein_distance(a @ d, b @ d) for d in directions]
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


def test_iid_directions_agree_with_a_plain_transcription():
    real, fake = random_images(3, 6, 16), random_images(4, 6, 16, high=180)
    measured = swd(real, fake, directions="iid").values
    assert measured == pytest.approx(transcribed_swd(real, fake, 0, orthonormal=False), rel=1e-5)
    assert measured != swd(real, fake).values


@pytest.mark.parametrize(("reals", "fakes"), [(6, 4), (5, 6), (1, 3)])
def test_unequal_counts_compare_by_quantile(reals, fakes):
    real, fake = random_images(3, reals, 16), random_images(4, fakes, 16, high=180)
    found = swd(real, fake)
    assert found.values == pytest.approx(transcribed_swd(real, fake, 0), rel=1e-5)
    assert found.num_images == min(reals, fakes)
    assert (found.protocol["num_reals"], found.protocol["num_fakes"]) == (reals, fakes)


def test_an_uneven_copy_of_a_set_is_near_it_and_twice_the_set_at_distance_0():
    images = random_images(30, 6, 16)
    corners_differ = swd(images, np.concatenate([images, images])).values["avg"]
    assert 0 < corners_differ < swd(images, random_images(31, 12, 16, high=90)).values["avg"]


def test_works_up_to_1024_pixels():
    real, fake = random_images(32, 2, 1024), random_images(33, 2, 1024, high=128)
    found = swd(real, fake).values
    assert list(found) == ["1024", "512", "256", "128", "64", "32", "16", "avg"]
    corners = patch_corners(0, 1024, 2)
    a, b = (transcribed_descriptors(x, 1024, corners) for x in (real, fake))
    directions = unit_directions(0, 1024)
    expected = np.mean([wasserstein_distance(a @ d, b @ d) for d in directions])
    assert found["1024"] == pytest.approx(1000 * expected, rel=1e-5)


@settings(deadline=None, max_examples=10)
@given(n=st.integers(1, 5), size=st.sampled_from([16, 32, 64]), seed=st.integers(0, 2**64))
def test_a_set_has_distance_0_to_itself(n, size, seed):
    images = np.random.default_rng(n).integers(0, 256, (n, 3, size, size), np.uint8)
    assert set(swd(images, images.copy(), seed=seed).values.values()) == {0.0}


def test_brightness_and_contrast_of_a_set_do_not_count():
    images = random_images(5) // 4
    assert swd(images, 2 * images + 10).values["avg"] == pytest.approx(0, abs=2e-3)


def test_symmetric():
    a, b = random_images(6), random_images(7, high=150)
    assert swd(a, b).values == swd(b, a).values


def test_neither_batches_nor_threads_change_a_bit():
    real, fake = random_images(11, 13), random_images(12, 13)
    expected = swd(real, fake)
    for batch_size, num_threads in ((1, 1), (5, 3)):
        found = swd(real, fake, batch_size=batch_size, num_threads=num_threads)
        assert (found.values, found.stderr) == (expected.values, expected.stderr)
    halves = iter([fake[:4], fake[4:]])
    assert swd(as_image_set(real), halves).values == expected.values


def test_a_set_that_is_costly_to_read_is_read_once():
    real, fake = random_images(11), random_images(12)
    asked = []

    def read(indices):
        asked.extend(indices.tolist())
        return fake[indices]

    costly = ImageSet("costly", len(fake), fake.shape[1:], read)
    assert swd(real, costly).values == swd(real, fake).values
    assert sorted(asked) == list(range(len(fake)))


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


@pytest.mark.slow
def test_the_error_is_the_scatter_of_other_images_patches_and_directions():
    """Thirty-two comparisons of fresh images with another seed each, clear of the noise floor."""
    rng = np.random.default_rng(40)
    found = []
    for seed in range(32):
        real = rng.integers(0, 256, (2, 64, 3, 16, 16))
        tone = rng.uniform(0, 120, (64, 1, 1, 1))  # images differ from each other, too
        fake = np.clip(real[1] ** 2 / 255 + tone, 0, 255)
        arrays = real[0].astype(np.uint8), fake.astype(np.uint8)
        found.append(swd(*arrays, seed=seed, num_threads=1))
    scatter = np.std([result.values["avg"] for result in found], ddof=1)
    stated = np.sqrt(np.mean([result.stderr["avg"] ** 2 for result in found]))
    assert 0.65 < stated / scatter < 1.6  # the scatter of 32 is itself known to an eighth


def test_a_single_image_still_has_the_error_of_the_directions():
    found = swd(random_images(41, 1), random_images(42, 1))
    assert all(0 < error < math.inf for error in found.stderr.values())


def test_progress_rises_to_1():
    seen = []
    swd(random_images(21, 2), random_images(22, 2), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1


@pytest.mark.parametrize(
    ("real", "fake", "options", "message"),
    [
        ((4, 32, 32), (4, 16, 16), {}, "images of one size"),
        ((0, 32, 32), (4, 32, 32), {}, "at least 1 image in each set, but there are 0 reals"),
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
