"""TFRecords are written byte by byte as their public definition says, and read back the same."""

import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tfrecord
from numpy.typing import NDArray

from pgbench import scenes
from pgbench.data import ImageStore
from pgbench.pictures_tfrecords import open_tfrecords
from pgbench.prepare import Pictures, StoreDraft, build_pictures
from pgbench.tfrecords import decoded, encoded, framed, write_tfrecords

BOTH = ("data", "shape")


def crc32c(data: bytes) -> int:
    """Castagnoli's polynomial, reflected, one bit after another."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)


def record(payload: bytes) -> bytes:
    length = struct.pack("<Q", len(payload))
    return length + masked(length) + payload + masked(payload)


def varint(number: int) -> bytes:
    low, rest = number % 128, number // 128
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def field(number: int, content: bytes) -> bytes:
    """A field of a protobuf that holds bytes, a text, a message or packed numbers."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(image: NDArray[np.uint8], order: tuple[str, ...] = BOTH) -> bytes:
    """Example {features: {feature: {name: {bytes_list 1 | int64_list 3: {value 1}}}}}."""
    kinds = {
        "data": field(1, field(1, image.tobytes())),
        "shape": field(3, field(1, b"".join(map(varint, image.shape)))),
    }
    entries = (field(1, name.encode()) + field(2, kinds[name]) for name in order)
    return field(1, b"".join(field(1, entry) for entry in entries))


