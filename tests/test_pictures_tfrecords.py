"""Folders of TFRecords, written by the package `tfrecord`: every level as stored, damage named."""

import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tfrecord import TFRecordWriter

from pgbench.pictures_tfrecords import open_tfrecords
from pgbench.prepare import SHARD, Pictures, build_pictures

RECORD = 12 + 231 + 4  # bytes of an 8x8 picture: 192 of pixels, 39 of names and lengths


def pixels(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(shape).integers(0, 256, shape, np.uint8)


def write(file: Path, images: NDArray[np.uint8], **changes: Any) -> None:
    writer = TFRecordWriter(str(file))
    for image in images:
        features = {"shape": (list(image.shape), "int"), "data": (image.tobytes(), "byte")}
        writer.write(features | changes)
    writer.close()


def write_set(folder: Path, num_images: int = 6, *, channels: int = 3) -> dict[int, Any]:
    """Levels of 8x8 and 4x4 that are no means of each other."""
    folder.mkdir(exist_ok=True)
    made = {side: pixels(num_images, channels, side, side) for side in (8, 4)}
    for side, images in made.items():
        write(folder / f"cats-r{side.bit_length() - 1:02d}.tfrecords", images)
    return made


def opened(folder: Path, **options: Any) -> Pictures:
    return open_tfrecords(folder, **{"name": "cats", "mirror": True} | options)


def damage(file: Path, place: int, new: bytes) -> None:
    content = bytearray(file.read_bytes())
    content[place : place + len(new)] = new
    file.write_bytes(content)


def refused(call: Callable[[], object], *why: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the words are compared below
        call()
    assert all(part in str(caught.value) for part in why), str(caught.value)
    assert "\n" not in str(caught.value)


class TestRead:
    def test_every_level_is_as_stored(self, tmp_path: Path) -> None:
        made = write_set(tmp_path)
        pictures = opened(tmp_path)
        assert list(pictures.levels) == [4]
        for index in (5, 0, 3):  # in any order
            assert np.array_equal(pictures.read(index), made[8][index])
            assert np.array_equal(pictures.levels[4](index), made[4][index])

    def test_says_what_it_is(self, tmp_path: Path) -> None:
        write_set(tmp_path)
        assert vars(opened(tmp_path, max_images=4).draft) == {
            **{"name": "cats", "source": "TFRecords cats", "crop": "as stored"},
            **{"resolution": 8, "num_images": 4, "mirror": True},
        }
        assert opened(tmp_path, max_images=100).draft.num_images == 6

    def test_worker_processes_build_the_store(self, tmp_path: Path) -> None:
        made = write_set(tmp_path / "set", SHARD + 2)
        store = build_pictures(tmp_path / "store", opened(tmp_path / "set"))
        for side, images in made.items():
            assert np.array_equal(store.level(side)[:], images)

    def test_readers_can_be_pickled(self, tmp_path: Path) -> None:
        made = write_set(tmp_path)
        read = pickle.loads(pickle.dumps(opened(tmp_path).read))
        assert np.array_equal(read(2), made[8][2])

    def test_grey_is_replicated(self, tmp_path: Path) -> None:
        made = write_set(tmp_path, channels=1)
        image = opened(tmp_path).read(1)
        assert image.shape == (3, 8, 8)
        assert (image == made[8][1]).all()

    def test_levels_below_4_are_left_out(self, tmp_path: Path) -> None:
        write_set(tmp_path)
        write(tmp_path / "cats-r01.tfrecords", pixels(6, 3, 2, 2))
        assert list(opened(tmp_path).levels) == [4]

    def test_labels_are_kept(self, tmp_path: Path) -> None:
        write_set(tmp_path)
        labels = np.eye(6, dtype=np.float32)
        write_labels(tmp_path, labels)
        got = opened(tmp_path, max_images=4).labels
        assert got is not None
        assert got.dtype == np.float32
        assert np.array_equal(got, labels[:4])

    def test_labels_of_no_columns_are_none(self, tmp_path: Path) -> None:
        write_set(tmp_path)
        write_labels(tmp_path, np.zeros((6, 0), np.float32))
        assert opened(tmp_path).labels is None


def write_labels(folder: Path, labels: NDArray[Any]) -> Path:
    file = folder / "cats-rxx.labels"
    with file.open("wb") as stream:
        np.save(stream, labels)
    return file


class TestFolder:
    @pytest.mark.parametrize("path", ["nothing", "cats-r03.tfrecords"])
    def test_no_folder(self, tmp_path: Path, path: str) -> None:
        write_set(tmp_path)
        refused(lambda: opened(tmp_path / path), path, "is no folder; give --from")

    def test_no_tfrecords(self, tmp_path: Path) -> None:
        refused(lambda: opened(tmp_path), str(tmp_path), "no files <name>-rNN.tfrecords")

    def test_two_sets(self, tmp_path: Path) -> None:
        write_set(tmp_path)
        write(tmp_path / "dogs-r02.tfrecords", pixels(6, 3, 4, 4))
        refused(lambda: opened(tmp_path), "holds cats, dogs; give --from")

    def test_a_missing_level(self, tmp_path: Path) -> None:
        write_set(tmp_path)
        write(tmp_path / "cats-r05.tfrecords", pixels(6, 3, 32, 32))
        refused(lambda: opened(tmp_path), "cats-r04.tfrecords is missing; a set needs all levels")

    @pytest.mark.parametrize("level", ["11", "99", "01"])
    def test_a_resolution_that_is_not_supported(self, tmp_path: Path, level: str) -> None:
        (tmp_path / f"cats-r{level}.tfrecords").touch()
        refused(lambda: opened(tmp_path), f"cats-r{level}", "must be from r02 to r10")

    def test_counts_that_differ(self, tmp_path: Path) -> None:
        write_set(tmp_path)
        write(tmp_path / "cats-r02.tfrecords", pixels(5, 3, 4, 4))
        refused(
            lambda: opened(tmp_path), "cats-r02.tfrecords holds 5 records and cats-r03.tfrecords 6"
        )

    def test_a_missing_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_set(tmp_path)
        monkeypatch.setitem(sys.modules, "tfrecord", None)
        refused(lambda: opened(tmp_path), "pip install 'pgbench[official]'")

    @pytest.mark.parametrize(
        "labels",
        [
            np.zeros((5, 3), np.float32),
            np.zeros((6, 3, 1), np.float32),
            np.zeros((6, 3), np.complex64),
            np.float32(1),
        ],
    )
    def test_labels_of_another_kind(self, tmp_path: Path, labels: NDArray[Any]) -> None:
        write_set(tmp_path)
        write_labels(tmp_path, labels)
        refused(lambda: opened(tmp_path), "cats-rxx.labels holds", "for each of 6 images")

    @pytest.mark.parametrize("keep", [0, 5, 60, 150])
    def test_truncated_labels(self, tmp_path: Path, keep: int) -> None:
        write_set(tmp_path)
        file = write_labels(tmp_path, np.eye(6, dtype=np.float32))
        file.write_bytes(file.read_bytes()[:keep])
        refused(lambda: opened(tmp_path), "cats-rxx.labels cannot be read as a plain .npy")

    def test_labels_are_never_unpickled(self, tmp_path: Path) -> None:
        class Bomb:
            def __reduce__(self) -> tuple[object, ...]:
                return Path.touch, (tmp_path / "exploded",)

        write_set(tmp_path)
        write_labels(tmp_path, np.array([Bomb()] * 6, dtype=object))
        refused(lambda: opened(tmp_path), "cats-rxx.labels cannot be read as a plain .npy")
        assert not (tmp_path / "exploded").exists()


class TestDamage:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """The 8x8 level of six pictures."""
        write_set(tmp_path)
        file = tmp_path / "cats-r03.tfrecords"
        assert file.stat().st_size == 6 * RECORD
        return file

    @pytest.mark.parametrize("keep", [0, 7, 11])
    def test_truncated_in_the_first_length(self, file: Path, keep: int) -> None:
        file.write_bytes(file.read_bytes()[:keep])
        refused(lambda: opened(file.parent), str(file), "record 0, counted from 0, is truncated")

    @pytest.mark.parametrize("keep", [12, 100, 4 * RECORD + 1, 5 * RECORD - 1])
    def test_truncated_in_a_record(self, file: Path, keep: int) -> None:
        file.write_bytes(file.read_bytes()[:keep])
        refused(lambda: opened(file.parent), str(file), f"record {keep // RECORD}, counted from 0")

    def test_truncated_after_a_record(self, file: Path) -> None:
        file.write_bytes(file.read_bytes()[: 4 * RECORD])
        refused(lambda: opened(file.parent), "holds 6 records and cats-r03.tfrecords 4")

    @pytest.mark.parametrize("place", [3 * RECORD, 3 * RECORD + 7, 3 * RECORD + 11])
    def test_a_wrong_checksum_of_a_length(self, file: Path, place: int) -> None:
        damage(file, place, b"\x99")
        read = opened(file.parent).read
        read(2)
        refused(lambda: read(3), str(file), "record 3, counted", "checksum of its length is wrong")

    @pytest.mark.parametrize("place", [3 * RECORD + 12, 3 * RECORD + 80, 4 * RECORD - 1])
    def test_a_wrong_checksum_of_data(self, file: Path, place: int) -> None:
        damage(file, place, bytes([file.read_bytes()[place] ^ 1]))
        read = opened(file.parent).read
        read(4)
        refused(lambda: read(3), str(file), "record 3, counted", "checksum of its data is wrong")

    def test_damage_in_the_first_record_is_found_at_once(self, file: Path) -> None:
        damage(file, 50, b"\x00\x01\x02")
        refused(lambda: opened(file.parent), str(file), "record 0, counted", "checksum of its data")

    def test_damage_stops_the_build_and_leaves_nothing(self, file: Path, tmp_path: Path) -> None:
        damage(file, 3 * RECORD + 80, b"\x00\x01\x02")
        refused(lambda: build_pictures(tmp_path / "store", opened(tmp_path)), "record 3, counted")
        assert not (tmp_path / "store").exists()

    @pytest.mark.parametrize("length", [0, 64, 1400, 2**31, 2**63, 2**64 - 1])
    @pytest.mark.parametrize("record", [0, 3])
    def test_lengths_that_lie(self, file: Path, length: int, record: int) -> None:
        """With a right checksum; nothing of that size is reserved."""
        head = struct.pack("<Q", length)
        damage(file, record * RECORD, head + TFRecordWriter.masked_crc(head))
        expected = f"{length} bytes long" if record == 0 else f"is not {RECORD} bytes as the first"
        refused(lambda: opened(file.parent).read(record), f"record {record}, counted", expected)

    @pytest.mark.parametrize(
        ("shape", "why"),
        [
            ((3, 4, 16), "is (3, 4, 16), not (3, 8, 8)"),
            ((12, 4, 4), "is (12, 4, 4), not (3, 8, 8)"),
            ((1, 8, 8), "holds 192 bytes of data for the shape (1, 8, 8)"),
            ((3, 8, 9), "holds 192 bytes of data for the shape (3, 8, 9)"),
            ((3, -8, -8), "holds 192 bytes of data for the shape (3, -8, -8)"),
            ((3, 8, 8, 1), "three integers as shape"),
            ((192,), "three integers as shape"),
        ],
    )
    def test_a_wrong_shape(self, file: Path, shape: tuple[int, ...], why: str) -> None:
        write(file, pixels(6, 3, 8, 8), shape=(list(shape), "int"))
        refused(lambda: opened(file.parent), str(file), "record 0, counted from 0", why)

    def test_pictures_of_another_level(self, file: Path) -> None:
        write(file, pixels(6, 1, 4, 4))
        refused(lambda: opened(file.parent), str(file), "record 0", "picture of 8x8 pixels")

    def test_an_example_of_something_else(self, file: Path) -> None:
        write(file, pixels(6, 3, 8, 8), data=([0.5] * 40, "float"))
        refused(lambda: opened(file.parent), "record 0, counted from 0, lacks one string of bytes")
