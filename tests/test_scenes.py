"""Random crops of the photographs inside scikit-image."""

import hashlib
import socket
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from pgbench import scenes


@pytest.mark.parametrize("resolution", scenes.RESOLUTIONS)
def test_shape_and_type(resolution: int) -> None:
    image = scenes.render(0, 0, resolution=resolution)
    assert image.shape == (3, resolution, resolution)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous


def test_same_image_in_any_order() -> None:
    forwards = [scenes.render(3, index, resolution=16) for index in range(6)]
    backwards = [scenes.render(3, index, resolution=16) for index in reversed(range(6))]
    np.testing.assert_array_equal(forwards, backwards[::-1])


def test_seed_and_index_both_matter() -> None:
    crops = {scenes.choose_crop(s, i, resolution=16) for s in range(5) for i in range(5)}
    assert len(crops) == 25


@pytest.mark.parametrize("resolution", [4, 64, 256])
def test_crop_lies_inside_and_is_never_enlarged(resolution: int) -> None:
    for index in range(400):
        photograph, left, top, side = scenes.choose_crop(1, index, resolution=resolution)
        width, height = scenes.load_photograph(photograph).size
        assert left >= 0
        assert top >= 0
        assert left + side <= width
        assert top + side <= height
        assert resolution <= side <= min(width, height)


def test_every_photograph_and_the_whole_range_of_places_occur() -> None:
    crops = [scenes.choose_crop(2, index, resolution=32) for index in range(2000)]
    assert {crop.photograph for crop in crops} == set(range(len(scenes.PHOTOGRAPHS)))
    for number in range(len(scenes.PHOTOGRAPHS)):
        width, height = scenes.load_photograph(number).size
        own = [crop for crop in crops if crop.photograph == number]
        slack = min(crop.left for crop in own) + min(crop.top for crop in own)
        slack += width - max(crop.left + crop.side for crop in own)
        slack += height - max(crop.top + crop.side for crop in own)
        assert slack < 0.1 * (width + height)


def test_photographs_are_large_enough_and_in_colour() -> None:
    for number in range(len(scenes.PHOTOGRAPHS)):
        image = scenes.load_photograph(number)
        assert min(image.size) >= max(scenes.RESOLUTIONS)
        red, green, blue = np.asarray(image, dtype=np.int64).transpose(2, 0, 1)
        assert np.abs(red - green).mean() + np.abs(green - blue).mean() > 1


def test_pixels_are_those_of_the_photograph() -> None:
    """The mean of a whole-crop image is the mean of the source square: no mirror, no shift."""
    crop = scenes.choose_crop(0, 5, resolution=64)
    name = scenes.PHOTOGRAPHS[crop.photograph]
    with (resources.files("skimage") / "data" / name).open("rb") as stream:
        source = np.asarray(Image.open(stream), dtype=np.float64)
    square = source[crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
    image = scenes.render(0, 5, resolution=64).transpose(1, 2, 0).astype(np.float64)
    halves = (slice(0, 32), slice(32, 64)), (slice(0, crop.side // 2), slice(crop.side // 2, None))
    for small, large in zip(*halves, strict=True):
        np.testing.assert_allclose(image[:, small].mean(), square[:, large].mean(), atol=2.0)
        np.testing.assert_allclose(image[small].mean(), square[large].mean(), atol=2.0)


def test_no_duplicates() -> None:
    digests = {
        hashlib.sha256(scenes.render(0, index, resolution=16).tobytes()).digest()
        for index in range(1000)
    }
    assert len(digests) == 1000


def test_works_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "socket", refuse)
    scenes.load_photograph.cache_clear()
    for number in range(len(scenes.PHOTOGRAPHS)):
        scenes.load_photograph(number)
    scenes.render(0, 0, resolution=32)


@pytest.mark.parametrize("resolution", [0, 2, 3, 48, 512, -4])
def test_bad_resolution(resolution: int) -> None:
    with pytest.raises(ValueError, match=rf"resolution {resolution} .* choose one of 4, 8, 16"):
        scenes.render(0, 0, resolution=resolution)


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (0, -1)])
def test_negative_seed_or_index(seed: int, index: int) -> None:
    with pytest.raises(ValueError, match=f"seed {seed} and index {index} must both be 0 or more"):
        scenes.render(seed, index, resolution=4)
