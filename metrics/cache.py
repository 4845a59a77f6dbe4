"""The user's cache folder, and files in it that are there whole or not at all (section 7).

Downloaded weights and extracted features are kept there. `XDG_CACHE_HOME` moves it on Linux.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from platformdirs import user_cache_path


def cache_folder(name: str) -> Path:
    """The folder `name` in pgbench's part of the user's cache; it may not exist yet."""
    return user_cache_path("pgbench") / name


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes its place at `path` only once it was written to its end.

    Missing folders are made. A reader sees the old file or the new one, never a part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
