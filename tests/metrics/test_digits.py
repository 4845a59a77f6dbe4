"""The classifier of digits: its layers, that it learns, and what is kept of it."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from pgbench.metrics.digits import DigitReader, Digits, Training, classifier, open_digit_reader

SHORT = Training(epochs=3, minibatch=10, lr=1e-3)


def bars(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of ten kinds: a bright bar of 3 pixels at one of ten heights, and noise."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 10).astype(np.uint8)
    images = rng.integers(0, 40, (count, 32, 32), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[3 * label : 3 * label + 3] = 255
    return images, labels


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits(*bars(100, 0), *bars(40, 1))


@pytest.fixture(scope="module")
def kept(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DigitReader]:
    """A folder with a classifier; not to be changed."""
    folder = tmp_path_factory.mktemp("kept")
    return folder, open_digit_reader(digits, training=SHORT, folder=folder)


def opened(digits: Digits, folder: Path) -> tuple[DigitReader, list[float]]:
    """The classifier, and the fractions that its training told: none when it was kept."""
    told: list[float] = []
    return open_digit_reader(digits, training=SHORT, folder=folder, progress=told.append), told


def file_in(folder: Path) -> Path:
    (file,) = folder.glob("digits-*.safetensors")
    return file


@pytest.fixture
def folder(kept: tuple[Path, DigitReader], tmp_path: Path) -> Path:
    """A copy of the folder, to change."""
    (tmp_path / file_in(kept[0]).name).write_bytes(file_in(kept[0]).read_bytes())
    return tmp_path


class TestNetwork:
    def test_has_the_layers_of_the_paper(self) -> None:
        kinds = [type(layer) for layer in classifier()]
        block = [nn.Conv2d, nn.LeakyReLU, nn.Conv2d, nn.LeakyReLU, nn.MaxPool2d]
        assert kinds == [*block, *block, *block, nn.Flatten, nn.Linear]
        slopes = {layer.negative_slope for layer in classifier() if isinstance(layer, nn.LeakyReLU)}
        assert slopes == {0.1}

    def test_has_their_sizes(self) -> None:
        """32, 32 at 32x32, 55, 55 at 16x16, 96, 96 valid at 8x8: 2x2 are left."""
        x, sizes = torch.zeros(2, 1, 32, 32), []
        for layer in classifier():
            x = layer(x)
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.Linear):
                sizes.append(tuple(x.shape[1:]))
        assert sizes == [
            *((32, 32, 32), (32, 32, 32), (32, 16, 16)),
            *((55, 16, 16), (55, 16, 16), (55, 8, 8)),
            *((96, 6, 6), (96, 4, 4), (96, 2, 2), (10,)),
        ]
        convs = ((1, 32), (32, 32), (32, 55), (55, 55), (55, 96), (96, 96))
        count = sum(9 * a * b + b for a, b in convs) + 384 * 10 + 10
        assert sum(p.numel() for p in classifier().parameters()) == count

    def test_starts_as_seeded(self) -> None:
        one, same = classifier(), classifier(torch.Generator().manual_seed(0))
        other = classifier(torch.Generator().manual_seed(1))
        assert torch.equal(one[0].weight, same[0].weight)
        assert not torch.equal(one[0].weight, other[0].weight)
        std = float(one[2].weight.detach().std())
        assert std == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.05)


class TestReader:
    def test_learns(self, kept: tuple[Path, DigitReader], digits: Digits) -> None:
        reader = kept[1]
        assert reader.test_error < 0.2
        read = reader(digits.test_images)
        assert float((read != digits.test_labels).mean()) == reader.test_error
        assert reader.protocol == {
            "classifier_sha256": reader.sha256,
            "classifier_test_error": reader.test_error,
            "classifier_test_digits": 40,
        }

    def test_is_the_same_again(
        self, kept: tuple[Path, DigitReader], digits: Digits, tmp_path: Path
    ) -> None:
        again, told = opened(digits, tmp_path)
        assert again.sha256 == kept[1].sha256
        assert told[-1] == 1.0
        assert told == sorted(told)

    def test_reads_one_by_one_as_together(
        self, kept: tuple[Path, DigitReader], digits: Digits
    ) -> None:
        together = kept[1](digits.test_images)
        assert [int(kept[1](image[None])[0]) for image in digits.test_images] == together.tolist()

    def test_refuses_other_pictures(self, kept: tuple[Path, DigitReader]) -> None:
        with pytest.raises(ValueError, match=r"of 32x32, not in uint8 of shape \(2, 28, 28\)"):
            kept[1](np.zeros((2, 28, 28), np.uint8))
        with pytest.raises(ValueError, match="not in float64"):
            kept[1](np.zeros((2, 32, 32)))

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"images": np.zeros((100, 28, 28), np.uint8)}, r"not from \(100, 28, 28\)"),
            ({"labels": np.zeros(99, np.uint8)}, r"with \(99,\)"),
            ({"test_labels": np.full(40, 10, np.uint8)}, "0 to 9, not 10"),
            (
                {
                    "test_images": np.zeros((0, 32, 32), np.uint8),
                    "test_labels": np.zeros(0, np.uint8),
                },
                r"not from \(0, 32, 32\)",
            ),
        ],
    )
    def test_refuses_other_digits(
        self, changes: dict[str, np.ndarray], why: str, digits: Digits, tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError, match=why):
            open_digit_reader(replace(digits, **changes), training=SHORT, folder=tmp_path)
        assert list(tmp_path.glob("digits-*")) == []


class TestWhatIsKept:
    def test_is_taken(self, kept: tuple[Path, DigitReader], folder: Path, digits: Digits) -> None:
        reader, told = opened(digits, folder)
        assert told == []
        assert (reader.sha256, reader.test_error) == (kept[1].sha256, kept[1].test_error)
        assert np.array_equal(reader(digits.images), kept[1](digits.images))

    def test_is_for_these_digits_and_settings(self, folder: Path, digits: Digits) -> None:
        open_digit_reader(digits, training=replace(SHORT, seed=1, epochs=1), folder=folder)
        labels = digits.test_labels[::-1].copy()
        training = replace(SHORT, epochs=1)
        open_digit_reader(replace(digits, test_labels=labels), training=training, folder=folder)
        assert len(list(folder.glob("digits-*.safetensors"))) == 3

    @pytest.mark.parametrize("damage", ["cut", "noise", "weights", "error", "no metadata", "large"])
    def test_that_is_damaged_is_told_and_trained_again(
        self,
        damage: str,
        kept: tuple[Path, DigitReader],
        folder: Path,
        digits: Digits,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        file = file_in(folder)
        weights = load_file(file)
        with safe_open(file, framework="pt") as opened_file:
            metadata = opened_file.metadata()
        if damage == "cut":
            file.write_bytes(file.read_bytes()[:-7])
        elif damage == "noise":
            file.write_bytes(b"\xff" * 5000)
        elif damage == "weights":
            weights["0.weight"] += 1
            save_file(weights, file, metadata=metadata)
        elif damage == "error":
            better = metadata | {"pgbench": metadata["pgbench"].replace("0.", "0.0", 1)}
            save_file(weights, file, metadata=better)
        elif damage == "no metadata":
            save_file(weights, file)
        else:
            save_file(weights | {"more": torch.zeros(2**21)}, file, metadata=metadata)
        with caplog.at_level(logging.WARNING):
            reader, told = opened(digits, folder)
        assert told
        assert reader.sha256 == kept[1].sha256
        (message,) = caplog.messages
        assert f"the classifier {file} is damaged (" in message
        assert opened(digits, folder)[1] == []  # and is sound now

    def test_that_cannot_be_kept_is_used(
        self, digits: Digits, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_text("")
        training = replace(SHORT, epochs=1)
        with caplog.at_level(logging.WARNING):
            reader = open_digit_reader(digits, training=training, folder=tmp_path / "file")
        assert len(reader(digits.images)) == 100
        assert "the classifier was not kept in" in caplog.text
