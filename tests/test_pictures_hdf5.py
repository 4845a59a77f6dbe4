"""HDF5 files, written by h5py: every level as stored, hostile and damaged files refused."""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from pgbench import pictures_hdf5
from pgbench.pictures_hdf5 import open_hdf5
from pgbench.prepare import SHARD, Pictures, build_pictures

Change = Callable[[h5py.File], object]


def pixels(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(shape).integers(0, 256, shape, np.uint8)


def write(
    path: Path, num_images: int = 6, *, channels: int = 3, **storage: Any
) -> dict[int, NDArray[np.uint8]]:
    """Levels of 8x8 to 1x1 that are no means of each other, gzipped."""
    made = {side: pixels(num_images, channels, side, side) for side in (8, 4, 2, 1)}
    with h5py.File(path, "w") as file:
        for side, images in made.items():
            options = {"compression": "gzip"} | storage
            file.create_dataset(f"data{side}x{side}", data=images, **options)
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sound file of six pictures."""
    write(tmp_path / "cats.h5")
    return tmp_path / "cats.h5"


def opened(path: Path, **options: Any) -> Pictures:
    return open_hdf5(path, **{"name": "cats", "mirror": True} | options)


def replace(path: Path, change: Change, *, name: str = "data4x4") -> None:
    """Let `change` put something else in the place of one level."""
    with h5py.File(path, "r+") as file:
        del file[name]
        change(file)


def refused(call: Callable[[], object], *why: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the words are compared below
        call()
    assert all(part in str(caught.value) for part in why), str(caught.value)
    assert "\n" not in str(caught.value)


class TestRead:
    @pytest.mark.parametrize(
        "storage",
        [
            {},
            {"chunks": (4, 1, 4, 2), "maxshape": (None, 3, None, None)},
            {"shuffle": True, "fletcher32": True},
            {"compression": None},
        ],
    )
    def test_every_level_is_as_stored(self, tmp_path: Path, storage: dict[str, Any]) -> None:
        made = {}
        with h5py.File(tmp_path / "cats.h5", "w") as file:
            for side in (8, 4):
                made[side] = pixels(6, 3, side, side)
                options = {"compression": "gzip"} | storage
                file.create_dataset(f"data{side}x{side}", data=made[side], **options)
        pictures = opened(tmp_path / "cats.h5")
        assert list(pictures.levels) == [4]
        for index in (5, 0, 3):  # in any order
            assert np.array_equal(pictures.read(index), made[8][index])
            assert np.array_equal(pictures.levels[4](index), made[4][index])

    def test_says_what_it_is(self, path: Path) -> None:
        assert vars(opened(path, max_images=4).draft) == {
            **{"name": "cats", "source": "HDF5 cats.h5", "crop": "as stored"},
            **{"resolution": 8, "num_images": 4, "mirror": True},
        }
        assert opened(path, max_images=100).draft.num_images == 6

    def test_worker_processes_build_the_store(self, tmp_path: Path) -> None:
        made = write(tmp_path / "cats.h5", SHARD + 2)
        store = build_pictures(tmp_path / "store", opened(tmp_path / "cats.h5"))
        for side in (8, 4):
            assert np.array_equal(store.level(side)[:], made[side])

    def test_readers_can_be_pickled(self, tmp_path: Path) -> None:
        made = write(tmp_path / "cats.h5")
        pictures = opened(tmp_path / "cats.h5")
        pictures.read(0)
        assert np.array_equal(pickle.loads(pickle.dumps(pictures.read))(2), made[8][2])

    @pytest.mark.parametrize("rows", [1, 5, 7, 64])
    def test_a_chunk_is_read_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
    ) -> None:
        """In blocks of whole chunks, as many as fit; the last one is not full."""
        monkeypatch.setattr(pictures_hdf5, "_BLOCK_BYTES", 16 * 3 * 8 * 8)
        path = tmp_path / "cats.h5"
        images = pixels(70, 3, 8, 8)
        with h5py.File(path, "w") as file:
            file.create_dataset("data8x8", data=images, chunks=(rows, 3, 8, 8))
            file.create_dataset("data4x4", data=images[:, :, :4, :4])
        pictures = opened(path)
        before = pictures_hdf5._block.cache_info().misses
        read = np.stack([pictures.read(index) for index in range(70)])
        assert np.array_equal(read, images)
        blocks = {1: 5, 5: 5, 7: 5, 64: 2}[rows]  # of 16, 15, 14 and 64 images
        assert pictures_hdf5._block.cache_info().misses - before == blocks

    def test_a_file_in_its_place_is_another_one(self, path: Path) -> None:
        before = opened(path).read(0)
        path.unlink()
        images = 255 - before[None].repeat(6, axis=0)
        with h5py.File(path, "w") as file:
            file["data8x8"], file["data4x4"] = images, images[:, :, :4, :4]
        assert np.array_equal(opened(path).read(0), 255 - before)

    def test_grey_is_replicated(self, tmp_path: Path) -> None:
        made = write(tmp_path / "digits.h5", channels=1)
        image = opened(tmp_path / "digits.h5").read(1)
        assert image.shape == (3, 8, 8)
        assert (image == made[8][1]).all()

    @pytest.mark.parametrize(
        "labels", [np.arange(6), np.eye(6, dtype=np.float32), np.ones((6, 40), np.int8)]
    )
    def test_labels_are_kept(self, path: Path, labels: NDArray[Any]) -> None:
        np.save(path.with_name("cats-labels.npy"), labels)
        got = opened(path, max_images=4).labels
        assert got is not None
        assert got.dtype == labels.dtype
        assert np.array_equal(got, labels[:4])

    def test_labels_of_another_count_are_refused(self, path: Path) -> None:
        np.save(path.with_name("cats-labels.npy"), np.arange(5))
        refused(lambda: opened(path), "cats-labels.npy holds int64 (5,)", "each of 6 images")


class TestContent:
    def test_a_missing_level(self, path: Path) -> None:
        replace(path, lambda file: file.create_dataset("data16x16", data=pixels(6, 3, 16, 16)))
        refused(lambda: opened(path), str(path), "has no data4x4; a file needs all levels down to")

    @pytest.mark.parametrize("names", [[], ["images"], ["data8x4", "data08x08", "xdata8x8"]])
    def test_no_levels(self, tmp_path: Path, names: list[str]) -> None:
        with h5py.File(tmp_path / "cats.h5", "w") as file:
            for name in names:
                file[name] = pixels(6, 3, 8, 8)
        refused(lambda: opened(tmp_path / "cats.h5"), "there is no data{R}x{R}", "give --from")

    @pytest.mark.parametrize("side", [2, 12, 2048])
    def test_a_resolution_that_is_not_supported(self, tmp_path: Path, side: int) -> None:
        with h5py.File(tmp_path / "cats.h5", "w") as file:
            file[f"data{side}x{side}"] = np.zeros(1)
        refused(lambda: opened(tmp_path / "cats.h5"), f"the largest is data{side}x{side}")

    @pytest.mark.parametrize(
        "images",
        [
            np.zeros((6, 3, 4, 4), np.float32),
            np.zeros((6, 3, 4, 4), np.int8),
            np.zeros((6, 4, 4, 3), np.uint8),
            np.zeros((6, 3, 8, 8), np.uint8),
            np.zeros((3, 4, 4), np.uint8),
            np.uint8(1),
        ],
    )
    def test_pixels_of_another_kind(self, path: Path, images: NDArray[Any]) -> None:
        replace(path, lambda file: file.create_dataset("data4x4", data=images))
        refused(lambda: opened(path), f"{images.dtype} {images.shape} in data4x4 instead of uint8")

    def test_texts_and_empty_datasets(self, path: Path) -> None:
        replace(path, lambda file: file.create_dataset("data4x4", data="cats"))
        refused(lambda: opened(path), str(path), "in data4x4 instead of uint8")
        replace(path, lambda file: file.create_dataset("data4x4", data=h5py.Empty("u1")))
        refused(lambda: opened(path), str(path), "in data4x4 instead of uint8")

    def test_counts_that_differ(self, path: Path) -> None:
        replace(path, lambda file: file.create_dataset("data4x4", data=pixels(5, 3, 4, 4)))
        refused(lambda: opened(path), "holds 6 images in data8x8 and 5 in data4x4")

    def test_no_images(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "cats.h5", "w") as file:
            file["data4x4"] = np.zeros((0, 3, 4, 4), np.uint8)
        refused(lambda: opened(tmp_path / "cats.h5"), "is incomplete: data4x4")


class TestHostile:
    def test_links_are_refused(self, path: Path) -> None:
        other = path.with_name("other.h5")
        write(other)
        links = [
            h5py.ExternalLink(str(other), "/data4x4"),
            h5py.SoftLink("/data8x8"),
            h5py.SoftLink("/nowhere"),
            h5py.ExternalLink("/nowhere", "/data4x4"),
        ]
        for link in links:
            replace(path, lambda file, link=link: file.update({"data4x4": link}))
            refused(lambda: opened(path), str(path), "data4x4 is no dataset but a link or a group")

    def test_a_group_is_refused(self, path: Path) -> None:
        replace(path, lambda file: file.create_group("data4x4"))
        refused(lambda: opened(path), "data4x4 is no dataset but a link or a group")

    def test_pixels_in_other_files_are_refused(self, path: Path) -> None:
        outside = path.with_name("secret")
        outside.write_bytes(bytes(6 * 3 * 4 * 4))
        place = [(str(outside), 0, h5py.h5f.UNLIMITED)]
        replace(
            path, lambda file: file.create_dataset("data4x4", (6, 3, 4, 4), "u1", external=place)
        )
        refused(lambda: opened(path), str(path), "data4x4 lies in other files")

    def test_virtual_datasets_are_refused(self, path: Path) -> None:
        layout = h5py.VirtualLayout((6, 3, 4, 4), "u1")
        layout[:] = h5py.VirtualSource(str(path.with_name("other.h5")), "data4x4", (6, 3, 4, 4))
        replace(path, lambda file: file.create_virtual_dataset("data4x4", layout))
        refused(lambda: opened(path), str(path), "data4x4 lies in other files")

    def test_other_filters_are_refused(self, path: Path) -> None:
        made = pixels(6, 3, 4, 4)
        replace(path, lambda file: file.create_dataset("data4x4", data=made, compression="lzf"))
        refused(lambda: opened(path), "packed by other means than gzip")

    @pytest.mark.parametrize("chunks", [None, (256, 3, 8, 8)])
    def test_pictures_that_were_never_written_are_refused(
        self, path: Path, chunks: tuple[int, ...] | None
    ) -> None:
        """A file of kilobytes that would fill any disk with zeros."""
        shape = (10**9, 3, 8, 8)
        replace(
            path,
            lambda file: file.create_dataset("data8x8", shape, "u1", chunks=chunks),
            name="data8x8",
        )
        assert path.stat().st_size < 20_000
        refused(lambda: opened(path), "is incomplete: data8x8 lacks some of (1000000000, 3, 8, 8)")

    def test_chunks_that_fill_the_memory_are_refused(self, path: Path) -> None:
        shape = (2**22, 3, 8, 8)
        replace(
            path,
            lambda file: file.create_dataset("data8x8", shape, "u1", chunks=shape),
            name="data8x8",
        )
        refused(lambda: opened(path), "data8x8 has chunks of (4194304, 3, 8, 8), more than")


class TestDamage:
    @pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.9, 0.999])
    def test_truncated(self, path: Path, part: float) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(part * len(content))])
        refused(lambda: opened(path), str(path), "cannot be read as HDF5", "fetch the file again")

    @pytest.mark.parametrize("content", [b"x" * 4096, b"\x89HDF\r\n\x1a\n" + bytes(4096)])
    def test_something_else(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        refused(lambda: opened(path), str(path), "cannot be read as HDF5")

    def test_a_damaged_chunk_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "cats.h5"
        images = pixels(6, 3, 8, 8)
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset(
                "data8x8", data=images, chunks=(6, 3, 8, 8), fletcher32=True
            )
            file["data4x4"] = images[:, :, :4, :4]
            place = dataset.id.get_chunk_info(0).byte_offset
        content = bytearray(path.read_bytes())
        content[place + 20] ^= 255
        path.write_bytes(content)
        refused(
            lambda: build_pictures(tmp_path / "store", opened(path)),
            f"{path}, images 0 to 5 of data8x8, cannot be read as HDF5",
        )
        assert not (tmp_path / "store").exists()

    @pytest.mark.parametrize("name", ["nothing.h5", "."])
    def test_no_file(self, tmp_path: Path, name: str) -> None:
        refused(lambda: opened(tmp_path / name), "is no file; give --from the HDF5 file")

    def test_a_missing_package(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "h5py", None)
        refused(lambda: opened(path), "pip install 'pgbench[official]'")
