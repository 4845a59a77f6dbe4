"""`pgbench report`: tables from records, beside the published numbers."""

from pathlib import Path

import click


@click.command()
@click.argument("results", default="results", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write.  [RESULTS/report]")
def report(results: Path, out: Path | None) -> None:
    """Make tables of all runs in RESULTS (default: results), beside the published numbers.

    Prints the paths of the files it wrote. Works without a GPU and while runs are going on.
    """
    from pgbench.reports.build import build

    for path in build(results, out or results / "report"):
        click.echo(path)
