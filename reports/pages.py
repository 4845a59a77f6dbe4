"""What the templates are given: names of files, plain text, and nested values as lines.

Everything shown was written by someone else: the templates escape it, and characters that steer
a terminal or the direction of writing are replaced.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pgbench.reports.chart import chart, marker, number
from pgbench.reports.names import artefact_name
from pgbench.reports.tables import NONE, Column, Table, footnotes

TEMPLATES = Path(__file__).parent / "templates"
# What a status or a verdict says -> the mark in front of it; the first that fits.
STATES = {
    "failed": "failed",
    "unfinished": "unfinished",
    "running": "unfinished",
    "interrupted": "unfinished",
    "not ": "missing",
    "skipped": "missing",
    "done": "done",
}
VERDICTS = {
    "contradicted": "contradicted",
    "not confirmed": "contradicted",
    "not reproduced": "contradicted",
    "not ": "missing",
    "confirmed": "confirmed",
    "reproduced": "confirmed",
    "holds": "confirmed",
}


@dataclass(frozen=True)
class Claim:
    """One line of the ledger: the paper's effect, ours, and what is still missing."""

    claim: str
    text: str = ""
    where: str = ""
    artefact: str = ""
    dataset: str = ""
    profile: str = ""
    resolution: int | None = None
    published: str | float | None = None
    ours: str | float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int | None = None
    verdict: str = "not tested"
    note: str | None = None
    runs: Sequence[str] = ()
    missing: str | None = None
    command: str | None = None


def claims(ledger: pd.DataFrame | None) -> list[Claim]:
    """The ledger's lines; columns that are not there or empty keep the defaults of Claim."""
    if ledger is None:
        return []
    known = [name for name in Claim.__dataclass_fields__ if name in ledger.columns]
    lines = ledger[known].astype(object).to_dict("records")
    filled = [{str(k): v for k, v in line.items() if not _is_missing(v)} for line in lines]
    return [Claim(**{**line, "runs": _names(line.get("runs", ()))}) for line in filled]


@cache  # each is compiled once
def templates() -> Environment:
    """Templates that escape everything and stop at a name they do not know."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"artefact_name": artefact_name, "hours": hours, "number": number}
    made.filters |= {"effect": effect, "sort_value": sort_value}
    made.globals |= {"chart": chart, "flat": flat, "footnotes": footnotes, "pretty": pretty}
    made.globals |= {"groups": groups, "published_columns": published_columns}
    made.globals |= {"mark": mark, "marker": marker, "NONE": NONE}
    return made


def printable(value: object) -> object:
    """Plain text without control, surrogate and direction characters; all else as it is."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in value)


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts tables before figures, and table10 behind table2."""
    kind = 0 if name.startswith("table") else 1 if name.startswith("figure") else 2
    parts = re.findall(r"[0-9]{1,9}|[^0-9]+|[0-9]+", name)
    numbered = [(0, int(p), "") if re.fullmatch("[0-9]{1,9}", p) else (1, 0, p) for p in parts]
    return [(kind, 0, ""), *numbered]


def hours(seconds: float) -> str:
    """Such as 0.36 h."""
    return f"{seconds / 3600:.2f} h" if math.isfinite(seconds) else NONE


def effect(value: str | float | None) -> str:
    """An effect's size: text as it is, numbers with their sign."""
    if value is None or isinstance(value, str):
        return value or NONE
    return f"{value:+.4g}".replace("-", "\N{MINUS SIGN}") if math.isfinite(value) else NONE


def sort_value(value: object) -> str:
    """The number to sort by, or nothing."""
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return f"{value:.10g}" if is_number else ""


def mark(text: str, kind: str) -> str:
    """The class of a status or verdict: done, failed, ..., confirmed, contradicted or open."""
    words = text.lower()
    known = STATES if kind == "status" else VERDICTS
    return next((name for word, name in known.items() if word in words), "open")


def groups(columns: Sequence[Column]) -> list[tuple[str | None, list[tuple[int, Column]]]]:
    """Neighbouring columns of one group together, numbered; those without a group alone."""
    numbered = list(enumerate(columns))
    together = groupby(numbered, key=lambda item: item[1].group or item[0])
    return [(name if isinstance(name, str) else None, list(items)) for name, items in together]


def published_columns(table: Table) -> set[int]:
    """The numbers of the columns that hold the paper's values."""
    found = range(len(table.columns))
    return {i for i in found if any(row[i].kind == "published" for row in table.rows)}


def flat(nested: Mapping[str, object]) -> list[tuple[str, list[tuple[str, str]]]]:
    """(section, [(dotted name, text)]): what is not nested comes first, without a section."""
    sections: dict[str, list[tuple[str, str]]] = {"": []}
    for path, value in _leaves(nested, ()):
        section, names = (path[0], path[1:]) if len(path) > 1 else ("", path)
        sections.setdefault(section, []).append((".".join(names), _scalar(value)))
    return [(section, lines) for section, lines in sections.items() if lines]


def pretty(nested: object) -> str:
    """JSON on many lines."""
    return json.dumps(nested, indent=2, ensure_ascii=False)


def _leaves(value: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every value that is no mapping or list of mappings, with the names that lead to it."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, (*path, str(name)))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for count, inner in enumerate(value, start=1):
            yield from _leaves(inner, (*path, str(count)))
    else:
        yield path, value


def _scalar(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _names(runs: object) -> tuple[str, ...]:
    """Run ids, also from one text with commas between."""
    parts = runs.split(",") if isinstance(runs, str) else runs
    return tuple(str(part).strip() for part in parts) if isinstance(parts, Iterable) else ()


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA
