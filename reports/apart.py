"""Work for processes of their own: sheets of many runs, which the pages in this one do not hold up.

Run as a module this reads the names of pictures, one a line, as JSON; it answers each with a line
that says how many bytes follow, or what is wrong, and with those bytes.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from queue import SimpleQueue

from pgbench.reports.sample_grids import shown

FEW = 8  # sheets, which take less time than a process takes to start

Process = subprocess.Popen[bytes]
Sheet = Callable[[Path], bytes]  # as `shown`


def started(module: str) -> Process:
    """A module as a program that finds what this one finds; it ends when its input is closed."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


@contextmanager
def sheets(workers: int) -> Iterator[Sheet]:
    """`shown`, for threads: of the first few in this process, of others by so many workers."""
    asked, idle = count(), SimpleQueue[Process | None]()
    for _ in range(workers):
        idle.put(None)

    def sheet(path: Path) -> bytes:
        if next(asked) < FEW:
            return shown(path)
        worker = idle.get() or started(__name__)
        next_one: Process | None = worker
        try:
            return _answer(worker, path)
        except (BrokenPipeError, EOFError):  # it was killed, for want of memory, say
            _end(worker)
            next_one = None
            return shown(path)
        finally:
            idle.put(next_one)

    try:
        yield sheet
    finally:
        for _ in range(workers):
            if (worker := idle.get()) is not None:
                _end(worker)


def _answer(worker: Process, path: Path) -> bytes:
    """What `shown(path)` returns; ValueError where it says so."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps(str(path)).encode() + b"\n")
    worker.stdin.flush()
    told = worker.stdout.readline()
    if not told:
        raise EOFError
    if isinstance(size := json.loads(told), str):
        raise ValueError(size)
    content = worker.stdout.read(size)
    if len(content) < size:
        raise EOFError
    return content


def _end(worker: Process) -> None:
    with suppress(BrokenPipeError), worker:
        pass


def _answer_another_process() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks decides when this ends
    for line in sys.stdin.buffer:
        told: int | str
        try:
            content = shown(Path(json.loads(line)))
            told = len(content)
        except (ValueError, OSError) as error:
            told, content = str(error), b""
        sys.stdout.buffer.write(json.dumps(told).encode() + b"\n" + content)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _answer_another_process()
