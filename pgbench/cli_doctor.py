"""`pgbench doctor`: is this machine ready?"""

import json
from pathlib import Path

import click

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(as_json: bool) -> None:
    """Look at versions, devices, data, weights, caches, space and runs; change nothing.

    Exit code 1 when something that is needed is broken; what to do stands below each line.
    """
    from pgbench.doctor import examine, to_json

    findings = examine(Path.cwd())
    found = to_json(findings)
    if as_json:
        click.echo(json.dumps(found, allow_nan=False))
    else:
        width = max(len(each.name) for each in findings)
        for each in findings:
            mark = click.style(f"{each.state:<7}", fg=_COLOURS[each.state])
            click.echo(f"{mark}  {each.name:<{width}}  {_printable(each.text)}")
            if each.cure:
                click.echo(f"{'':<{width + 11}}-> {_printable(each.cure)}")
        counts = found["counts"]
        click.echo(f"{counts['problem']} problems, {counts['warning']} warnings.")
    if found["state"] == "problem":
        raise click.exceptions.Exit(1)


def _printable(text: str) -> str:
    """One line without control characters: names and messages come from outside."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
