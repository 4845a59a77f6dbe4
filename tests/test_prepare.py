"""A store is the means of its pixels, the same however it was built, whole or absent."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pgbench import prepare, scenes
from pgbench.data import ImageStore
from pgbench.prepare import StoreDraft, build_store, downscaled, levels

Command = Callable[..., Any]
MANY = 2 * prepare.SHARD + 10  # enough that processes are started
RENDER = partial(scenes.render, 0, resolution=8)


def draft(num_images: int = 5, *, resolution: int = 8, name: str = "drawn") -> StoreDraft:
    return StoreDraft(name, "scenes", "none", resolution, num_images, mirror=False)


def not_called(index: int) -> NDArray[np.uint8]:
    raise AssertionError(f"image {index} was drawn again")


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
        **{"num_images": MANY, "mirror": False, "labels": None},
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
    monkeypatch.setattr(prepare, "ProcessPoolExecutor", None)
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
    with pytest.raises(ValueError, match=r"image 0 is \(3, 8, 8\), not \(3, 16, 16\)"):
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
from pgbench import cli, prepare
there = prepare.as_completed
def as_completed(futures):
    for number, future in enumerate(there(futures)):
        if number == 0:
            {trap}
        yield future
prepare.as_completed = as_completed
sys.argv = ["pgbench", "data", "prepare", "scenes", "--resolution", "8",
            "--max-images", sys.argv[2], "--out", sys.argv[1]]
{before}
cli.main()
"""


def test_a_kill_leaves_no_store_and_no_process(
    built: ImageStore, tmp_path: Path, program: Command
) -> None:
    out = tmp_path / "store"
    trap = "os.kill(os.getpid(), signal.SIGKILL)"
    # Ends only when the workers, who hold the same output, have ended too.
    assert program(PREPARE.format(trap=trap, before=""), out, 10 * MANY).code == -9
    assert not out.exists()
    assert len(list(tmp_path.glob(".store.*.partial"))) == 1
    again = build_store(out, draft(MANY), read=RENDER)
    assert again.info == built.info
    assert list(tmp_path.glob(".store.*.partial")) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, program: Command) -> None:
    """The limit on a file's size stands for the disk: writing fails in the worker processes."""
    before = "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    ended = program(PREPARE.format(trap="pass", before=before), tmp_path / "store", MANY)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Error: ")
    assert ended.err.count("\n") == 1
    assert "File too large; make room or choose another place" in ended.err
    assert [path.name for path in tmp_path.iterdir() if path.name != ".store.lock"] == []


def test_a_killed_worker_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, program: Command
) -> None:
    trap = "os.kill(__import__('multiprocessing').active_children()[0].pid, signal.SIGKILL)"
    ended = program(PREPARE.format(trap=trap, before=""), tmp_path / "store", 10 * MANY)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "was killed, perhaps for want of memory" in ended.err
    assert [path.name for path in tmp_path.iterdir() if path.name != ".store.lock"] == []


def test_an_error_does_not_wait_for_what_is_left(tmp_path: Path, program: Command) -> None:
    """A worker's exception ends the build, though many images are still to be drawn."""
    trap = "raise ValueError('image 7 is bad')"
    ended = program(PREPARE.format(trap=trap, before=""), tmp_path / "store", 100_000)
    assert (ended.code, ended.err) == (2, "Error: image 7 is bad\n")
    assert [path.name for path in tmp_path.iterdir() if path.name != ".store.lock"] == []


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
