"""Numbered tasks in worker processes; a journal lists the finished ones and a kill costs no others.

The journal has a line a task: its number and the CRC-32 of that, which a torn line lacks.
"""

import os
import pickle
import signal
import threading
import zlib
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from multiprocessing import get_context, parent_process
from multiprocessing.queues import Queue
from pathlib import Path

from pgbench.jsonlines import append_line, read_lines

Do = Callable[[int], None]  # picklable; what it did is on disk when it returns


def run_tasks(do: Do, tasks: Iterable[int], *, journal: Path) -> Generator[int]:
    """Do the tasks that the journal does not list; yields every task once it is done.

    Several are done in processes: BrokenProcessPool when one of these was killed.
    """
    listed = set(read_lines(journal))
    waiting = []
    for task in tasks:
        if _line(task).encode() in listed:
            yield task
        else:
            waiting.append(task)
    with closing(_done(do, waiting)) as done:
        for task in done:
            append_line(journal, _line(task))
            yield task


def _line(task: int) -> str:
    return f"{task} {zlib.crc32(str(task).encode()):08x}"


def _done(do: Do, tasks: list[int]) -> Generator[int]:
    """The tasks as they get finished; what is left is dropped when one fails."""
    if len(tasks) <= 1:
        for task in tasks:
            do(task)
            yield task
        return
    spawn = get_context("spawn")
    count = min(os.cpu_count() or 1, len(tasks))
    # Not as an argument of the processes: one that ends before it has read that all hangs us.
    inbox, sent = spawn.Queue(), pickle.dumps(do)
    for _ in range(count):
        inbox.put(sent)
    pool = ProcessPoolExecutor(
        count, mp_context=spawn, initializer=_start_worker, initargs=(inbox,)
    )
    try:
        for future in as_completed([pool.submit(_in_worker, task) for task in tasks]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        inbox.cancel_join_thread()
        inbox.close()


_do: Do  # of a worker process: sent once, for it may hold the names of millions of files


def _start_worker(inbox: "Queue[bytes]") -> None:
    global _do
    follow_parent()
    _do = pickle.loads(inbox.get())


def _in_worker(task: int) -> int:
    _do(task)
    return task


def follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it was killed: a worker waits for ever else."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def end_with_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()