def pixels(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(shape).integers(0, 256, shape, np.uint8)


def write_by_hand(
    folder: Path, name: str, levels: dict[int, NDArray[np.uint8]], **how: Any
) -> None:
    folder.mkdir()
    for log2, images in levels.items():
        content = b"".join(record(example(image, **how)) for image in images)
        (folder / f"{name}-r{log2:02d}.tfrecords").write_bytes(content)


def make_store(out: Path, num_images: int = 5, *, labels: NDArray[Any] | None = None) -> ImageStore:
    draft = StoreDraft("drawn", "scenes", "none", 16, num_images, mirror=False)
    read = partial(scenes.render, 0, resolution=16)
    return build_pictures(out, Pictures(draft, read, labels=labels))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(call: Callable[[], object], why: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the words are compared below
        call()
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


class TestFormat:
    def test_the_transcription_has_the_published_check_value(self) -> None:
        assert crc32c(b"123456789") == 0xE3069283

    def test_a_record_of_cifar10_is_3127_bytes(self) -> None:
        made = framed(encoded(pixels(3, 32, 32)))
        assert len(made) == 12 + 3111 + 4
        assert 50_000 * len(made) == 156_350_000

    @pytest.mark.parametrize("side", [4, 8, 16, 128])
    def test_records_are_those_by_hand(self, side: int) -> None:
        image = pixels(3, side, side)
        assert encoded(image) == example(image)
        short = encoded(image)[:500]  # by hand a byte takes a while
        assert framed(short) == record(short)

    @pytest.mark.parametrize("order", [("data", "shape"), ("shape", "data")])
    def test_either_order_of_the_features_is_read(self, order: tuple[str, ...]) -> None:
        image = pixels(3, 8, 8)
        assert np.array_equal(decoded(example(image, order)), image)

    def test_the_package_reads_what_is_written(self, tmp_path: Path) -> None:
        store = make_store(tmp_path / "store")
        write_tfrecords(store, tmp_path / "out")
        file = str(tmp_path / "out" / "drawn-r03.tfrecords")
        kinds = {"data": "byte", "shape": "int"}
        read = list(tfrecord.tfrecord_loader(file, None, kinds))
        assert [list(each["shape"]) for each in read] == [[3, 8, 8]] * 5
        assert b"".join(bytes(each["data"]) for each in read) == store.level(8)[:].tobytes()

    @pytest.mark.parametrize(
        ("payload", "why"),
        [
            (b"\xff" * 20, "is no tf.train.Example"),
            (b"", "lacks the feature data or shape"),
            (example(pixels(3, 4, 4), ("data",)), "lacks the feature data or shape"),
            (example(pixels(4, 4)), "three integers as shape"),
            (example(pixels(3, 4, 4)).replace(b"\3\4\4", b"\3\4\5"), "48 bytes of data for the"),
            (example(pixels(3, 4, 4)).replace(b"\3\4\4", b"\3\0\5"), "for the shape (3, 0, 5)"),
        ],
    )
    def test_other_payloads_are_refused(self, payload: bytes, why: str) -> None:
        refused(lambda: decoded(payload), why)


class TestWrite:
    def test_files_are_those_by_hand(self, tmp_path: Path) -> None:
        store = make_store(tmp_path / "store", 2)
        write_by_hand(tmp_path / "hand", "drawn", {k: store.level(2**k)[:] for k in (4, 3, 2)})
        write_tfrecords(store, tmp_path / "out")
        assert files(tmp_path / "out") == files(tmp_path / "hand")

    def test_there_and_back_is_the_same_store(self, tmp_path: Path) -> None:
        labels = np.eye(10, dtype=np.float32)[[3, 1, 4, 1, 5]]
        store = make_store(tmp_path / "store", labels=labels)
        write_tfrecords(store, tmp_path / "out")
        back = build_pictures(
            tmp_path / "back", open_tfrecords(tmp_path / "out", name="again", mirror=False)
        )
        assert back.info.fingerprint == store.info.fingerprint
        assert back.labels is not None
        assert np.array_equal(back.labels, labels)

    def test_files_by_hand_there_and_back_are_the_same_bytes(self, tmp_path: Path) -> None:
        """Levels that are no means of each other: they are taken as they are."""
        made = {k: pixels(3, 3, 2**k, 2**k) for k in (3, 2)}
        write_by_hand(tmp_path / "hand", "set", made)
        np.save(tmp_path / "labels.npy", np.eye(3, dtype=np.float32))
        (tmp_path / "labels.npy").rename(tmp_path / "hand" / "set-rxx.labels")
        pictures = open_tfrecords(tmp_path / "hand", name="set", mirror=False)
        write_tfrecords(build_pictures(tmp_path / "store", pictures), tmp_path / "out")
        assert files(tmp_path / "out") == files(tmp_path / "hand")

    def test_integers_become_one_hot(self, tmp_path: Path) -> None:
        labels = np.array([2, 0, 1, 2, 2], np.int64)
        write_tfrecords(make_store(tmp_path / "store", labels=labels), tmp_path / "out")
        written = np.load(tmp_path / "out" / "drawn-rxx.labels", allow_pickle=False)
        assert written.dtype == np.float32
        assert written.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]

    def test_rows_of_attributes_are_kept(self, tmp_path: Path) -> None:
        labels = np.array([[1, -1], [1, 1], [-1, 1], [-1, -1], [1, 1]], np.int8)
        write_tfrecords(make_store(tmp_path / "store", labels=labels), tmp_path / "out")
        written = np.load(tmp_path / "out" / "drawn-rxx.labels", allow_pickle=False)
        assert written.dtype == np.float32
        assert np.array_equal(written, labels)

    @pytest.mark.parametrize(
        "labels",
        [
            np.array([0, 1, 2, 3, -1]),
            np.array([0, 1, 2, 3, 2**40]),
            np.zeros(5, np.float32),
            np.zeros((5, 2), np.float64),
            np.zeros((5, 2, 2), np.float32),
        ],
    )
    def test_other_labels_are_refused(self, tmp_path: Path, labels: NDArray[Any]) -> None:
        store = make_store(tmp_path / "store", labels=labels)
        refused(lambda: write_tfrecords(store, tmp_path / "out"), "which TFRecords do not hold")
        assert not (tmp_path / "out").exists()

    def test_progress_ends_at_one(self, tmp_path: Path, tiny_store: ImageStore) -> None:
        told: list[float] = []
        write_tfrecords(tiny_store, tmp_path / "new" / "out", progress=told.append)
        assert told == sorted(told)
        assert told[-1] == 1.0

    def test_what_is_there_is_not_overwritten(self, tmp_path: Path, tiny_store: ImageStore) -> None:
        refused(lambda: write_tfrecords(tiny_store, tmp_path), "exists already; choose another")

    def test_an_interrupt_leaves_nothing(self, tmp_path: Path, tiny_store: ImageStore) -> None:
        def interrupt(done: float) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_tfrecords(tiny_store, tmp_path / "out", progress=interrupt)
        assert list(tmp_path.iterdir()) == []

    def test_a_missing_package_is_told(
        self, tmp_path: Path, tiny_store: ImageStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "tfrecord", None)
        refused(lambda: write_tfrecords(tiny_store, tmp_path / "out"), "pip install 'pgbench[off")
        assert list(tmp_path.iterdir()) == []
