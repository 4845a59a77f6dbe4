"""Modes and their KL in closed form, through a reader that is told what to read."""

import json
import math
from typing import Any

import numpy as np
import pytest

from pgbench.metrics import open_images
from pgbench.metrics.digits import SIDE, DigitReader, Digits, Training, open_digit_reader
from pgbench.metrics.modes import count_modes, modes, read_modes


class Told:
    """Reads the digit that the first pixel of a picture is."""

    protocol = {"classifier_sha256": "none", "classifier_test_error": 0.0}  # noqa: RUF012

    def __call__(self, digits: np.ndarray) -> np.ndarray:
        assert digits.shape[1:] == (SIDE, SIDE)
        return digits[:, 0, 0]


READER: Any = Told()


def images_of(modes_of: np.ndarray) -> np.ndarray:
    """(N, 3, 32, 32) uint8 whose first pixels are the digits of the modes."""
    images = np.zeros((len(modes_of), 3, SIDE, SIDE), np.uint8)
    images[:, :, 0, 0] = np.stack([modes_of // 100, modes_of // 10 % 10, modes_of % 10], 1)
    return images


def test_reads_red_green_blue():
    assert read_modes(images_of(np.array([0, 7, 123, 999])), READER).tolist() == [0, 7, 123, 999]


def test_every_mode_once_is_uniform():
    count, kl = count_modes(np.arange(1000))
    assert (count, kl) == (1000, pytest.approx(0, abs=1e-12))


@pytest.mark.parametrize("kept", [1, 10, 500])
def test_some_modes_alike(kept):
    """p = 1 / kept in each: KL is log(1000 / kept)."""
    count, kl = count_modes(np.tile(np.arange(kept), 3))
    assert (count, kl) == (kept, pytest.approx(math.log(1000 / kept)))


def test_unequal_modes():
    count, kl = count_modes(np.array([5, 5, 5, 900]))
    expected = 0.75 * math.log(750) + 0.25 * math.log(250)
    assert (count, kl) == (2, pytest.approx(expected))


def test_averages_over_the_sets():
    sets = np.array([[1, 1, 1, 1], [1, 2, 3, 4], [1, 1, 2, 2]]).ravel()
    result = modes(images_of(np.concatenate([sets, [9, 9]])), reader=READER, set_size=4)
    counts, kls = np.array([1, 4, 2]), np.log([1000, 250, 500])
    assert result.values == {
        "modes": pytest.approx(counts.mean()),
        "modes_std": pytest.approx(counts.std()),
        "kl": pytest.approx(kls.mean()),
        "kl_std": pytest.approx(kls.std()),
    }
    assert list(result.values) == ["modes", "modes_std", "kl", "kl_std"]
    assert result.stderr["modes"] == pytest.approx(counts.std(ddof=1) / 3**0.5)
    assert result.stderr["modes_std"] is None
    assert (result.num_images, result.metric, result.metric_version) == (12, "modes", 1)
    assert result.protocol == {"sets": 3, "set_size": 4, **READER.protocol}


def test_one_set_has_no_error():
    result = modes(images_of(np.array([3, 4])), reader=READER, set_size=2)
    assert (result.values["modes"], result.values["modes_std"]) == (2, 0)
    assert result.stderr == dict.fromkeys(result.values)
    json.dumps(result.to_json(), allow_nan=False)


def test_does_not_depend_on_how_images_come():
    found = np.random.default_rng(0).integers(1000, size=600)
    images = images_of(found)
    told: list[float] = []
    whole = modes(images, reader=READER, set_size=200, progress=told.append)
    batches = modes(iter(np.array_split(images, 7)), reader=READER, set_size=200)
    assert whole.values == batches.values
    assert told[-1] == 1.0
    assert told == sorted(told)


def test_takes_the_first_images():
    images = images_of(np.array([1, 2, 1, 1]))
    result = modes(images, reader=READER, set_size=2, num_images=3)
    assert (result.num_images, result.values["modes"]) == (2, 2)


@pytest.mark.parametrize("set_size", [0, 5])
def test_refuses_sets_that_there_are_not(set_size):
    with pytest.raises(ValueError, match=rf"4 images and a set of modes takes {set_size}"):
        modes(images_of(np.arange(4)), reader=READER, set_size=set_size)


def test_refuses_pictures_of_another_size(tmp_path):
    rng = np.random.default_rng(0)
    labels = (np.arange(20) % 10).astype(np.uint8)
    images = rng.integers(0, 256, (20, 32, 32), np.uint8)
    reader: DigitReader = open_digit_reader(
        Digits(images, labels, images, labels), training=Training(epochs=1), folder=tmp_path
    )
    np.save(tmp_path / "fakes.npy", rng.integers(0, 256, (4, 3, 16, 16), np.uint8))
    with pytest.raises(ValueError, match="uint8 images of 32x32"):
        modes(open_images(tmp_path / "fakes.npy"), reader=reader, set_size=2)
