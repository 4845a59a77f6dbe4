"""`pgbench report`: tables, figures and pages from records, beside the published numbers."""

import gc
import sys
from pathlib import Path

import click


@click.command()
@click.argument("results", default="results", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write.  [RESULTS/report]")
def report(results: Path, out: Path | None) -> None:
    """Show all runs in RESULTS (default: results) beside the published numbers.

    Writes pages to read in a browser, and every table, figure and picture as files of its own;
    prints what to open. Works without a GPU and while runs are going on.
    """
    for path in write_report(results, out or results / "report"):
        click.echo(path)


def write_report(results: Path, out: Path) -> list[Path]:
    """Build or update the report of `results` in `out`; returns the two files to begin with."""
    from pgbench.reports.build import build
    from pgbench.reproductions.claims import judge

    collecting, interval = gc.isenabled(), sys.getswitchinterval()
    gc.disable()  # of millions of objects hardly one is in a cycle: a tenth of the time
    sys.setswitchinterval(interval / 10)  # threads that feed other processes keep these waiting
    try:
        build(results, out, judge=judge)
    finally:
        sys.setswitchinterval(interval)
        if collecting:
            gc.enable()
    return [out / "index.html", out / "report.md"]
