"""`pgbench check`: have metric values moved from a baseline?"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pgbench.reports.check import Measured, Outcome

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("results", type=_PATH)
@click.option("--baseline", "place", type=_PATH, required=True, help="The expected values, JSON.")
@click.option("--exact", is_flag=True, help="The same images and seeds: rounding alone may differ.")
@click.option("--update", is_flag=True, help="Write the values to the baseline instead.")
@click.option("--junit", type=_PATH, help="Also write JUnit XML to FILE.")
@click.option("--verbose", is_flag=True, help="Also show what passed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(
    results: Path,
    place: Path,
    exact: bool,
    update: bool,
    junit: Path | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Compare the values in RESULTS with a baseline; exit code 1 when one left its band.

    RESULTS is a folder of runs, one run, what `pgbench metrics ... --json` printed, or a folder of
    such *.json files. The baseline says how far a value may be: by default four standard errors,
    with --exact a rounding (1e-6 of the value). Appends to $GITHUB_STEP_SUMMARY where that is set.
    """
    from pgbench.reports import verdicts
    from pgbench.reports.baseline import read_baseline
    from pgbench.reports.check import check as outcomes_of

    if update:
        if junit is not None or verbose:
            raise click.UsageError("--update compares nothing; leave --junit and --verbose out.")
        _update(place, _measured(results, place), exact=exact, as_json=as_json)
        return
    baseline = read_baseline(place)
    baseline = baseline.model_copy(update={"exact": exact or baseline.exact})
    measured = _measured(results, place)
    outcomes = outcomes_of(measured, baseline)
    if as_json:
        found = verdicts.to_json(outcomes, measured.problems, exact=baseline.exact)
        click.echo(json.dumps(found, allow_nan=False))
    else:
        _tell(measured.problems)
        _show(outcomes if verbose else [each for each in outcomes if each.verdict != "passed"])
        click.echo(verdicts.closing(outcomes, exact=baseline.exact))
    if junit is not None:
        _write_junit(junit, outcomes)
    _append_summary(verdicts.to_markdown(outcomes, exact=baseline.exact))
    if any(outcome.failed for outcome in outcomes):
        raise click.exceptions.Exit(1)


def _measured(results: Path, baseline: Path) -> "Measured":
    """The values of a folder of runs, a run, or of files that `metrics --json` printed."""
    from pgbench.metrics import read_result
    from pgbench.reports.check import gather
    from pgbench.results import load_results

    if not results.is_dir():
        return gather({results.stem: read_result(results)})
    is_run = (results / "config.json").is_file()
    files = [] if is_run else sorted(path for path in results.glob("*.json") if path.is_file())
    own = baseline.resolve()
    named = {path.stem: read_result(path) for path in files if path.resolve() != own}
    found = gather(named, load_results(results))
    if not found.values and not found.failed:
        _tell(found.problems)
        raise ValueError(
            f"{results} has no values, neither of runs nor in .json files of pgbench metrics; name "
            "a folder that has some."
        )
    return found


def _update(place: Path, measured: "Measured", *, exact: bool, as_json: bool) -> None:
    from pgbench.reports.baseline import Baseline, read_baseline, write_baseline

    if not measured.values:
        raise ValueError(f"no value was measured, so {place} was not written; see the runs' errors")
    old = read_baseline(place) if place.exists() else Baseline(values=[])
    new = old.updated(measured.values).model_copy(update={"exact": exact or old.exact})
    write_baseline(place, new)
    before, now = ({value.name: value for value in each.values} for each in (old, new))
    counts = {
        "values": len(now),
        "new": len(now.keys() - before.keys()),
        "changed": sum(now[name] != before[name] for name in now.keys() & before.keys()),
        "gone": len(before.keys() - now.keys()),
    }
    if as_json:
        click.echo(json.dumps({"schema": 1, "baseline": str(place)} | counts))
        return
    _tell(measured.problems)
    told = ", ".join(f"{count} {what}" for what, count in counts.items())
    click.echo(f"Wrote {place}: {told}.")


def _tell(problems: Sequence[str]) -> None:
    from pgbench.reports.names import one_line

    for problem in problems:
        click.echo(one_line(problem), err=True)


def _show(outcomes: "Sequence[Outcome]") -> None:
    """A table of some values and, below, why they failed."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from pgbench.reports.names import one_line
    from pgbench.reports.verdicts import WORDS, number, title

    if not outcomes:
        return
    numbers = (Column(name, justify="right") for name in ("baseline", "measured", "band"))
    table = Table("value", *numbers, "verdict", show_edge=False, pad_edge=False)
    for each in outcomes:
        values = [None if value is None else value.value for value in (each.before, each.now)]
        cells = (title(each), *map(number, (*values, each.band)), WORDS[each.verdict])
        table.add_row(*(Text(cell, overflow="fold") for cell in cells))
    Console().print(table)
    for each in outcomes:
        if each.failed:
            click.echo(f"{title(each)}: {one_line(each.why)}")


def _write_junit(path: Path, outcomes: "Sequence[Outcome]") -> None:
    from pgbench.reports.verdicts import to_junit
    from pgbench.results import write_text_atomically

    try:
        write_text_atomically(path, to_junit(outcomes))
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}); choose another.") from error


def _append_summary(text: str) -> None:
    """Add to the page of a GitHub job; that it cannot be written fails no check."""
    if not (place := os.environ.get("GITHUB_STEP_SUMMARY")):
        return
    try:
        with open(place, "a", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        click.echo(f"GITHUB_STEP_SUMMARY cannot be written ({error.strerror}).", err=True)
