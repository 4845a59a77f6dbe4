"""`pgbench run` with several runs at once, on this machine or on Ray."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pgbench.reproductions.on_ray import Share
    from pgbench.reproductions.sweep import Job, Outcome


def at_once(asked: str, device: str) -> int:
    """How many runs `--jobs` asks for; ValueError when it is neither a number nor auto."""
    from pgbench.reproductions.sweep import how_many_fit

    if asked == "auto":
        return how_many_fit(device)
    if not (asked.isascii() and asked.isdigit() and 0 < int(asked) <= 1024):
        raise ValueError(f"--jobs {asked!r} is no number of runs; give 1 or more, or auto")
    return int(asked)


def sweep(jobs: "Sequence[Job]", *, count: int, share: "Share | None") -> int:
    """Run the jobs, on Ray or else so many at a time here; show them and the report."""
    from pgbench.reproductions.on_ray import on_ray
    from pgbench.reproductions.sweep import side_by_side

    left = [job for job in jobs if not is_done(job.out, job.config.run_id)]
    outcomes: dict[str, Outcome] = {}
    try:
        ended = on_ray(left, share) if share else side_by_side(left, at_once=count)
        for job, outcome in ended if left else ():
            outcomes[job.config.run_id] = outcome
    except KeyboardInterrupt:
        click.echo("interrupted; the same command goes on from there", err=True)
        return 130
    _show(jobs)
    return _exit_code(outcomes)


def _show(jobs: "Sequence[Job]") -> None:
    """Every row that is done, once for all its seeds, and the report."""
    from pgbench.cli_conclude import show_report, show_row
    from pgbench.results import RunFolder

    rows = {(job.config.artefact, job.config.row, job.config.data.name): job for job in jobs}
    for job in rows.values():
        status = RunFolder(job.out / job.config.run_id).read_status()
        if status is not None and status.status == "done":
            show_row(job.config, status, job.out)
    show_report(jobs[0].out)


def _exit_code(outcomes: "dict[str, Outcome]") -> int:
    """2 when a run was refused, 1 when one failed or lost its process; says so once more."""
    refused = {run_id: told for run_id, told in outcomes.items() if isinstance(told, str)}
    lost = [run_id for run_id, ended in outcomes.items() if _unfinished(ended)]
    for run_id, why in refused.items():
        click.echo(f"Error: {run_id}: {why}", err=True)
    if refused:
        return 2
    return 1 if lost else 0


def _unfinished(ended: "Outcome") -> bool:
    return not isinstance(ended, str) and ended.status != "done"


def is_done(out: Path, run_id: str) -> bool:
    """Whether a run is finished."""
    from pgbench.results import RunFolder

    status = RunFolder(out / run_id).read_status()
    return status is not None and status.status == "done"
