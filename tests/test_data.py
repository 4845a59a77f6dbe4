"""Reading a store, however damaged, and the sampler's endless order."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgbench.data import ImageStore, Sampler, StoreInfo, to_json
from pgbench.prepare import StoreDraft, build_composed


@pytest.fixture
def store(tiny_store: ImageStore, tmp_path: Path) -> Path:
    """A copy of the tiny store, to damage."""
    return Path(shutil.copytree(tiny_store.path, tmp_path / "store"))


def edit(store: Path, change: Callable[[dict[str, Any]], object]) -> None:
    info = json.loads((store / "dataset.json").read_text())
    change(info)
    (store / "dataset.json").write_text(json.dumps(info))


class TestOpen:
    def test_levels_are_mapped_not_read(self, store: Path) -> None:
        opened = ImageStore.open(store)
        for resolution in (16, 8, 4):
            level = opened.level(resolution)
            assert isinstance(level, np.memmap)
            assert level.shape == (192, 3, resolution, resolution)
            assert not level.flags.writeable

    def test_says_which_levels_there_are(self, store: Path) -> None:
        with pytest.raises(ValueError, match="no images of 32x32, only 16, 8, 4; prepare"):
            ImageStore.open(store).level(32)

    def test_its_description_is_written_as_read(self, store: Path) -> None:
        info = ImageStore.open(store).info
        assert to_json(info) == (store / "dataset.json").read_text()
        assert StoreInfo.model_validate_json(to_json(info)) == info

    def test_a_folder_of_something_else_names_the_command(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="pgbench data prepare folder --from") as caught:
            ImageStore.open(tmp_path)
        assert f"--from {tmp_path} --out" in str(caught.value)

    @pytest.mark.parametrize(
        "name", ["../../evil", "a/b", "", ".", "..", "A", "a\n", "é", "a" * 65]
    )
    def test_refuses_hostile_names(self, store: Path, name: str) -> None:
        edit(store, lambda info: info.update(name=name))
        refused(store, "name")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("schema", 2),
            ("num_images", 0),
            ("num_images", -1),
            ("num_images", 1.5),
            ("resolution", 24),
            ("resolution", 2048),
            ("fingerprint", {}),
            ("fingerprint", {"8": "f"}),
            ("fingerprint", {"../x": "f"}),
            ("mirror", "perhaps"),
            ("surprise", 1),
        ],
    )
    def test_refuses_hostile_fields(self, store: Path, field: str, value: object) -> None:
        edit(store, lambda info: info.update({field: value}))
        refused(store, "dataset.json is damaged")

    @pytest.mark.parametrize("field", ["name", "source", "crop", "num_images", "fingerprint"])
    def test_refuses_missing_fields(self, store: Path, field: str) -> None:
        edit(store, lambda info: info.pop(field))
        refused(store, field)

    @pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[]", b"[" * 100_000, b"null"])
    def test_refuses_what_is_no_description(self, store: Path, text: bytes) -> None:
        (store / "dataset.json").write_bytes(text)
        refused(store, "dataset.json is damaged")

    def test_refuses_a_missing_level(self, store: Path) -> None:
        (store / "8.npy").unlink()
        refused(store, "8.npy is missing or damaged")

    @pytest.mark.parametrize("keep", [0, 4, 60, 200, 1000])
    def test_refuses_a_truncated_level(self, store: Path, keep: int) -> None:
        (store / "8.npy").write_bytes((store / "8.npy").read_bytes()[:keep])
        refused(store, "8.npy is missing or damaged")

    @pytest.mark.parametrize(
        "images",
        [
            np.zeros((192, 3, 8, 8), np.float32),
            np.zeros((191, 3, 8, 8), np.uint8),
            np.zeros((192, 8, 8, 3), np.uint8),
        ],
    )
    def test_refuses_pixels_of_another_kind(
        self, store: Path, images: np.ndarray[Any, Any]
    ) -> None:
        np.save(store / "8.npy", images)
        refused(store, "instead of uint8 (192, 3, 8, 8)")

    def test_never_unpickles(self, store: Path, tmp_path: Path) -> None:
        class Bomb:
            def __reduce__(self) -> tuple[object, ...]:
                return Path.touch, (tmp_path / "exploded",)

        np.save(store / "8.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
        refused(store, "8.npy is missing or damaged")
        np.savez(store / "8.npz", a=np.zeros(1))
        shutil.move(store / "8.npz", store / "8.npy")
        refused(store, "8.npy is missing or damaged")
        assert not (tmp_path / "exploded").exists()

    def test_opens_a_store_of_before_notes_and_checksums(self, store: Path) -> None:
        new = ("labels_fingerprint", "composed", "note", "num_skipped", "skipped")
        edit(store, lambda info: [info.pop(field) for field in new])
        (store / "checksums.npy").unlink()
        assert ImageStore.open(store).info.note == ""
        assert ImageStore.open(store).labels is None

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("labels", "../labels.npy"),
            ("labels", "8.npy"),
            ("note", 7),
            ("composed", 2),
            ("num_skipped", -1),
            ("skipped", ["x"] * 1001),
        ],
    )
    def test_refuses_hostile_descriptions(self, store: Path, field: str, value: object) -> None:
        edit(store, lambda info: info.update({field: value}))
        refused(store, f"dataset.json is damaged ({field}")

    def test_refuses_labels_that_do_not_fit(self, store: Path) -> None:
        edit(store, lambda info: info.update(labels="labels.npy"))
        refused(store, "labels.npy is missing or damaged")
        np.save(store / "labels.npy", np.zeros(191))
        refused(store, "labels.npy holds 191 labels for 192 images")
        np.save(store / "labels.npy", np.float32(3))
        refused(store, "labels.npy is empty")
        np.save(store / "labels.npy", np.array([None] * 192), allow_pickle=True)
        refused(store, "labels.npy is missing or damaged")


@pytest.fixture
def composed(tmp_path: Path) -> Path:
    """A store of 6 images of 5 glyphs, to damage."""
    draft = StoreDraft("composed", "drawn", "none", 8, 6, mirror=False)
    glyphs = np.random.default_rng(0).integers(0, 256, (5, 8, 8), np.uint8)
    return build_composed(tmp_path / "store", draft, glyphs, np.arange(18).reshape(6, 3) % 5).path


class TestOpenComposed:
    @pytest.mark.parametrize(
        ("index", "why"),
        [
            (np.full((6, 3), 5, np.uint16), "index.npy names glyph 5 of 5, counted from 0"),
            (np.full((6, 3), 2**32 - 1, np.uint32), "index.npy names glyph 4294967295 of 5"),
            (np.zeros((6, 3), np.int16), "index.npy holds int16 (6, 3) instead of uint16"),
            (np.full((6, 3), -1), "index.npy holds int64 (6, 3) instead of uint16"),
            (np.zeros((6, 3), ">u2"), "index.npy holds >u2 (6, 3) instead of uint16"),
            (np.zeros((5, 3), np.uint16), "index.npy holds uint16 (5, 3) instead of uint16"),
            (np.zeros((6, 4), np.uint16), "index.npy holds uint16 (6, 4) instead of uint16"),
            (np.zeros((0, 3), np.uint16), "index.npy is empty"),
        ],
    )
    def test_refuses_a_hostile_index(
        self, composed: Path, index: np.ndarray[Any, Any], why: str
    ) -> None:
        np.save(composed / "index.npy", index)
        refused(composed, why)

    def test_refuses_a_missing_index(self, composed: Path) -> None:
        (composed / "index.npy").unlink()
        refused(composed, "index.npy is missing or damaged")

    @pytest.mark.parametrize("shape", [(5, 4, 8), (4, 4, 4), (6, 3, 4, 4), (5,)])
    def test_refuses_glyphs_of_another_kind(self, composed: Path, shape: tuple[int, ...]) -> None:
        np.save(composed / "4.npy", np.zeros(shape, np.uint8))
        refused(composed, "instead of uint8 (5, 4, 4)")

    def test_a_plain_store_is_no_composed_one(self, store: Path) -> None:
        edit(store, lambda info: info.update(composed=True))
        refused(store, "index.npy is missing or damaged")

    def test_what_is_read_is_no_part_of_the_store(self, composed: Path) -> None:
        level = ImageStore.open(composed).level(8)
        before = level[:]
        for where in (0, slice(0, 2), np.array([1])):
            level[where][:] = 0
        assert np.array_equal(level[:], before)


def refused(store: Path, why: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the words are compared below
        ImageStore.open(store)
    message = str(caught.value)
    assert why in message
    assert f"; remove {store} and prepare it again" in message
    assert "\n" not in message


def numbered(count: int) -> ImageStore:
    """A store in memory whose image i holds i at the left and 255 at the right."""
    images = np.zeros((count, 3, 4, 4), np.uint8)
    images[:, :, :, 0] = np.arange(count)[:, None, None]
    images[:, :, :, 3] = 255
    fields = {"name": "numbered", "source": "", "crop": "none", "mirror": True}
    sizes = {"resolution": 4, "num_images": count, "fingerprint": {4: ""}}
    info = StoreInfo.model_validate(fields | sizes)
    return ImageStore(Path("numbered"), info, {4: images})


def drawn(sampler: Sampler, position: int, count: int) -> tuple[list[int], list[bool]]:
    """Numbers of the images, and which ones are mirrored."""
    images = sampler.batch(position, count, resolution=4)
    flipped = images[:, 0, 0, 0] == 255
    return np.where(flipped, images[:, 0, 0, 3], images[:, 0, 0, 0]).tolist(), flipped.tolist()


class TestSampler:
    def test_an_epoch_holds_each_image_once(self) -> None:
        sampler = Sampler(numbered(50), num_images=None, mirror=True, seed=3)
        epochs = [drawn(sampler, 50 * epoch, 50)[0] for epoch in range(3)]
        assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
        assert epochs[0] != epochs[1] != epochs[2]

    def test_num_images_takes_the_first_ones(self) -> None:
        sampler = Sampler(numbered(50), num_images=7, mirror=False, seed=3)
        assert sorted(drawn(sampler, 7, 7)[0]) == list(range(7))

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.integers(1, 70), max_size=6), st.integers(0, 200))
    def test_any_split_gives_the_same_stream(self, counts: list[int], start: int) -> None:
        whole = Sampler(numbered(13), num_images=None, mirror=True, seed=5)
        split = Sampler(numbered(13), num_images=None, mirror=True, seed=5)
        parts = []
        position = start
        for count in counts:
            parts += [split.batch(position, count, resolution=4)]
            position += count
        if parts:
            expected = whole.batch(start, sum(counts), resolution=4)
            assert np.array_equal(np.concatenate(parts), expected)

    def test_may_go_back(self) -> None:
        sampler = Sampler(numbered(13), num_images=None, mirror=True, seed=5)
        first = drawn(sampler, 0, 20)
        drawn(sampler, 500, 20)
        assert drawn(sampler, 0, 20) == first

    def test_mirrors_half_of_them_anew_in_each_epoch(self) -> None:
        sampler = Sampler(numbered(200), num_images=None, mirror=True, seed=5)
        numbers, flips = drawn(sampler, 0, 2000)
        assert 0.45 < np.mean(flips) < 0.55  # 4.5 standard deviations
        first = [flip for number, flip in zip(numbers, flips, strict=True) if number == 0]
        assert len(first) == 10
        assert len(set(first)) == 2

    def test_mirrors_nothing_unless_asked(self) -> None:
        sampler = Sampler(numbered(200), num_images=None, mirror=False, seed=5)
        assert not any(drawn(sampler, 0, 400)[1])

    def test_seeds_differ(self) -> None:
        one, two = (
            Sampler(numbered(50), num_images=None, mirror=True, seed=seed) for seed in (0, 1)
        )
        assert drawn(one, 0, 50) != drawn(two, 0, 50)

    def test_the_order_is_the_same_at_every_resolution(self, tiny_store: ImageStore) -> None:
        sampler = Sampler(tiny_store, num_images=None, mirror=True, seed=0)
        fine = sampler.batch(5, 40, resolution=16).astype(np.float64)
        coarse = sampler.batch(5, 40, resolution=8)
        means = fine.reshape(40, 3, 8, 2, 8, 2).mean(axis=(3, 5))
        assert np.array_equal(np.rint(means), coarse)

    def test_batches_do_not_write_to_the_store(self, tiny_store: ImageStore) -> None:
        sampler = Sampler(tiny_store, num_images=None, mirror=True, seed=0)
        before = tiny_store.level(4)[:].copy()
        sampler.batch(0, 192, resolution=4)[:] = 0
        assert np.array_equal(tiny_store.level(4)[:], before)

    def test_asking_for_more_than_there_are_is_told(self) -> None:
        with pytest.raises(ValueError, match="holds 50 images and the run asks for 51; prepare"):
            Sampler(numbered(50), num_images=51, mirror=True, seed=0)
