"""What `pgbench run` says of a finished row: its numbers beside published ones, and the report."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pgbench.cli_report import write_report

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.table import Table as Grid

    from pgbench.config import RunConfig
    from pgbench.reports.tables import Cell, Table
    from pgbench.results import RunStatus

_IN_TITLE = ("status", "resolution")


def show_row(config: "RunConfig", status: "RunStatus", out: Path) -> None:
    """Print the row's numbers, and where its last images are."""
    from rich.console import Console

    from pgbench.reports.output import CACHE
    from pgbench.results import load_runs, results_of

    found = load_runs(out)
    values = _here(results_of(found, cache=out / "report" / CACHE), config)
    runs = _here(found, config)
    title = f"row {config.row}, {config.profile}: {status.status}"
    for grid in _grids(values, runs, config, title=title):
        Console().print(grid)
    for path in sorted((out / config.run_id / "samples").glob("*.png"))[-1:]:
        click.echo(path)


def show_report(out: Path) -> None:
    """Build the report of all runs in `out`, and print where it begins."""
    for path in write_report(out, out / "report"):
        click.echo(path)


def _here(frame: "DataFrame", config: "RunConfig") -> "DataFrame":
    """The lines of the same artefact, data set, profile and resolution."""
    data = config.data
    here = (frame["artefact"] == config.artefact) & (frame["profile"] == config.profile)
    return frame[here & (frame["dataset"] == data.name) & (frame["resolution"] == data.resolution)]


def _grids(
    values: "DataFrame", runs: "DataFrame", config: "RunConfig", *, title: str
) -> "list[Grid]":
    """The row of table 1; else what the report's tables say of ours; else the run's records."""
    from pgbench.reports import celebahq, fid, lsgan, lsun, table3, table4
    from pgbench.reports.summary import summarise

    if config.artefact == "table1":
        return [_row_of_table1(values, runs, config, title=title)]
    makers = {
        "celebahq": (celebahq.tables, fid.tables),
        "lsun": (lsun.tables, fid.tables),
        "lsgan": (lsgan.tables,),
        "table3": (table3.tables,),
        "table4": (table4.tables,),
    }.get(config.artefact, ())
    summary = summarise(values, runs)
    tables = [table for make in makers for table in make(summary)]
    grids = [_grid(table, title=f"{title}; {table.title}") for table in tables]
    found = [grid for grid in grids if grid.row_count]
    return found or [_records(values, config, title=title)]


def _row_of_table1(
    values: "DataFrame", runs: "DataFrame", config: "RunConfig", *, title: str
) -> "Grid":
    from rich.table import Table as Grid

    from pgbench.reports.table1 import PAPER_DATASET, PAPER_NAME, row_lines

    data = config.data
    name = PAPER_NAME.get(PAPER_DATASET.get(data.name, ""))
    paper = "published" if name is None else f"published: {name} 128²"
    grid = Grid("", paper, f"ours: {data.name} {data.resolution}²", "difference", title=title)
    lines = row_lines(
        values,
        runs,
        row=config.row,
        dataset=data.name,
        profile=config.profile,
        resolution=data.resolution,
    )
    for line in lines:
        grid.add_row(*line)
    return grid


def _records(values: "DataFrame", config: "RunConfig", *, title: str) -> "Grid":
    """What was measured at the end of this very run."""
    from rich.table import Table as Grid

    grid = Grid("metric", "value", "ours", title=f"{title}; {config.data.name}")
    own = values[(values["run_id"] == config.run_id) & (values["status"] == "ok")]
    for record in own[own["kimg"] == own["kimg"].max()].to_dict("records"):
        grid.add_row(record["metric"], record["key"], f"{record['value']:.4g}")
    return grid


def _grid(table: "Table", *, title: str) -> "Grid":
    """The rows of a table that have a value of ours, without columns that tell nothing new."""
    from rich.table import Table as Grid
    from rich.text import Text

    from pgbench.reports.tables import NONE, heads

    rows = [row for row in table.rows if any(map(_is_ours, row))]
    names = heads(table.columns)
    shown = [
        number
        for number, name in enumerate(names)
        if name not in _IN_TITLE and any(row[number].text != NONE for row in rows)
    ]
    grid = Grid(title=Text(title))
    for number in shown:
        grid.add_column(Text(names[number]), overflow="fold")
    for row in rows:
        grid.add_row(*(Text(row[number].text) for number in shown))
    return grid


def _is_ours(cell: "Cell") -> bool:
    return cell.kind == "ours" and cell.value is not None
