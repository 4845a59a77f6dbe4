"""MS-SSIM in closed form, against a plain float64 transcription, and its invariances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pgbench.metrics import msssim, msssim_pairs
from pgbench.metrics.images import as_image_set
from pgbench.metrics.similarity import pair_similarities

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def random_images(seed, n, height, width=None):
    """Sums of noise of several scales: pairs that are alike to different degrees."""
    shape = (n, 3, height, width or height)
    noise = np.random.default_rng(seed).normal(0, 1, shape)
    parts = sum(8 * s * ndimage.gaussian_filter(noise, (0, 0, s, s), mode="wrap") for s in (1, 4))
    return np.clip(128 + 10 * noise + 3 * parts, 0, 255).astype(np.uint8)


def transcribed_terms(a, b):
    """SSIM and contrast of one pair (C, H, W), every window position by itself."""
    size = min(11, *a.shape[1:])
    sigma = 1.5 * size / 11
    axis = np.arange(size) - (size - 1) / 2
    window = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * sigma**2))
    window /= window.sum()

    def filtered(x):
        view = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
        return (view * window).sum(axis=(3, 4))

    mu_a, mu_b = filtered(a), filtered(b)
    var_a, var_b = filtered(a * a) - mu_a**2, filtered(b * b) - mu_b**2
    covariance = filtered(a * b) - mu_a * mu_b
    contrast = (2 * covariance + C2) / (var_a + var_b + C2)
    luminance = (2 * mu_a * mu_b + C1) / (mu_a**2 + mu_b**2 + C1)
    return (luminance * contrast).mean(), contrast.mean()


def transcribed_pair(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        similarity, contrast = transcribed_terms(a, b)
        product *= max(similarity if scale == 4 else contrast, 0.0) ** weight
        channels, height, width = a.shape
        blocks = (channels, height // 2, 2, width // 2, 2)
        if scale < 4:
            a, b = a.reshape(blocks).mean((2, 4)), b.reshape(blocks).mean((2, 4))
    return product


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_agrees_with_a_plain_transcription(size):
    images = random_images(size, 6, size)
    images[1] = images[0] // 2 + 40  # a pair that is alike
    expected = [transcribed_pair(images[i], images[i + 1]) for i in (0, 2, 4)]
    assert max(expected) > 0.5
    np.testing.assert_allclose(pair_similarities(images[0::2], images[1::2]), expected, rtol=1e-9)
    found = msssim(images)
    assert found.values == {"msssim": pytest.approx(np.mean(expected), rel=1e-9)}
    assert found.stderr == {"msssim": pytest.approx(np.std(expected, ddof=1) / 3**0.5, rel=1e-9)}


@settings(deadline=None, max_examples=15)
@given(h=st.integers(1, 5), w=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_identical_pairs_give_1_for_any_shape(h, w, seed):
    shape = (2, 3, 16 * h, 16 * w)
    images = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    found = msssim(np.repeat(images, 2, axis=0)).values["msssim"]
    assert found == pytest.approx(1, abs=1e-9)


def test_rectangles_agree_with_the_transcription():
    images = random_images(1, 2, 16, 48)
    images[1] = images[0] // 2 + 40
    assert msssim(images).values["msssim"] == pytest.approx(transcribed_pair(*images), rel=1e-9)


@pytest.mark.parametrize(("a", "b"), [(0, 255), (10, 20), (200, 100)])
def test_constant_images_in_closed_form(a, b):
    """Without variation every contrast is 1, and the last luminance is left."""
    pair = np.empty((2, 3, 32, 32), np.uint8)
    pair[0], pair[1] = a, b
    expected = ((2 * a * b + C1) / (a * a + b * b + C1)) ** 0.1333
    assert msssim(pair).values["msssim"] == pytest.approx(expected, rel=1e-6)


def test_a_negative_contrast_is_clipped_to_0():
    image = random_images(2, 1, 32)
    assert msssim(np.concatenate([image, 255 - image])).values["msssim"] == 0


def test_symmetric_in_a_pair_and_in_the_order_of_pairs():
    images = random_images(3, 6, 32)
    found = msssim(images).values["msssim"]
    assert msssim(images[[1, 0, 3, 2, 5, 4]]).values["msssim"] == pytest.approx(found, rel=1e-12)
    assert msssim(images[[4, 5, 0, 1, 2, 3]]).values["msssim"] == pytest.approx(found, rel=1e-12)


def test_neither_batches_nor_threads_change_a_bit():
    images = random_images(4, 22, 32)
    expected = msssim(images).values
    for batch_size, num_threads in [(1, 1), (2, 3), (7, 1), (100, 2)]:
        found = msssim(images, batch_size=batch_size, num_threads=num_threads)
        assert found.values == expected
    assert msssim(as_image_set(images)).values == expected
    assert msssim(iter([images[:5], images[5:6], images[6:]]), batch_size=4).values == expected


def test_the_first_images_are_used():
    images = random_images(5, 10, 16)
    expected = msssim(images[:6]).values
    assert msssim(images, num_images=6).values == expected
    stream = (images[i : i + 3] for i in range(0, 10, 3))
    assert msssim(stream, num_images=6).values == expected
    assert len(list(stream)) == 2  # no further batch was read


def test_the_result_says_what_was_measured():
    found = msssim(random_images(6, 4, 16), seed=3)
    assert (found.metric, found.num_images, found.seed) == ("msssim", 4, 3)
    assert (found.protocol["num_pairs"], found.protocol["resolution"]) == (2, 16)
    assert msssim(random_images(6, 2, 16)).stderr == {"msssim": None}


def every_pair(images):
    """The plain transcription of all pairs, as a symmetric matrix."""
    found = np.zeros((len(images), len(images)))
    for i, j in zip(*np.triu_indices(len(images), 1), strict=True):
        found[i, j] = found[j, i] = transcribed_pair(images[i], images[j])
    return found


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 32), (64, 64), (16, 48)])
def test_all_pairs_agree_with_a_plain_transcription(height, width):
    images = random_images(8, 5, height, width)
    images[1:3] = images[3] // 2 + 40
    expected = every_pair(images)
    found = msssim(images, pairs="all")
    assert found.values == {"msssim": pytest.approx(expected.sum() / 20, rel=1e-9)}
    error = 2 * np.std(expected.sum(axis=0) / 4, ddof=1) / 5**0.5
    assert found.stderr == {"msssim": pytest.approx(error, rel=1e-9)}
    assert (found.num_images, found.protocol["num_pairs"]) == (5, 10)
    assert found.protocol["pairs"] == "all"
    assert msssim(images[:4]).protocol["pairs"] == "disjoint, consecutive"


@pytest.mark.parametrize("size", [16, 1024])
def test_both_ends_of_the_sizes(size):
    """Four grey images: every contrast is 1, and the last luminance is left."""
    greys = np.array([0, 60, 180, 255.0])
    images = np.tile(greys[:, None, None, None].astype(np.uint8), (1, 3, size, size))
    products, squares = np.multiply.outer(greys, greys), np.add.outer(greys**2, greys**2)
    expected = ((2 * products + C1) / (squares + C1)) ** 0.1333
    found = msssim(images, pairs="all").values["msssim"]
    assert found == pytest.approx(expected[np.triu_indices(4, 1)].mean(), rel=1e-6)
    found = msssim(images, num_images=2).values["msssim"]
    assert found == pytest.approx(expected[0, 1], rel=1e-6)


def test_neither_blocks_nor_threads_change_a_bit_of_all_pairs(monkeypatch):
    images = random_images(9, 23, 16)
    expected = msssim(images, pairs="all")
    for batch_size, num_threads in [(1, 1), (2, 3), (7, 1), (100, 2)]:
        found = msssim(images, pairs="all", batch_size=batch_size, num_threads=num_threads)
        assert (found.values, found.stderr) == (expected.values, expected.stderr)
    monkeypatch.setattr(msssim_pairs, "CHUNK_PIXELS", 5 * 16 * 16)
    monkeypatch.setattr(msssim_pairs, "_BLOCK_BYTES", 9 * 96 * 16 * 16)
    assert msssim(images, pairs="all").values == expected.values
    batches = iter([images[:5], images[5:6], images[6:]])
    assert msssim(batches, pairs="all").values == expected.values


def test_the_order_of_the_images_does_not_matter_for_all_pairs():
    images = random_images(10, 9, 16)
    found, reverse = (msssim(x, pairs="all") for x in (images, images[::-1]))
    assert found.values["msssim"] == pytest.approx(reverse.values["msssim"], rel=1e-12)
    assert found.stderr["msssim"] == pytest.approx(reverse.stderr["msssim"], rel=1e-9)


def blends(seed, n):
    """Noise that holds more or less of one common image."""
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(99).integers(0, 256, (1, 3, 16, 16))
    share = rng.uniform(0, 1, (n, 1, 1, 1))
    return (share * common + (1 - share) * rng.integers(0, 256, (n, 3, 16, 16))).astype(np.uint8)


def test_the_standard_error_of_all_pairs_is_that_of_repeated_samples():
    found = [msssim(blends(seed, 24), pairs="all") for seed in range(100)]
    spread = np.std([x.values["msssim"] for x in found], ddof=1)
    assert 0.85 < np.mean([x.stderr["msssim"] for x in found]) / spread < 1.2


@pytest.mark.parametrize("pairs", ["consecutive", "all"])
def test_the_reals_are_measured_likewise(pairs):
    fakes, reals = random_images(11, 6, 16), random_images(12, 9, 16) // 2
    alone, reference = (msssim(x, pairs=pairs, num_images=6) for x in (fakes, reals))
    seen = []
    found = msssim(fakes, reals=reals, pairs=pairs, progress=seen.append)
    assert found.values == {**alone.values, "reals": reference.values["msssim"]}
    assert found.stderr == {**alone.stderr, "reals": reference.stderr["msssim"]}
    assert (found.num_images, found.protocol) == (6, alone.protocol)
    assert seen == sorted(seen)
    assert (0.5 in seen, seen[-1]) == (True, 1.0)
    streamed = msssim(iter([fakes[:2], fakes[2:]]), reals=iter([reals]), pairs=pairs)
    assert streamed.values == found.values


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((6, 3, 32, 32), {}, r"reals are of shape \(3, 32, 32\), the images of \(3, 16, 16\)"),
        ((3, 3, 16, 16), {}, "4 images were asked for.*holds 3"),
        ((6, 3, 16, 16), {"num_images": 6}, "6 images were asked for.*holds 4"),
    ],
)
@pytest.mark.parametrize("pairs", ["consecutive", "all"])
def test_reals_that_do_not_compare_are_refused(shape, options, message, pairs):
    images, reals = np.zeros((4, 3, 16, 16), np.uint8), np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match=message):
        msssim(images, reals=reals, pairs=pairs, **options)


def test_reals_are_compared_with_a_stream_when_its_size_is_known():
    images, reals = np.zeros((4, 3, 16, 16), np.uint8), np.zeros((4, 3, 32, 32), np.uint8)
    with pytest.raises(ValueError, match="reals are of shape"):
        msssim(iter([images]), reals=reals)


@pytest.mark.parametrize(
    ("shape", "pairs", "message"),
    [
        ((1, 3, 16, 16), "all", "in pairs: it needs at least 2, not 1"),
        ((4, 3, 24, 16), "all", "multiples of 16, not 24 and 16"),
        ((4, 3, 16, 16), "some", "consecutive or all, not 'some'"),
    ],
)
def test_all_pairs_that_cannot_be_measured_are_refused(shape, pairs, message):
    with pytest.raises(ValueError, match=message):
        msssim(np.zeros(shape, np.uint8), pairs=pairs)


def test_all_pairs_of_two_images_have_no_standard_error():
    images = random_images(13, 2, 16)
    found = msssim(images, pairs="all")
    assert found.values["msssim"] == pytest.approx(msssim(images).values["msssim"], rel=1e-9)
    assert found.stderr == {"msssim": None}


def test_progress_of_all_pairs_rises_to_1():
    seen = []
    msssim(random_images(14, 10, 16), pairs="all", batch_size=4, progress=seen.append)
    assert seen == pytest.approx([6 / 45, 22 / 45, 30 / 45, 36 / 45, 44 / 45, 1.0])


def test_progress_rises_to_1():
    seen = []
    msssim(random_images(7, 10, 16), batch_size=4, progress=seen.append)
    assert seen == [0.4, 0.8, 1.0]


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((3, 3, 32, 32), {}, "even number from 2, not 3"),
        ((0, 3, 32, 32), {}, "even number from 2, not 0"),
        ((4, 3, 32, 32), {"num_images": 3}, "even number from 2, not 3"),
        ((4, 3, 32, 32), {"num_images": 6}, "6 images were asked for.*holds 4"),
        ((4, 3, 24, 32), {}, "multiples of 16, not 24 and 32"),
        ((4, 3, 8, 8), {}, "multiples of 16, not 8 and 8"),
        ((4, 1, 32, 32), {}, r"shape \(N, 3, H, W\), not uint8 of shape \(4, 1, 32, 32\)"),
    ],
)
def test_what_cannot_be_measured_is_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        msssim(np.zeros(shape, np.uint8), **options)


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ([2, 1], {}, "even number from 2, not 3"),
        ([], {}, "even number from 2, not 0"),
        ([2, 1], {"num_images": 4}, "4 images were asked for, but the batches hold 3"),
    ],
)
def test_streams_are_checked_too(counts, options, message):
    batches = (np.zeros((n, 3, 16, 16), np.uint8) for n in counts)
    with pytest.raises(ValueError, match=message):
        msssim(batches, **options)


def test_floats_are_refused():
    with pytest.raises(ValueError, match="not float64"):
        msssim(np.zeros((2, 3, 16, 16)))
