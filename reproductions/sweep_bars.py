"""How far the runs of a sweep are: a bar each on a terminal, a line for each that ended."""

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from pgbench.config import RunConfig
from pgbench.results import RunFolder, RunStatus
from pgbench.work import work_done


class Bars:
    """Reads how far runs are from their folders, which are written at every tick."""

    def __init__(self, total: int) -> None:
        self.total, self.ended_runs = total, 0
        self.console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[at]}"))
        self.progress = Progress(
            *columns,
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Bars":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def show(self, running: list[tuple[RunConfig, Path]]) -> None:
        """Move the bars of the runs that go on."""
        if self.progress.disable:
            return
        for config, out in running:
            kimg, total = _kimg(config, out), config.schedule.total_kimg
            if kimg is None:
                continue
            if config.run_id not in self.tasks:
                self.tasks[config.run_id] = self.progress.add_task(config.run_id, total=1.0, at="")
            done = float(np.interp(1000 * kimg, *work_done(config)))
            where = f"{kimg:.1f}/{total:g} kimg"
            self.progress.update(self.tasks[config.run_id], completed=done, at=where)

    def ended(self, config: RunConfig, outcome: RunStatus | str) -> None:
        """Say how a run ended, and take its bar away."""
        task = self.tasks.pop(config.run_id, None)
        if task is not None:
            self.progress.remove_task(task)
        self.ended_runs += 1
        told = outcome if isinstance(outcome, str) else outcome.error or outcome.status
        line = f"{self.ended_runs}/{self.total} {config.run_id}: {told}"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _kimg(config: RunConfig, out: Path) -> float | None:
    """Where the run stands; None before it wrote anything."""
    try:
        status = RunFolder(out / config.run_id).read_status()
    except (ValueError, OSError):
        return None
    return status.kimg if status else None
