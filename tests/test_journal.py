"""What was killed goes on where it stopped: finished shards are not read again."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pgbench import prepare
from pgbench.data import ImageStore
from pgbench.prepare import StoreDraft, build_store

COUNTED = """
import os, signal, sys
from functools import partial
from pathlib import Path
import numpy as np
from pgbench import journal
from pgbench.prepare import StoreDraft, build_store
folder, stop_after, count, source = Path(sys.argv[1]), *map(int, sys.argv[2:4]), sys.argv[4]
def read(folder, index):
    (folder / "reads" / f"{index}-{os.urandom(4).hex()}").touch()
    return np.full((3, 8, 8), index % 256, np.uint8)
def append(path, line, append=journal.append_line):
    global stop_after
    append(path, line)
    stop_after -= 1
    if stop_after == 0:
        TRAP
journal.append_line = append
if __name__ == "__main__":
    draft = StoreDraft("drawn", source, "none", 8, count, mirror=False)
    build_store(folder / "store", draft, read=partial(read, folder))
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
COUNT = 5 * prepare.SHARD + 10  # six shards


def dark(index: int) -> NDArray[np.uint8]:
    return np.full((3, 8, 8), index % 256, np.uint8)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def counted(tmp_path: Path) -> Callable[..., list[int]]:
    """Build in a process that ends after some finished shards; the indices of the images read."""

    def call(stop_after: int = 0, *, trap: str = KILL, source: str = "scenes") -> list[int]:
        shutil.rmtree(tmp_path / "reads", ignore_errors=True)
        (tmp_path / "reads").mkdir()
        script = tmp_path / "script.py"
        script.write_text(COUNTED.replace("TRAP", trap))
        arguments = map(str, (script, tmp_path, stop_after, COUNT, source))
        subprocess.run([sys.executable, *arguments], capture_output=True, timeout=120)
        return sorted(int(path.name.split("-")[0]) for path in (tmp_path / "reads").iterdir())

    return call


def listed(tmp_path: Path) -> list[int]:
    """The first images of the shards that the journal lists."""
    (journal_file,) = tmp_path.glob(".store.*.partial/finished-shards")
    return [int(line.split()[0]) for line in journal_file.read_text().splitlines()]


def straight(tmp_path: Path) -> dict[str, bytes]:
    """The files of a store that nothing interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "SHARD", COUNT)
        draft = StoreDraft("drawn", "scenes", "none", 8, COUNT, mirror=False)
        return files(build_store(tmp_path / "straight", draft, read=dark).path)


@pytest.mark.parametrize("trap", [KILL, "raise KeyboardInterrupt", "raise OSError(28, 'full')"])
def test_what_a_kill_left_is_not_read_again(
    trap: str, tmp_path: Path, counted: Callable[..., list[int]]
) -> None:
    counted(2, trap=trap)
    done = listed(tmp_path)
    assert len(done) == 2
    torn = next(tmp_path.glob(".store.*.partial")) / "finished-shards"
    torn.write_text(torn.read_text() + "512 12")
    again = counted()
    redone = [i for i in range(COUNT) if i // prepare.SHARD * prepare.SHARD not in done]
    assert again == redone
    assert files(tmp_path / "store") == straight(tmp_path)
    assert list(tmp_path.glob(".store.*.partial")) == []


def test_a_half_written_shard_is_written_again(
    tmp_path: Path, counted: Callable[..., list[int]]
) -> None:
    counted(2)
    (building,) = tmp_path.glob(".store.*.partial")
    first = next(i for i in range(0, COUNT, prepare.SHARD) if i not in listed(tmp_path))
    for resolution in (8, 4):
        with (building / f"{resolution}.npy").open("r+b") as level:
            level.seek(128 + first * 3 * resolution**2)
            level.write(b"torn" * 100)
    counted()
    assert files(tmp_path / "store") == straight(tmp_path)


def test_a_kill_after_the_last_shard_reads_nothing_again(
    tmp_path: Path, counted: Callable[..., list[int]]
) -> None:
    counted(6)
    assert counted() == []
    assert files(tmp_path / "store") == straight(tmp_path)


def test_another_draft_starts_afresh(tmp_path: Path, counted: Callable[..., list[int]]) -> None:
    counted(2)
    assert counted(source="others") == list(range(COUNT))
    assert ImageStore.open(tmp_path / "store").info.source == "others"
    assert list(tmp_path.glob(".store.*.partial")) == []


def test_a_refused_picture_removes_what_was_done(
    tmp_path: Path, counted: Callable[..., list[int]]
) -> None:
    counted(2, trap="raise ValueError('picture 7 is broken')")
    assert list(tmp_path.glob(".store.*")) == [tmp_path / ".store.lock"]
    assert not (tmp_path / "store").exists()
