"""A store is the means of its pixels, the same however it was built, whole or absent."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pgbench import journal, prepare, scenes
from pgbench.data import ImageStore, Sampler
from pgbench.prepare import (
    Pictures,
    StoreDraft,
    build_composed,
    build_pictures,
    build_store,
    downscaled,
    levels,
)

Command = Callable[..., Any]
MANY = 2 * prepare.SHARD + 10  # enough that processes are started
RENDER = partial(scenes.render, 0, resolution=8)


def draft(num_images: int = 5, *, resolution: int = 8, name: str = "drawn") -> StoreDraft:
    return StoreDraft(name, "scenes", "none", resolution, num_images, mirror=False)


def not_called(index: int) -> NDArray[np.uint8]:
    raise AssertionError(f"image {index} was drawn again")


def dark(index: int, *, resolution: int) -> NDArray[np.uint8]:
    return np.full((3, resolution, resolution), index % 256, np.uint8)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    """A store of many images, built in processes."""
    return build_store(tmp_path_factory.mktemp("many") / "store", draft(MANY), read=RENDER)


def test_levels_go_down_to_4() -> None:
    assert [levels(r) for r in (4, 8, 1024)] == [
        [4],
        [8, 4],
        [1024, 512, 256, 128, 64, 32, 16, 8, 4],
    ]


@pytest.mark.parametrize("resolution", [4, 32, 256])
def test_a_level_is_the_mean_of_whole_blocks_rounded_once(resolution: int) -> None:
    rng = np.random.default_rng(resolution)
    images = rng.integers(0, 256, (3, 3, resolution, resolution), np.uint8)
    images[0] = 255
    made = dict(downscaled(images))
    assert list(made) == levels(resolution)
    for size, level in made.items():
        block = resolution // size
        exact = images.astype(np.float64).reshape(3, 3, size, block, size, block).mean((3, 5))
        assert np.array_equal(level, np.rint(exact))


def test_rounding_once_is_not_rounding_at_each_level() -> None:
    image = np.zeros((1, 1, 16, 16), np.uint8)
    image[..., ::4, ::4] = 9  # 9/4 at 8x8, which would round to 2; 9/16 at 4x4, which rounds to 1
    made = dict(downscaled(image))
    assert made[8].max() == 2
    assert (made[4] == 1).all()


def test_dataset_json_says_what_is_there(built: ImageStore) -> None:
    info = json.loads((built.path / "dataset.json").read_text())
    fingerprint = info.pop("fingerprint")
    assert info == {
        **{"schema": 1, "name": "drawn", "source": "scenes", "crop": "none", "resolution": 8},
        **{"num_images": MANY, "mirror": False, "labels": None, "labels_fingerprint": None},
        **{"composed": False, "note": "", "num_skipped": 0, "skipped": []},
    }
    for resolution in ("8", "4"):
        pixels = np.load(built.path / f"{resolution}.npy", allow_pickle=False)
        hashed = repr(pixels.shape).encode() + pixels.tobytes()
        assert fingerprint[resolution] == hashlib.sha256(hashed).hexdigest()


def test_images_lie_at_their_index(built: ImageStore) -> None:
    for index in (0, prepare.SHARD - 1, prepare.SHARD, MANY - 1):
        assert np.array_equal(built.level(8)[index], RENDER(index))


def test_processes_build_the_same_bytes_as_one(
    built: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "SHARD", MANY)
    monkeypatch.setattr(journal, "ProcessPoolExecutor", None)
    alone = build_store(tmp_path / "store", draft(MANY), read=RENDER)
    assert files(alone.path) == files(built.path)


def test_a_store_that_is_there_is_opened(tmp_path: Path) -> None:
    first = build_store(tmp_path / "store", draft(), read=RENDER)
    again = build_store(tmp_path / "store", draft(), read=not_called)
    assert again.info == first.info
    assert {path.name for path in tmp_path.iterdir()} <= {"store", ".store.lock"}


def test_another_data_set_in_its_place_is_refused(tmp_path: Path) -> None:
    build_store(tmp_path / "store", draft(), read=RENDER)
    with pytest.raises(ValueError, match=r"holds another data set \(drawn\); choose another --out"):
        build_store(tmp_path / "store", draft(6), read=not_called)


def test_an_image_of_a_wrong_shape_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"image 0 is uint8 \(3, 8, 8\), not uint8 \(3, 16, 16\)"):
        build_store(tmp_path / "store", draft(resolution=16), read=RENDER)
    assert [path.name for path in tmp_path.iterdir() if path.name != ".store.lock"] == []


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(index: int) -> NDArray[np.uint8]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_store(tmp_path / "store", draft(), read=interrupted)
    assert [path.name for path in tmp_path.iterdir() if path.name != ".store.lock"] == []


PREPARE = """
import os, resource, signal, sys
from pgbench import cli, journal
there = journal.as_completed
def as_completed(futures):
    for number, future in enumerate(there(futures)):
        if number == 0:
            {trap}
        yield future
