"""What a store says of itself is what is in it, and damage is found and named."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pgbench import scenes
from pgbench.data import ImageStore
from pgbench.inspection import inspect_store, sheet, verify_store
from pgbench.prepare import Pictures, StoreDraft, build_composed, build_pictures

READ = partial(scenes.render, 0, resolution=8)


def pictures(**options: object) -> Pictures:
    draft = StoreDraft("drawn", "scenes", "none", 8, 20, mirror=False)
    return Pictures(draft, READ, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sound") / "store"
    return build_pictures(out, pictures(labels=np.arange(20) % 3)).path


@pytest.fixture
def store(sound: Path, tmp_path: Path) -> Path:
    """A copy, to damage."""
    return Path(shutil.copytree(sound, tmp_path / "store"))


@pytest.fixture
def composed(tmp_path: Path) -> Path:
    draft = StoreDraft("drawn", "glyphs", "none", 8, 20, mirror=False)
    glyphs = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    index = np.arange(60).reshape(20, 3)
    return build_composed(tmp_path / "composed", draft, glyphs, index).path


class TestInspect:
    def test_tells_everything(self, tmp_path: Path) -> None:
        made = pictures(note="20 of 30", skipped=("a.jpg",), labels=np.eye(4)[np.arange(20) % 3])
        out = build_pictures(tmp_path / "store", made).path
        found = json.loads(json.dumps(inspect_store(out)))
        images = np.stack([READ(i) for i in range(20)]).astype(np.float64)
        np.testing.assert_allclose(found.pop("mean"), images.mean((0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(found.pop("std"), images.std((0, 2, 3)), rtol=1e-12)
        assert found.pop("bytes") == sum(file.stat().st_size for file in out.iterdir())
        assert found.pop("fingerprint").keys() == {"8", "4"}
        assert found == {
            **{"schema": 1, "name": "drawn", "source": "scenes", "crop": "none", "resolution": 8},
            **{"num_images": 20, "mirror": False, "composed": False, "levels": [8, 4]},
            **{"note": "20 of 30", "num_skipped": 1, "skipped": ["a.jpg"]},
            "labels": {
                **{"shape": [20, 4], "dtype": "float64", "classes": 3},
                "counts": {"0": 7, "1": 7, "2": 6},
            },
        }

    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            (np.arange(20) % 3, {"classes": 3, "counts": {"0": 7, "1": 7, "2": 6}}),
            (-(np.arange(20) % 2), {"classes": 2, "counts": {"-1": 10, "0": 10}}),
            (np.ones((20, 2)), {}),
            (np.zeros((20, 2)), {}),
            (np.full(20, 0.5), {}),
            (np.zeros((20, 3), np.int8) - 1, {}),
        ],
    )
    def test_counts_classes_where_there_are_any(
        self, labels: NDArray[np.generic], expected: dict[str, object], tmp_path: Path
    ) -> None:
        out = build_pictures(tmp_path / "store", pictures(labels=labels)).path
        kind = {"shape": list(labels.shape), "dtype": str(labels.dtype)}
        assert inspect_store(out)["labels"] == kind | expected

    def test_too_many_classes_are_counted_together(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pgbench.inspection._MAX_CLASSES", 19)
        out = build_pictures(tmp_path / "store", pictures(labels=np.arange(20))).path
        assert inspect_store(out)["labels"] == {"shape": [20], "dtype": "int64", "classes": 20}

    def test_a_composed_store_tells_of_its_images(self, composed: Path) -> None:
        found = inspect_store(composed)
        glyphs = np.load(composed / "8.npy").reshape(20, 3, 8, 8).astype(np.float64)
        np.testing.assert_allclose(found["mean"], glyphs.mean((0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(found["std"], glyphs.std((0, 2, 3)), rtol=1e-12)
        assert (found["composed"], found["labels"]) == (True, None)

    def test_batches_make_no_difference(self, sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = inspect_store(sound)
        monkeypatch.setattr("pgbench.inspection._BATCH_BYTES", 3 * 3 * 8 * 8)
        done: list[float] = []
        assert inspect_store(sound, progress=done.append) == whole
        assert done == [*(pytest.approx(i / 20) for i in range(3, 20, 3)), 1.0]


class TestSheet:
    def test_images_are_spread_over_the_store(self, sound: Path) -> None:
        picture = sheet(ImageStore.open(sound), 4)
        assert picture.shape == (512, 512, 3)
        corner = picture[256::32, 256::32][:8, :8]  # of 2 x 2 images, the last: number 15 of 20
        assert np.array_equal(corner, READ(15).transpose(1, 2, 0))

    def test_few_images_are_all_shown(self, composed: Path) -> None:
        picture = sheet(ImageStore.open(composed), 64)  # 5 columns of 8 pixels, enlarged 12 times
        assert picture.shape == (4 * 8 * 12, 5 * 8 * 12, 3)
        last = picture[3 * 96 :: 12, 4 * 96 :: 12]
        expected = np.load(composed / "8.npy")[57:60]
        assert np.array_equal(last, expected.transpose(1, 2, 0))


def flip(file: Path, *places: int) -> None:
    """Change single bytes, counted from the first one after the header of 128."""
    with file.open("r+b") as stream:
        for place in places:
            stream.seek(128 + place)
            byte = stream.read(1)[0]
            stream.seek(128 + place)
            stream.write(bytes([byte ^ 1]))


class TestVerify:
    def test_a_sound_store_is_sound(self, sound: Path, composed: Path) -> None:
        done: list[float] = []
        assert verify_store(sound, done.append) is None
        assert verify_store(composed) is None
        assert done == sorted(done)
        assert done[-1] == 1

    @pytest.mark.parametrize(("level", "image"), [(8, 0), (8, 19), (4, 7)])
    def test_names_the_level_and_the_first_image(self, store: Path, level: int, image: int) -> None:
        size = 3 * level**2
        flip(store / f"{level}.npy", image * size + size // 2, 19 * size)
        count = len({image, 19})
        assert verify_store(store) == (
            f"{store / f'{level}.npy'} differs from what was prepared in {count} of 20 images, "
            f"first in image {image}; prepare the data set again"
        )

    def test_names_the_image_of_a_damaged_glyph(self, composed: Path) -> None:
        flip(composed / "8.npy", 64 * 34)  # glyph 34, the second of image 11
        assert "first in image 11;" in str(verify_store(composed))

    def test_names_the_image_of_a_damaged_index(self, composed: Path) -> None:
        flip(composed / "index.npy", 2 * 3 * 13)
        assert "8.npy differs" in str(verify_store(composed))
        assert "first in image 13;" in str(verify_store(composed))

    @pytest.mark.parametrize("damage", ["gone", "empty", "another shape", "a pickle"])
    def test_names_the_level_where_there_are_no_checksums(self, store: Path, damage: str) -> None:
        kept = store / "checksums.npy"
        kept.unlink()
        if damage == "empty":
            kept.touch()
        elif damage != "gone":
            content = np.zeros((2, 19), np.uint32) if damage == "another shape" else [None]
            np.save(kept, np.array(content), allow_pickle=True)
        assert verify_store(store) is None
        flip(store / "4.npy", 100)
        assert verify_store(store) == (
            f"{store / '4.npy'} differs from its fingerprint in dataset.json; "
            "prepare the data set again"
        )

    def test_damaged_labels_are_named(self, store: Path) -> None:
        flip(store / "labels.npy", 8)
        assert verify_store(store) == (
            f"{store / 'labels.npy'} differs from its fingerprint; prepare the data set again"
        )

    def test_a_folder_that_is_no_store_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="is no image store"):
            verify_store(tmp_path)
