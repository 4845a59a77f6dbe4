"""Named data sets, and the built-in ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pgbench import portraits, scenes
from pgbench.data import ImageStore
from pgbench.sources import (
    BUILT_IN,
    built_in_store,
    cache_folder,
    dataset_name,
    open_dataset,
)

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (8, 8, 3), np.uint8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with one good picture, a.png."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(PIXELS).save(folder / "a.png")
    return folder


class TestBuiltIn:
    @pytest.mark.parametrize(
        ("name", "render"), [("portraits", portraits.render), ("scenes", scenes.render)]
    )
    def test_is_drawn_from_seed_0(
        self, name: str, render: Callable[..., Any], tmp_path: Path
    ) -> None:
        store = built_in_store(BUILT_IN[name], resolution=16, num_images=3, out=tmp_path / "s")
        for index in range(3):
            assert np.array_equal(store.level(16)[index], render(0, index, resolution=16))
        assert (store.info.name, store.info.mirror) == (name, name == "portraits")
        version = portraits.VERSION if name == "portraits" else scenes.VERSION
        assert store.info.source == f"pgbench {name} version {version}, seed 0"

    def test_is_kept_in_the_cache(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        first = open_dataset("scenes", resolution=8, num_images=4)
        assert first.path == cache_folder() / f"scenes-v{scenes.VERSION}-8-4"
        assert cache_folder().is_relative_to(tmp_path)
        before = (first.path / "8.npy").stat()
        again = open_dataset("scenes", resolution=8, num_images=4)
        assert again.info == first.info
        assert (first.path / "8.npy").stat() == before

    def test_has_a_name_without_being_drawn(self) -> None:
        assert dataset_name("portraits") == ("portraits", True)
        assert dataset_name("scenes") == ("scenes", False)

    def test_an_impossible_resolution_is_one_sentence(self, tmp_path: Path) -> None:
        for name in BUILT_IN:
            with pytest.raises(ValueError, match="resolution 33 is no power of two"):
                built_in_store(BUILT_IN[name], resolution=33, num_images=2, out=tmp_path / "s")
        assert not (tmp_path / "s").exists()


class TestNamed:
    def test_a_store_is_opened_by_its_folder(self, tiny_store: ImageStore) -> None:
        assert dataset_name(str(tiny_store.path)) == ("tiny", True)
        opened = open_dataset(str(tiny_store.path), resolution=16, num_images=None)
        assert opened.info == tiny_store.info

    def test_an_unknown_name_lists_the_known_ones(self) -> None:
        with pytest.raises(ValueError, match="no data set 'nope'; the built-in ones are portraits"):
            dataset_name("nope")

    def test_a_folder_of_pictures_names_the_command(self, pictures: Path) -> None:
        for read in (dataset_name, lambda data: open_dataset(data, resolution=8, num_images=None)):
            with pytest.raises(ValueError, match="pgbench data prepare folder --from"):
                read(str(pictures))


def test_data_prepare_writes_a_store(pictures: Path, pgbench: Callable[..., Any]) -> None:
    out = pictures.parent / "store"
    made = pgbench("data", "prepare", "folder", "--from", pictures, "--out", out)
    fingerprint = json.loads((out / "dataset.json").read_text())["fingerprint"]["8"]
    assert (made.code, made.err) == (0, "")
    assert made.out == f"{out}: 1 images of 8x8\nfingerprint {fingerprint}\n"


def test_data_list_names_the_built_in_sets(pgbench: Callable[..., Any]) -> None:
    listed = pgbench("data", "list")
    assert (listed.code, listed.err) == (0, "")
    named = {line.split()[0] for line in listed.out.splitlines() if line}
    assert {"portraits", "scenes"} <= named


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["nope"], "there is no data set 'nope'; pgbench data list names them"),
        (["folder"], "folder needs --from"),
        (["folder", "--from", "/nowhere"], "there is nothing at /nowhere; give --from"),
        (["scenes", "--from", "."], "scenes is drawn, not read; leave --from"),
        (["scenes", "--resolution", "33", "--max-images", "1"], "33 is no power of two"),
        (["scenes", "--max-images", "0"], "0 is not in the range x>=1"),
        (["scenes", "--resolution", "x"], "'x' is not a valid integer"),
    ],
)
def test_data_prepare_refuses(
    tmp_path: Path, pgbench: Callable[..., Any], options: list[str], why: str
) -> None:
    ended = pgbench("data", "prepare", *options, "--out", tmp_path / "store")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert why in ended.err
    assert not (tmp_path / "store").exists()


def test_data_prepare_never_overwrites(tmp_path: Path, pgbench: Callable[..., Any]) -> None:
    ended = pgbench("data", "prepare", "scenes", "--out", tmp_path)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "exists already; choose another --out" in ended.err