journal.as_completed = as_completed
sys.argv = ["pgbench", "data", "prepare", "scenes", "--resolution", "8",
            "--max-images", sys.argv[2], "--out", sys.argv[1]]
{before}
cli.main()
"""


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name != ".store.lock"]


def test_a_kill_leaves_no_store_and_no_process(
    built: ImageStore, tmp_path: Path, program: Command
) -> None:
    out = tmp_path / "store"
    trap = "os.kill(os.getpid(), signal.SIGKILL)"
    # Ends only when the workers, who hold the same output, have ended too.
    assert program(PREPARE.format(trap=trap, before=""), out, 10 * MANY).code == -9
    assert not out.exists()
    assert len(list(tmp_path.glob(".store.*.partial"))) == 1
    again = build_store(out, draft(MANY), read=RENDER)  # other images: nothing to go on with
    assert files(again.path) == files(built.path)
    assert list(tmp_path.glob(".store.*.partial")) == []


def test_a_full_disk_is_one_sentence(built: ImageStore, tmp_path: Path, program: Command) -> None:
    """The limit on a file's size stands for the disk: writing fails in the worker processes."""
    before = "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))"
    ended = program(PREPARE.format(trap="pass", before=before), tmp_path / "store", MANY)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Error: ")
    assert ended.err.count("\n") == 1
    assert "File too large; make room or choose another place" in ended.err
    assert left(tmp_path) == []  # no shard got finished
    again = build_store(tmp_path / "store", draft(MANY), read=RENDER)
    assert files(again.path) == files(built.path)


def test_too_little_room_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match=r"needs 8\.2 GB and .* has 1\.0 GB left; make room"):
        build_store(tmp_path / "store", draft(125_000, resolution=128), read=not_called)
    assert left(tmp_path) == []


def test_a_killed_worker_is_one_sentence_and_costs_no_finished_shard(
    tmp_path: Path, program: Command
) -> None:
    trap = "os.kill(__import__('multiprocessing').active_children()[0].pid, signal.SIGKILL)"
    ended = program(PREPARE.format(trap=trap, before=""), tmp_path / "store", 10 * MANY)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "killed, perhaps for want of memory; the same command goes on" in ended.err
    assert not (tmp_path / "store").exists()


def test_a_worker_that_cannot_start_is_one_sentence(tmp_path: Path, program: Command) -> None:
    """Nor does anything hang, though what it should have read is more than a pipe holds."""
    text = (
        "import sys; from functools import partial; from pathlib import Path\n"
        "from pgbench.prepare import StoreDraft, build_store\n"
        "def read(names, index): pass\n"  # which no other process finds
        "draft = StoreDraft('drawn', 'x', 'none', 8, 1000, mirror=False)\n"
        "try: build_store(Path(sys.argv[1]), draft, read=partial(read, 'n' * 10**6))\n"
        "except ValueError as error: print(error)"
    )
    ended = program(text, tmp_path / "store")
    assert "a process that prepared images was killed" in ended.out
    assert left(tmp_path) == []


