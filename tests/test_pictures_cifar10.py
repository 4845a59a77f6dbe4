"""CIFAR-10's pickles give their pixels and labels, run nothing, and are refused when odd."""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from pgbench import pictures_cifar10
from pgbench.pictures_cifar10 import open_cifar10
from pgbench.prepare import build_pictures

NAMES = [f"data_batch_{k}" for k in range(1, 6)]
SIZES = (3, 1, 2, 2, 4)  # pictures in each batch
RNG = np.random.default_rng(0)
BATCHES = [RNG.integers(0, 256, (size, 3072), np.uint8) for size in SIZES]
LABELS = [RNG.integers(0, 10, size).tolist() for size in SIZES]
ALL_LABELS = [label for labels in LABELS for label in labels]


def modern(data: np.ndarray, labels: Any, *, protocol: int = 4) -> bytes:
    content = {b"batch_label": b"a batch", b"labels": labels, b"data": data}
    return pickle.dumps(content | {b"filenames": [b"a.png"] * len(data)}, protocol)


def python2(data: np.ndarray, labels: list[int], *, fortran: bool = False) -> bytes:
    """The stream that Python 2 with NumPy 1 writes: byte strings, memo, array state last."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    pixels = data.tobytes("F" if fortran else "C")
    parts = [
        b"\x80\x02}q\x01(" + text(b"batch_label") + b"q\x02" + text(b"training batch 1 of 5"),
        b"q\x03" + text(b"labels") + b"q\x04]q\x05(" + b"".join(b"K%c" % k for k in labels),
        b"e" + text(b"data") + b"q\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\n",
        b"ndarray\nq\x08K\x00\x85q\x09" + text(b"b") + b"\x87Rq\x0a(K\x01K%c" % len(data),
        b"M\x00\x0c\x86cnumpy\ndtype\nq\x0b" + text(b"u1") + b"K\x00K\x01\x87Rq\x0c(K\x03",
        text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
        (b"\x88" if fortran else b"\x89") + b"T" + struct.pack("<i", len(pixels)) + pixels,
        b"tb" + text(b"filenames") + b"q\x0d]q\x0e(" + text(b"a.png") + b"q\x0fh\x0feu.",
    ]
    return b"".join(parts)


WRITERS: dict[str, Callable[..., bytes]] = {
    "python 2": python2,
    "python 2, Fortran": lambda data, labels: python2(data, labels, fortran=True),
    **{
        f"protocol {k}": lambda data, labels, k=k: modern(data, labels, protocol=k)
        for k in range(2, 6)
    },
    "protocol 2, Fortran": lambda data, labels: modern(np.asfortranarray(data), labels, protocol=2),
    "protocol 5, Fortran": lambda data, labels: modern(np.asfortranarray(data), labels, protocol=5),
}


def files(write: Callable[..., bytes] = modern) -> dict[str, bytes]:
    return {
        name: write(data, labels) for name, data, labels in zip(NAMES, BATCHES, LABELS, strict=True)
    }


def folder(place: Path, content: Mapping[str, bytes]) -> Path:
    path = place / "cifar-10-batches-py"
    path.mkdir()
    for name, data in content.items():
        (path / name).write_bytes(data)
    return path


def tar(content: Mapping[str, bytes], *, inside: str = "cifar-10-batches-py/") -> bytes:
    """A tar in the published order, which is not that of the numbers."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in sorted(content, key=lambda name: hashlib.md5(name.encode()).digest()):
            member = tarfile.TarInfo(inside + name)
            member.size = len(content[name])
            archive.addfile(member, io.BytesIO(content[name]))
    return packed.getvalue()


def archive(place: Path, content: Mapping[str, bytes], **options: str) -> Path:
    path = place / "cifar-10-python.tar.gz"
    path.write_bytes(gzip.compress(tar(content, **options)))
    return path


