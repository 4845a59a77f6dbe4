"""Hours of training: pauses, evaluation and writing are not in them."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pgbench import stopwatch
from pgbench.config import RunConfig
from pgbench.data import ImageStore, Sampler
from pgbench.results import RunFolder
from pgbench.stopwatch import Stopwatch
from pgbench.training import Trainer, train


class Clock:
    """Stands for `monotonic`: it goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stopwatch, "monotonic", clock)
    return clock


def test_a_pause_counts_from_the_last_step(clock: Clock) -> None:
    before = signal.getsignal(signal.SIGCONT)
    with Stopwatch() as watch:
        clock.now += 3
        watch.step()
        clock.now += 1000  # stopped, but for a part of a step
        os.kill(os.getpid(), signal.SIGCONT)
        clock.now += 2
        watch.step()
        assert watch.seconds() == 5
        os.kill(os.getpid(), signal.SIGCONT)  # for no reason
        assert watch.seconds() == 5
        watch.restart()
        clock.now += 1
        assert watch.seconds() == 1
    assert signal.getsignal(signal.SIGCONT) == before


def test_runs_in_a_thread_too(clock: Clock) -> None:
    seconds = []

    def run() -> None:
        with Stopwatch() as watch:
            clock.now += 4
            seconds.append(watch.seconds())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seconds == [4]


def test_hours_of_training_are_those_of_steps(
    clock: Clock,
    tiny_store: ImageStore,
    tiny_config: Callable[..., RunConfig],
    tmp_path: Path,
) -> None:
    config = tiny_config()
    sampler = Sampler(tiny_store, num_images=None, mirror=True, seed=config.seed)
    trainer = Trainer(config, sampler, torch.device("cpu"))
    folder = RunFolder.open(tmp_path, "run", config.model_dump(mode="json"))
    steps = snapshots = 0

    def on_step(_: object) -> None:
        nonlocal steps
        steps += 1
        clock.now += 1

    def on_snapshot() -> None:
        nonlocal snapshots
        snapshots += 1
        clock.now += 1000

    assert train(
        trainer, folder, on_step=on_step, on_snapshot=on_snapshot, should_stop=lambda: False
    )
    assert snapshots > 1
    status = folder.read_status()
    assert status is not None
    assert status.wall_sec == steps