def test_an_error_does_not_wait_for_what_is_left(tmp_path: Path, program: Command) -> None:
    """A worker's exception ends the build, though many images are still to be drawn."""
    trap = "raise ValueError('image 7 is bad')"
    ended = program(PREPARE.format(trap=trap, before=""), tmp_path / "store", 100_000)
    assert (ended.code, ended.err) == (2, "Error: image 7 is bad\n")
    assert left(tmp_path) == []


class TestPictures:
    def test_stored_levels_are_taken_as_stored(self, tmp_path: Path) -> None:
        read = partial(scenes.render, 0, resolution=16)
        pictures = Pictures(draft(resolution=16), read, levels={8: partial(dark, resolution=8)})
        store = build_pictures(tmp_path / "store", pictures)
        assert store.level(8)[:][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
        means = np.stack([read(i) for i in range(5)]).reshape(5, 3, 4, 4, 4, 4).mean((3, 5))
        assert np.array_equal(store.level(4)[:], np.rint(means))

    def test_a_level_that_a_store_has_not_is_refused(self, tmp_path: Path) -> None:
        pictures = Pictures(draft(), RENDER, levels={2: partial(dark, resolution=2)})
        with pytest.raises(ValueError, match="drawn of 8x8 has level 2"):
            build_pictures(tmp_path / "store", pictures)

    def test_labels_and_what_was_left_out_are_kept(self, tmp_path: Path) -> None:
        skipped = ("b\udcff.jpg", *(f"{i}.jpg" for i in range(1200)))
        labels = np.arange(10, dtype=np.float32).reshape(5, 2)
        odd = replace(draft(), source="folder \udcff")  # a name that is no UTF-8
        pictures = Pictures(odd, RENDER, labels=labels, skipped=skipped, note="5 of 9 pictures")
        build_pictures(tmp_path / "store", pictures)
        store = ImageStore.open(tmp_path / "store")
        assert store.labels is not None
        assert np.array_equal(store.labels, labels)
        assert store.labels.dtype == np.float32
        hashed = b"<f4 (5, 2)" + labels.tobytes()
        assert store.info.labels_fingerprint == hashlib.sha256(hashed).hexdigest()
        assert store.info.note == "5 of 9 pictures"
        assert store.info.source == "folder \\udcff"
        assert store.info.num_skipped == 1201
        assert store.info.skipped == ("b\\udcff.jpg", *(f"{i}.jpg" for i in range(999)))

    @pytest.mark.parametrize(
        "labels", [np.arange(4), np.array(1), np.zeros((5, 0)), np.array([None] * 5)]
    )
    def test_unfit_labels_are_refused(self, tmp_path: Path, labels: NDArray[Any]) -> None:
        with pytest.raises(ValueError, match=r"drawn has labels .* for 5 images; give"):
            build_pictures(tmp_path / "store", Pictures(draft(), not_called, labels=labels))

    @pytest.mark.parametrize("changes", [{"name": "A B"}, {"resolution": 24}, {"num_images": 0}])
    def test_an_unfit_draft_is_refused_before_any_work(
        self, tmp_path: Path, changes: dict[str, Any]
    ) -> None:
        unfit = replace(draft(), **changes)
        with pytest.raises(ValueError, match="cannot become a store") as caught:
            build_pictures(tmp_path / "store", Pictures(unfit, not_called))
        assert "\n" not in str(caught.value)

    def test_each_image_has_its_checksum(self, built: ImageStore) -> None:
        kept = np.load(built.path / "checksums.npy", allow_pickle=False)
        assert kept.shape == (2, MANY)
        for row, resolution in enumerate((8, 4)):
            level = np.load(built.path / f"{resolution}.npy", allow_pickle=False)
            assert kept[row].tolist() == [zlib.crc32(image.tobytes()) for image in level]


@pytest.fixture(scope="module")
def glyphs() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (300, 16, 16), np.uint8)


