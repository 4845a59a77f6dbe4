"""A run folder on a Ray worker's machine, and its copy where the results belong."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from pgbench.atomic import write_atomically

_SEND_SEC = 5.0
_LAST = ("training-state.pt", "status.json")  # after what belongs to them
_LEFT_OUT = ("training-state-previous.pt", "training-state.pt.new")


class Keeper:
    """Holds the results on the machine that asked for them; an actor of Ray's."""

    def __init__(self, out: str) -> None:
        self.out = Path(out)

    def names(self, run_id: str) -> list[str]:
        """The files of a run."""
        return list(_files(self.out / run_id))

    def read(self, run_id: str, name: str) -> bytes:
        """What is in one of them."""
        return (self.out / run_id / name).read_bytes()

    def write(self, run_id: str, name: str, content: bytes) -> None:
        """Put `content` in place of one of them."""
        path = self.out / run_id / name
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, lambda file: file.write(content))


class Copies(Protocol):
    """A keeper, reached from a worker."""

    def names(self, run_id: str) -> list[str]: ...

    def read(self, run_id: str, name: str) -> bytes: ...

    def write(self, run_id: str, name: str, content: bytes) -> None: ...


@contextmanager
def mirrored(run_id: str, keeper: Copies) -> Iterator[Path]:
    """A folder with what is kept of a run, from where all that changes is sent back."""
    with tempfile.TemporaryDirectory(prefix="pgbench-") as scratch:
        folder = Path(scratch) / run_id
        mirror = _Mirror(folder, keeper)
        mirror.fetch()
        ended = threading.Event()
        sender = threading.Thread(target=mirror.send_until, args=(ended,), daemon=True)
        sender.start()
        try:
            yield Path(scratch)
        finally:
            ended.set()
            sender.join()
            mirror.send()


class _Mirror:
    """Knows which files were sent as they are."""

    def __init__(self, folder: Path, keeper: Copies) -> None:
        self.folder, self.keeper = folder, keeper
        self.sent: dict[str, tuple[int, int]] = {}

    def fetch(self) -> None:
        """Fill the folder with what is kept."""
        run_id = self.folder.name
        for part in ("samples", "snapshots"):  # may be empty
            (self.folder / part).mkdir(parents=True)
        for name in self.keeper.names(run_id):
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(self.keeper.read(run_id, name))
            self.sent[name] = _stamp(path)

    def send_until(self, ended: threading.Event) -> None:
        """Send now and then; what fails here is told by the last time."""
        while not ended.wait(_SEND_SEC):
            with suppress(Exception):
                self.send()

    def send(self) -> None:
        """Send what changed: a state never arrives before what was written ahead of it.

        A state is read before the other files are and sent after them, so that these are as new
        or newer: what is newer is dropped when the run goes on from the state.
        """
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as held:
            last = [name for name in reversed(_LAST) if _hold(self.folder / name, Path(held))]
            for name in _files(self.folder):
                if name not in _LAST:
                    self._send(name, self.folder / name)
            for name in reversed(last):
                self._send(name, Path(held) / name)

    def _send(self, name: str, path: Path) -> None:
        with suppress(FileNotFoundError):  # replaced or dropped meanwhile
            stamp = _stamp(path)
            if self.sent.get(name) != stamp:
                self.keeper.write(self.folder.name, name, path.read_bytes())
                self.sent[name] = stamp


def _hold(path: Path, where: Path) -> bool:
    """Keep this version of a file that is replaced as a whole; whether there is one."""
    with suppress(FileNotFoundError):
        os.link(path, where / path.name)
        return True
    return False


def _files(folder: Path) -> Iterator[str]:
    """The files of a run by their names within it, without what is being written."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith(".") and path.name not in _LEFT_OUT:
            yield path.relative_to(folder).as_posix()


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


class RayKeeper:
    """The keeper's methods, waited for."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def names(self, run_id: str) -> list[str]:
        names: list[str] = self._get(self.actor.names.remote(run_id))
        return names

    def read(self, run_id: str, name: str) -> bytes:
        content: bytes = self._get(self.actor.read.remote(run_id, name))
        return content

    def write(self, run_id: str, name: str, content: bytes) -> None:
        self._get(self.actor.write.remote(run_id, name, content))

    def _get(self, later: Any) -> Any:
        import ray

        return ray.get(later)
