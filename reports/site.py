"""A report as pages to read: an overview, a page per artefact and a page per run.

Static files without a framework or a network: HTML and drawings made here, one style sheet, and
one script that sorts tables and reads values off curves. The same inputs make the same bytes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment

from pgbench.reports.figures import Figure
from pgbench.reports.names import distinct
from pgbench.reports.output import Made, Output
from pgbench.reports.pages import Claim, claims, mark, natural, templates
from pgbench.reports.run_files import Source
from pgbench.reports.sheets import Picture
from pgbench.reports.tables import Table

STATIC = Path(__file__).parent / "static"
Line = dict[str, Any]  # a run: its row of load_runs, and `href`, its page


@dataclass(frozen=True)
class Missing:
    """Something the report could show, and the command that makes it."""

    what: str
    command: str


@dataclass(frozen=True)
class Content:
    """What a report shows; `ledger` has the fields of `pages.Claim` as columns.

    `pictures` are those of artefacts.
    """

    runs: pd.DataFrame
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    pictures: Sequence[Picture] = ()
    ledger: pd.DataFrame | None = None
    problems: Sequence[str] = ()
    missing: Sequence[Missing] = ()


@dataclass
class Parts:
    """What the page of an artefact shows."""

    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    runs: list[Line] = field(default_factory=list)


@dataclass(frozen=True)
class _Page:
    """A page: its file, its template and what that is given; `source` is read when it is made."""

    name: str
    template: str
    inputs: Mapping[str, object]
    source: Source | None = None


def write_run_pages(
    output: Output,
    content: Content,
    *,
    title: str,
    sources: Mapping[str, Source],
    pictures: Callable[[str], Sequence[Picture]],
) -> None:
    """Write a page per run, each as soon as `pictures` has its own."""
    lines = _lines(content.runs)
    common = _common(_parts(lines, content), title)
    _write(output, _run_pages(lines, pictures, common, sources))


def write_overview(output: Output, content: Content, *, title: str) -> None:
    """Write the first page, one per artefact, style and script; stems are safe and all different.

    The files of tables and figures, which are offered beside them, are for others to write.
    """
    lines, told = _lines(content.runs), claims(content.ledger)
    of_artefact = _parts(lines, content)
    common = _common(of_artefact, title)
    _write(output, [_index(lines, of_artefact, common, told, content)])
    _write(output, _artefact_pages(of_artefact, common, told))
    for path in sorted(STATIC.iterdir()):
        output.put(f"static/{path.name}", path.read_bytes())


def _common(of_artefact: Mapping[str, object], title: str) -> dict[str, Any]:
    """What every page is given."""
    stems = zip(of_artefact, distinct(of_artefact), strict=True)
    return {"title": title, "links": {name: f"artefacts/{stem}.html" for name, stem in stems}}


def _write(output: Output, pages: Iterable[_Page]) -> None:
    made = templates()
    for page in pages:
        stamp = page.source and page.source.stamp
        output.keep(page.name, [page.template, page.inputs, stamp], partial(_render, made, page))


def _render(made: Environment, page: _Page) -> Made:
    inputs = {**page.inputs, "detail": page.source and page.source.read()}
    text = made.get_template(page.template).render(inputs)
    return Made({page.name: text.encode()})


def _lines(runs: pd.DataFrame) -> list[Line]:
    told = runs.drop(columns="path")  # where a run lies on this machine is on no page
    records = told.astype(object).where(told.notna(), None).to_dict("records")
    stems = distinct(str(record["run_id"]) for record in records)
    return [
        {**{str(name): value for name, value in record.items()}, "href": f"runs/{stem}.html"}
        for record, stem in zip(records, stems, strict=True)
    ]


def _parts(lines: list[Line], content: Content) -> dict[str, Parts]:
    """What the page of every artefact shows, tables of the paper first."""
    tables, figures = content.tables, content.figures
    names = {str(line["artefact"]) for line in lines}
    names |= {table.artefact for table in tables} | {figure.artefact for figure in figures}
    names |= {picture.artefact for picture in content.pictures}
    parts = {name: Parts() for name in sorted(names, key=natural)}
    for line in lines:
        parts[line["artefact"]].runs.append(line)
    for table in tables:
        parts[table.artefact].tables.append(table)
    for figure in figures:
        parts[figure.artefact].figures.append(figure)
    for picture in content.pictures:
        parts[picture.artefact].pictures.append(picture)
    return parts


def _index(
    lines: list[Line],
    of_artefact: dict[str, Parts],
    common: dict[str, Any],
    told: list[Claim],
    content: Content,
) -> _Page:
    inputs = {"root": "", "runs": lines, "claims": told, "run_links": _run_links(told, lines)}
    inputs |= {"missing": content.missing, "problems": content.problems}
    inputs["counts"] = _counts(lines)
    inputs["artefacts"] = [
        {
            "name": name,
            "contents": [
                *((f"table-{table.stem}", table.title) for table in parts.tables),
                *((f"picture-{picture.stem}", picture.title) for picture in parts.pictures),
                *((f"figure-{figure.stem}", figure.title) for figure in parts.figures),
            ],
            "counts": _counts(parts.runs),
        }
        for name, parts in of_artefact.items()
    ]
    return _Page("index.html", "index.html.j2", {**common, **inputs})


def _artefact_pages(
    of_artefact: dict[str, Parts], common: dict[str, Any], told: list[Claim]
) -> Iterator[_Page]:
    for name, parts in of_artefact.items():
        here = [claim for claim in told if claim.artefact == name]
        inputs = {"root": "../", "artefact": name, "parts": parts, "claims": here}
        inputs["run_links"] = _run_links(here, parts.runs)
        yield _Page(common["links"][name], "artefact.html.j2", {**common, **inputs})


def _run_pages(
    lines: list[Line],
    pictures: Callable[[str], Sequence[Picture]],
    common: dict[str, Any],
    sources: Mapping[str, Source],
) -> Iterator[_Page]:
    for line in lines:
        run_id = line["run_id"]
        inputs = {**common, "root": "../", "run": line, "pictures": pictures(run_id)}
        yield _Page(line["href"], "run.html.j2", inputs, sources[run_id])


def _run_links(told: list[Claim], lines: list[Line]) -> dict[str, str]:
    """The pages of the runs that claims rest on."""
    named = {run_id for claim in told for run_id in claim.runs}
    return {line["run_id"]: line["href"] for line in lines if line["run_id"] in named}


def _counts(lines: list[Line]) -> dict[str, int]:
    """How many runs are done, failed, unfinished."""
    counts: dict[str, int] = {}
    for name in ("done", "failed", "unfinished"):
        if found := sum(mark(str(line["status"]), "status") == name for line in lines):
            counts[name] = found
    return counts
