"""Files are whole or not there, whatever happens while they are written."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from pgbench.atomic import sync_folder, write_atomically, write_text_atomically


def test_replaces_the_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text_atomically(path, "a long first text")
    write_text_atomically(path, "ü")
    assert path.read_bytes() == b"\xc3\xbc"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_content_alone(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(file: BinaryIO) -> None:
        file.write(b"new")
        raise error

    with pytest.raises(type(error)):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_the_disk_itself_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text_atomically(tmp_path / "a", "text")
    assert list(tmp_path.iterdir()) == []


def test_a_kill_in_the_middle_leaves_the_old_content(
    tmp_path: Path, program: Callable[..., Any]
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    text = (
        "import os, signal, sys; from pathlib import Path\n"
        "from pgbench.atomic import write_atomically\n"
        "def write(file):\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomically(Path(sys.argv[1]), write)"
    )
    assert program(text, path).code == -9
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_follows_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text_atomically(tmp_path / "a", "")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


def test_a_missing_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text_atomically(tmp_path / "none" / "a", "")
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "none")