def refused(path: Path, why: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the words are compared below
        open_cifar10(path)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def check(path: Path) -> None:
    pictures = open_cifar10(path)
    expected = np.concatenate(BATCHES).reshape(-1, 3, 32, 32)
    assert pictures.draft.num_images == len(expected) == 12
    for index, image in enumerate(expected):
        assert np.array_equal(pictures.read(index), image)
    assert pictures.labels is not None
    assert pictures.labels.dtype == np.uint8
    assert pictures.labels.tolist() == ALL_LABELS


class TestPixels:
    @pytest.mark.parametrize("writer", WRITERS)
    def test_are_those_that_were_pickled(self, writer: str, tmp_path: Path) -> None:
        check(folder(tmp_path, files(WRITERS[writer])))

    def test_the_python_2_stream_is_one(self) -> None:
        """Python itself reads it as the same dictionary."""
        read = pickle.loads(python2(BATCHES[0], LABELS[0]), encoding="bytes")
        assert np.array_equal(read[b"data"], BATCHES[0])
        assert read[b"labels"] == LABELS[0]
        assert read[b"filenames"] == [b"a.png", b"a.png"]

    def test_lie_in_the_archive_in_any_order(self, tmp_path: Path) -> None:
        check(archive(tmp_path, {"test_batch": b"never read", **files(python2)}))

    @pytest.mark.parametrize("inside", ["cifar-10-batches-py/", "./cifar-10-batches-py/"])
    def test_lie_in_an_unpacked_tar(self, inside: str, tmp_path: Path) -> None:
        path = tmp_path / "cifar-10-python.tar"
        path.write_bytes(tar(files(), inside=inside))
        check(path)

    @pytest.mark.parametrize("place", [archive, folder])
    def test_are_found_among_downloads(self, place: Callable[..., Path], tmp_path: Path) -> None:
        place(tmp_path, files())
        check(tmp_path)

    def test_become_a_store(self, tmp_path: Path) -> None:
        pictures = open_cifar10(archive(tmp_path, files()))
        store = build_pictures(tmp_path / "store", pictures)
        expected = np.concatenate(BATCHES).reshape(-1, 3, 32, 32)
        assert np.array_equal(store.level(32), expected)
        info = store.info
        assert (info.name, info.resolution, info.mirror) == ("cifar10", 32, False)
        assert info.source == "CIFAR-10 training batches of cifar-10-python.tar.gz"
        assert info.crop == "none"
        assert np.load(tmp_path / "store" / "labels.npy").tolist() == ALL_LABELS
        assert info.note.startswith("12 of the expected 50,000 pictures")

    def test_the_first_so_many(self, tmp_path: Path) -> None:
        pictures = open_cifar10(folder(tmp_path, files()), max_images=4)
        assert pictures.draft.num_images == 4
        assert pictures.labels is not None
        assert pictures.labels.tolist() == [*LABELS[0], *LABELS[1]]

    def test_are_read_in_other_processes_once_each(self, tmp_path: Path) -> None:
        pictures = open_cifar10(archive(tmp_path, files()))
        pictures_cifar10._images.cache_clear()
        for _ in range(3):
            again = pickle.loads(pickle.dumps(pictures.read))
            assert np.array_equal(again(11), pictures.read(11))
        assert pictures_cifar10._images.cache_info().misses == 1

    def test_that_changed_since_are_refused(self, tmp_path: Path) -> None:
        path = folder(tmp_path, files())
        read = open_cifar10(path).read
        (path / NAMES[0]).write_bytes(modern(BATCHES[0] ^ 1, LABELS[0]))
        with pytest.raises(ValueError, match="changed while it was read; try again"):
            read(0)


class TestNote:
    def test_says_what_is_not_as_published(self, tmp_path: Path) -> None:
        note = open_cifar10(folder(tmp_path, files())).note
        assert note == (
            "12 of the expected 50,000 pictures; not the published files, by MD5: "
            + ", ".join(NAMES)
        )

    def test_is_empty_for_the_published_ones(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = files()
        known = [[name, hashlib.md5(made[name]).hexdigest()] for name in NAMES]
        monkeypatch.setattr(CIFAR10, "train_list", known)
        monkeypatch.setattr(pictures_cifar10, "_NUM_IMAGES", 12)
        assert open_cifar10(folder(tmp_path, made)).note == ""


class TestPickles:
    @pytest.mark.parametrize(
        ("batch", "why"),
        [
            (b"", "is no batch of CIFAR-10"),
            (b"PK\x03\x04", "is no batch of CIFAR-10"),
            (python2(BATCHES[0], LABELS[0])[:-100], "is no batch of CIFAR-10"),
            (modern(BATCHES[0], LABELS[0])[:5000], "is no batch of CIFAR-10"),
            (pickle.dumps([1, 2]), "(it is no dictionary)"),
            (pickle.dumps({b"data": BATCHES[0]}), "(it has no 'labels')"),
            (pickle.dumps({b"labels": [1]}), "(it has no 'data')"),
            (modern(BATCHES[0].astype(np.int8), LABELS[0]), "(its data is no array of (N, 3072)"),
            (modern(BATCHES[0].astype(np.int8), LABELS[0], protocol=5), "no array of (N, 3072)"),
            (modern(BATCHES[0][:, :300], LABELS[0]), "(its data is no array of (N, 3072) uint8)"),
            (modern(BATCHES[0][:0], []), "(its data is no array of (N, 3072) uint8)"),
            (modern(BATCHES[0].tolist(), LABELS[0]), "(its data is no array)"),
            (modern(BATCHES[0], LABELS[0][1:]), "has no list of 3 labels from 0 to 9"),
            (modern(BATCHES[0], [1, 2, 10]), "has no list of 3 labels from 0 to 9"),
            (modern(BATCHES[0], [1, 2, True]), "has no list of 3 labels from 0 to 9"),
            (modern(BATCHES[0], np.array(LABELS[0])), "has no list of 3 labels from 0 to 9"),
            (modern(BATCHES[0], [1.5, 2, 3]), "(it has a part BINFLOAT)"),
            (pickle.dumps({(1, 2): 3}), "is no batch of CIFAR-10"),
            (pickle.dumps({b"k" * 101: 3}), "(it has too long a name)"),
            (b"\x80\x02K\x01t.", "is no batch of CIFAR-10"),  # a tuple without its mark
            (b"\x80\x02h\x05.", "is no batch of CIFAR-10"),  # nothing remembered there
            (b"\x80\x02\x87.", "(it is damaged)"),  # three values of an empty stack
        ],
    )
    def test_that_are_no_batch(self, batch: bytes, why: str, tmp_path: Path) -> None:
        refused(folder(tmp_path, files() | {NAMES[0]: batch}), why)

    def test_run_nothing(self, tmp_path: Path) -> None:
        class Bad:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (tmp_path / "ran",)

        for protocol in (2, 3, 4, 5):
            batch = pickle.dumps({b"data": Bad(), b"labels": [1]}, protocol)
            place = tmp_path / str(protocol)
            place.mkdir()
            refused(folder(place, files() | {NAMES[2]: batch}), "data_batch_3 of")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "batch",
        [
            b"\x80\x02K\x01" + b"".join(b"q%ch%c\x86" % (k, k) for k in range(200)) + b".",
            b"\x80\x02c_codecs\nencode\nq\x00X" + struct.pack("<I", 10**6) + b"a" * 10**6
            + b"X\x06\0\0\0latin1\x86q\x01]q\x02(" + b"h\x00h\x01R" * 100_000 + b"e.",
        ],
        ids=["a tuple of 2**200 numbers", "100 GB of the same text"],
    )  # fmt: skip
    def test_that_would_fill_the_memory_stay_small(self, batch: bytes, tmp_path: Path) -> None:
        refused(folder(tmp_path, files() | {NAMES[0]: batch}), "(it is no dictionary)")

    def test_of_too_many_parts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pictures_cifar10, "_MAX_OPCODES", 20)
        refused(folder(tmp_path, files()), "(it has too many parts)")