class TestComposed:
    def index(self) -> NDArray[np.int64]:
        return np.random.default_rng(1).integers(0, 300, (1000, 3))

    def build(self, out: Path, glyphs: NDArray[np.uint8], **options: Any) -> ImageStore:
        return build_composed(out, draft(1000, resolution=16), glyphs, self.index(), **options)

    def test_equals_the_store_of_the_same_images(
        self, glyphs: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        composed = self.build(tmp_path / "composed", glyphs)
        images = glyphs[self.index()]
        monkeypatch.setattr(prepare, "SHARD", 1000)
        expanded = build_store(
            tmp_path / "expanded", draft(1000, resolution=16), read=partial(_take, images)
        )
        assert composed.info.composed
        assert composed.info.fingerprint == expanded.info.fingerprint
        names = {path.name for path in composed.path.iterdir()}
        assert names == {f.name for f in expanded.path.iterdir()} | {"index.npy"}
        checksums = [(s.path / "checksums.npy").read_bytes() for s in (composed, expanded)]
        assert checksums[0] == checksums[1]
        for resolution in (16, 8, 4):
            lazy, whole = composed.level(resolution), expanded.level(resolution)
            assert (lazy.shape, lazy.dtype, len(lazy)) == (whole.shape, whole.dtype, len(whole))
            for where in (0, -1, slice(3, 9), slice(None, None, 300), np.array([7, 7, 0])):
                assert np.array_equal(lazy[where], whole[where])

    def test_is_sampled_like_the_store_of_the_same_images(
        self, glyphs: NDArray[np.uint8], tmp_path: Path
    ) -> None:
        composed = self.build(tmp_path / "composed", glyphs, labels=np.arange(1000), note="n")
        sampler = Sampler(composed, num_images=None, mirror=True, seed=0)
        order = np.random.default_rng([0, 1, 0])
        chosen, flips = order.permutation(1000)[:50], order.random(1000)[:50] < 0.5
        expected = glyphs[self.index()[chosen]]
        expected[flips] = expected[flips, :, :, ::-1]
        assert np.array_equal(sampler.batch(0, 50, resolution=16), expected)
        assert composed.labels is not None
        assert composed.labels.tolist() == list(range(1000))
        assert composed.info.note == "n"

    def test_many_glyphs_take_a_wider_index(self, tmp_path: Path) -> None:
        many = np.zeros((2**16 + 1, 4, 4), np.uint8)
        many[-1] = 7
        wide = np.full((2, 3), 2**16)
        store = build_composed(tmp_path / "wide", draft(2, resolution=4), many, wide)
        assert (store.level(4)[:] == 7).all()

    def test_what_does_not_fit_is_refused(self, glyphs: NDArray[np.uint8], tmp_path: Path) -> None:
        sixteen, index = draft(1000, resolution=16), self.index()
        for where, unfit, message in (
            (glyphs[:, :8], index, r"glyphs are uint8 \(300, 8, 16\), not uint8 \(M, 16, 16\)"),
            (glyphs.astype(float), index, "glyphs are float64"),
            (glyphs, index[:9], r"the index is int64 \(9, 3\), not integers \(1000, 3\)"),
            (glyphs, index / 1, "the index is float64"),
            (glyphs, index - 1, "the index names glyphs -1 to 298 of 300"),
            (glyphs, index + 1, "the index names glyphs 1 to 300 of 300"),
        ):
            with pytest.raises(ValueError, match=message):
                build_composed(tmp_path / "store", sixteen, where, unfit)  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == []


def _take(images: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = images[index]
    return image


def test_a_second_process_waits_and_gets_the_same_store(tmp_path: Path) -> None:
    text = (
        "import sys; from functools import partial; from pathlib import Path\n"
        "from pgbench import scenes\n"
        "from pgbench.prepare import StoreDraft, build_store\n"
        "def read(index):\n"
        "    if index == 0: print('building', flush=True); sys.stdin.read()\n"
        "    return scenes.render(0, index, resolution=8)\n"
        "draft = StoreDraft('drawn', 'scenes', 'none', 8, 5, mirror=False)\n"
        "build_store(Path(sys.argv[1]), draft, read=read)"
    )
    got: list[ImageStore] = []
    out = tmp_path / "store"
    waiting = threading.Thread(
        target=lambda: got.append(build_store(out, draft(), read=not_called))
    )
    with subprocess.Popen(
        [sys.executable, "-c", text, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"building\n"
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    waiting.join(20)
    assert first.returncode == 0
    assert got[0].info == ImageStore.open(out).info
