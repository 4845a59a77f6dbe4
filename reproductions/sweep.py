"""Several runs at once on this machine, each a process of its own with its share of the cores."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

import psutil
import torch

from pgbench.compiling import Choice
from pgbench.config import RunConfig
from pgbench.cores import usable_cores
from pgbench.environment import choose_device
from pgbench.errors import sentence
from pgbench.reproductions import launch
from pgbench.reproductions.sweep_bars import Bars
from pgbench.results import RunFolder, RunStatus

_MEMORY = 2.5 * 2**30  # bytes that a run of profile desktop and its metrics take on a CPU
_POLL_SEC = 1.0

Outcome = RunStatus | str  # how a run ended, or why it was refused


@dataclass(frozen=True)
class Job:
    """One run: what `launch.run` takes."""

    config: RunConfig
    data: str
    out: Path
    device: str
    compiling: Choice


def how_many_fit(device: str) -> int:
    """As many runs as there are cores and memory for; one on a GPU."""
    if choose_device(device).type != "cpu":
        return 1
    return max(1, min(usable_cores(), int(psutil.virtual_memory().available / _MEMORY)))


def side_by_side(jobs: Sequence[Job], *, at_once: int) -> Iterator[tuple[Job, Outcome]]:
    """Run the jobs, so many at a time; yields each as it ends.

    A run that fails or whose process dies leaves the others alone. Interrupted, all save what they
    have; interrupted again, they are killed.
    """
    waiting, running = deque(jobs), list[_Worker]()
    at_once = min(at_once, len(jobs))
    threads = max(1, usable_cores() // at_once)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Bars(len(jobs)) as bars:
            while waiting or running:
                while waiting and len(running) < at_once:
                    running.append(_Worker(waiting.popleft(), threads))
                wait([worker.process.sentinel for worker in running], _POLL_SEC)
                for worker in [each for each in running if each.process.exitcode is not None]:
                    running.remove(worker)
                    outcome = worker.outcome()
                    bars.ended(worker.job.config, outcome)
                    yield worker.job, outcome
                bars.show([(worker.job.config, worker.job.out) for worker in running])
    finally:
        _stop(running)
        signal.signal(signal.SIGTERM, before)


class _Worker:
    """A job and its process."""

    def __init__(self, job: Job, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.job = job
        self._answers, answer = context.Pipe(duplex=False)
        owner, self._alive = context.Pipe(duplex=False)  # closes with this process
        self.process: SpawnProcess = context.Process(
            target=_work, args=(job, threads, answer, owner), name=job.config.run_id
        )
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited while it starts
        self.process.start()
        signal.signal(signal.SIGINT, before)
        answer.close()
        owner.close()

    def outcome(self) -> Outcome:
        """What the process answered before it ended."""
        with suppress(EOFError):
            answer: Outcome = self._answers.recv()
            return answer
        code = self.process.exitcode or 0
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return lost(self.job, f"its process died ({how})")


def lost(job: Job, why: str) -> RunStatus:
    """How a run ended that cannot tell it itself, with what it told last."""
    last = RunFolder(job.out / job.config.run_id).read_status()
    return RunStatus(
        status="interrupted",
        kimg=last.kimg if last else 0.0,
        total_kimg=job.config.schedule.total_kimg,
        wall_sec=last.wall_sec if last else 0.0,
        error=f"{why}; the same command goes on from its last state",
    )


def _stop(running: Sequence[_Worker]) -> None:
    """Have all save what they have and wait for them."""
    for worker in running:
        worker.process.terminate()
    try:
        for worker in running:
            worker.process.join()
    except KeyboardInterrupt:
        for worker in running:
            worker.process.kill()
        raise


def _work(job: Job, threads: int, answer: Connection, owner: Connection) -> None:
    """The process of one run: silent, as its log keeps what it says."""
    os.setsid()  # Ctrl-C reaches the parent alone, which asks this process to stop
    threading.Thread(target=_stop_when_alone, args=(owner,), daemon=True).start()
    try:
        answer.send(perform(job, threads))
    except (ValueError, OSError) as error:
        answer.send(sentence(error))


def perform(job: Job, threads: int) -> RunStatus:
    """The run in this process, silently, on so many threads."""
    torch.set_num_threads(threads)
    launch.console.quiet = True
    return launch.run(
        job.config, data=job.data, out=job.out, device=job.device, compiling=job.compiling
    )


def _stop_when_alone(owner: Connection) -> None:
    """Ask this process to stop when the parent is gone."""
    with suppress(EOFError, OSError):
        owner.recv()
    os.kill(os.getpid(), signal.SIGTERM)