class TestPlaces:
    def test_nothing_there(self, tmp_path: Path) -> None:
        refused(tmp_path / "nope", "there is no ")

    def test_a_folder_without_a_batch(self, tmp_path: Path) -> None:
        content = files()
        del content[NAMES[3]]
        refused(folder(tmp_path, content), "holds no data_batch_4; give the archive cifar-10-")

    def test_an_archive_without_a_batch(self, tmp_path: Path) -> None:
        content = files()
        del content[NAMES[1]]
        refused(archive(tmp_path, content), "holds no data_batch_2; give the archive cifar-10-")

    @pytest.mark.parametrize("inside", ["cifar-100-python/", "../cifar-10-batches-py/", "/"])
    def test_an_archive_of_other_things(self, inside: str, tmp_path: Path) -> None:
        refused(archive(tmp_path, files(), inside=inside), "holds no data_batch_1")

    @pytest.mark.parametrize("kept", [0.1, 0.5, 0.999])
    def test_a_truncated_archive(self, kept: float, tmp_path: Path) -> None:
        path = archive(tmp_path, files())
        path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
        refused(path, "cannot be read as the archive cifar-10-python.tar.gz")

    def test_a_damaged_archive(self, tmp_path: Path) -> None:
        path = archive(tmp_path, files())
        data = bytearray(path.read_bytes())
        data[-6] ^= 1  # of the checksum at its end
        path.write_bytes(data)
        refused(path, "cannot be read as the archive cifar-10-python.tar.gz")

    @pytest.mark.parametrize("data", [b"", b"%PDF-1.4", b"\x1f\x8b", bytes(range(256)) * 8])
    def test_no_archive(self, data: bytes, tmp_path: Path) -> None:
        path = tmp_path / "cifar-10-python.tar.gz"
        path.write_bytes(data)
        refused(path, "cannot be read as the archive cifar-10-python.tar.gz")

    def test_an_archive_with_a_link_for_a_batch(self, tmp_path: Path) -> None:
        path = tmp_path / "links.tar"
        with tarfile.open(path, "w") as packed:
            member = tarfile.TarInfo(f"cifar-10-batches-py/{NAMES[0]}")
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
            packed.addfile(member)
        refused(path, "is refused: its data_batch_1 is no regular file")

    def test_what_unpacks_to_too_much(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pictures_cifar10, "_MAX_UNPACKED_BYTES", 100_000)
        content = files() | {"a bomb": bytes(2**20)}
        refused(archive(tmp_path, content), "it unpacks to more than 100,000 bytes")

    def test_a_batch_that_is_too_large(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pictures_cifar10, "_MAX_BATCH_BYTES", 10_000)
        refused(archive(tmp_path, files()), "bytes")
        refused(folder(tmp_path, files()), "bytes are too many for a batch")
