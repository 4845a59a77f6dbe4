"""Append-only files of one JSON object a line: a line torn by a kill costs that line alone."""

import os
from collections.abc import Callable
from pathlib import Path

from pgbench.atomic import sync_folder, write_atomically


def read_lines(path: Path) -> list[bytes]:
    """The lines of a file, blank ones included so that positions count; none if it is absent."""
    content = path.read_bytes() if path.exists() else b""
    return content.removesuffix(b"\n").split(b"\n") if content else []


def append_line(path: Path, line: str) -> None:
    """Add one line; it is on disk when this returns."""
    new = not path.exists()
    with path.open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # torn by a kill: keep it from spoiling this line
                line = f"\n{line}"
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync_folder(path.parent)


def keep_lines(path: Path, keep: Callable[[bytes], bool]) -> None:
    """Drop the lines that `keep` refuses, all at once or, after a kill, not at all."""
    lines = read_lines(path)
    kept = [line for line in lines if keep(line)]
    if kept != lines:
        write_atomically(path, lambda file: file.write(b"".join(line + b"\n" for line in kept)))
