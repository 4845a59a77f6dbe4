"""`pgbench compare`: two measured results, and whether they are apart."""

import json
from dataclasses import asdict
from pathlib import Path

import click


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def compare(a: Path, b: Path, as_json: bool) -> None:
    """Compare A and B, two files of what `pgbench metrics ... --json` printed.

    Refused when they were not measured alike. The standard error of the difference takes the two
    for independent: where both used one seed or the same reals, it is too large.
    """
    from rich.console import Console
    from rich.table import Column, Table

    from pgbench.metrics import compare as differences
    from pgbench.metrics import read_result

    first, second = read_result(a), read_result(b)
    found = differences(first, second)
    if as_json:
        differing = [asdict(each) for each in found]
        click.echo(json.dumps({"schema": 1, "differences": differing}, allow_nan=False))
        return
    key, verdict = (Column(name, no_wrap=True) for name in (first["metric"], "verdict"))
    numbers = (Column(name, justify="right", no_wrap=True) for name in ("A", "B", "B - A"))
    error = Column("standard error", justify="right")
    table = Table(key, *numbers, error, verdict, show_edge=False, pad_edge=False)
    for each in found:
        stderr = "none" if each.stderr is None else f"{each.stderr:.4f}"
        row = (f"{each.a:.4f}", f"{each.b:.4f}", f"{each.difference:+.4f}", stderr)
        table.add_row(each.key, *row, each.verdict)
    Console().print(table)
