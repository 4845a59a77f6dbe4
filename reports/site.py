"""A report as pages to read: an overview, a page per artefact and a page per run.

Static files without a framework or a network: HTML and drawings made here, one style sheet, and
one script that sorts tables and reads values off curves. The same inputs make the same bytes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pgbench.reports.curves import Figure
from pgbench.reports.incremental import Page, write_pages
from pgbench.reports.pages import Claim, claims, distinct, mark, natural, templates
from pgbench.reports.pictures import Picture, Shown, copy_pictures, copy_static
from pgbench.reports.tables import Table

Line = dict[str, Any]  # a run: its row of load_runs, and `href`, its page


@dataclass(frozen=True)
class RunDetail:
    """What the files of a run say: each as its JSON; `protocols` by metric."""

    config: Mapping[str, object]
    environment: Mapping[str, object] = field(default_factory=dict)
    protocols: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    status: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Missing:
    """Something the report could show, and the command that makes it."""

    what: str
    command: str


@dataclass
class Parts:
    """What one page shows; tables and figures with the names they are linked by."""

    tables: list[tuple[str, Table]] = field(default_factory=list)
    figures: list[tuple[str, Figure]] = field(default_factory=list)
    shown: list[tuple[str, Shown]] = field(default_factory=list)
    files: dict[str, list[str]] = field(default_factory=dict)  # by stem, relative to the report
    runs: list[Line] = field(default_factory=list)


def write_site(
    out: Path,
    *,
    title: str,
    runs: pd.DataFrame,
    tables: Sequence[Table],
    figures: Sequence[Figure],
    pictures: Sequence[Picture],
    ledger: pd.DataFrame | None,
    problems: Sequence[str],
    details: Mapping[str, RunDetail],
    missing: Sequence[Missing] = (),
    files: Iterable[Path] = (),
) -> list[Path]:
    """Write the report into `out`; returns the paths of all its files, also of unchanged ones.

    `ledger` has the fields of `pages.Claim` as columns. `files` are downloads that lie under `out`
    already: those named after a table or figure are offered beside it.
    """
    out.mkdir(parents=True, exist_ok=True)
    lines, told = _lines(runs), claims(ledger)
    shown = copy_pictures(out, pictures)
    of_artefact, of_run = _parts(lines, tables, figures, shown, _by_stem(out, files))
    stems = zip(of_artefact, distinct(of_artefact), strict=True)
    links = {name: f"artefacts/{stem}.html" for name, stem in stems}
    common = {"title": title, "links": links}
    pages = [
        _index(lines, of_artefact, common, told, list(missing), list(problems)),
        *_artefact_pages(of_artefact, common, told),
        *_run_pages(lines, of_run, common, details),
    ]
    others = [*copy_static(out), *(f"pictures/{one.name}" for one in shown if one.kind)]
    write_pages(out, pages, others=others, templates=templates())
    return [out / name for name in [*(page.name for page in pages), *others]]


def _lines(runs: pd.DataFrame) -> list[Line]:
    records = runs.astype(object).where(runs.notna(), None).to_dict("records")
    stems = distinct(str(record["run_id"]) for record in records)
    return [
        {**{str(name): value for name, value in record.items()}, "href": f"runs/{stem}.html"}
        for record, stem in zip(records, stems, strict=True)
    ]


def _by_stem(out: Path, files: Iterable[Path]) -> dict[str, list[str]]:
    """Paths relative to `out`, by the stem of their names."""
    stems: dict[str, list[str]] = {}
    for path in sorted(files):
        stems.setdefault(path.stem, []).append(path.relative_to(out).as_posix())
    return stems


def _parts(
    lines: list[Line],
    tables: Sequence[Table],
    figures: Sequence[Figure],
    shown: Sequence[Shown],
    files: dict[str, list[str]],
) -> tuple[dict[str, Parts], dict[str, Parts]]:
    """What the page of every artefact, and of every run, shows."""
    of_run = {str(line["run_id"]): Parts(runs=[line]) for line in lines}
    names = {line["artefact"] for line in lines} | {table.artefact for table in tables}
    names |= {one.artefact for one in figures if one.run_id not in of_run}
    names |= {one.picture.artefact for one in shown if one.picture.run_id not in of_run}
    of_artefact = {name: Parts() for name in sorted(names, key=natural)}
    for line in lines:
        of_artefact[line["artefact"]].runs.append(line)
    for name, table in zip(distinct(one.stem for one in tables), tables, strict=True):
        _give(of_artefact[table.artefact], files, table.stem).tables.append((name, table))
    for name, figure in zip(distinct(one.stem for one in figures), figures, strict=True):
        owner = of_run.get(figure.run_id or "") or of_artefact[figure.artefact]
        _give(owner, files, figure.stem).figures.append((name, figure))
    for name, one in zip(distinct(one.picture.stem for one in shown), shown, strict=True):
        owner = of_run.get(one.picture.run_id or "") or of_artefact[one.picture.artefact]
        owner.shown.append((name, one))
    return of_artefact, of_run


def _give(owner: Parts, files: dict[str, list[str]], stem: str) -> Parts:
    owner.files |= {stem: files[stem]} if stem in files else {}
    return owner


def _index(
    lines: list[Line],
    of_artefact: dict[str, Parts],
    common: dict[str, Any],
    told: list[Claim],
    missing: list[Missing],
    problems: list[str],
) -> Page:
    inputs = {"root": "", "runs": lines, "claims": told, "run_links": _run_links(told, lines)}
    inputs |= {"missing": missing, "problems": problems, "counts": _counts(lines)}
    inputs["artefacts"] = [
        {
            "name": name,
            "tables": [(anchor, table.title) for anchor, table in parts.tables],
            "figures": [(anchor, figure.title) for anchor, figure in parts.figures],
            "pictures": len(parts.shown),
            "counts": _counts(parts.runs),
        }
        for name, parts in of_artefact.items()
    ]
    return Page("index.html", "index.html.j2", {**common, **inputs})


def _artefact_pages(
    of_artefact: dict[str, Parts], common: dict[str, Any], told: list[Claim]
) -> Iterator[Page]:
    for name, parts in of_artefact.items():
        here = [claim for claim in told if claim.artefact == name]
        inputs = {"root": "../", "artefact": name, "parts": parts, "claims": here}
        inputs["run_links"] = _run_links(here, parts.runs)
        yield Page(common["links"][name], "artefact.html.j2", {**common, **inputs})


def _run_pages(
    lines: list[Line],
    of_run: dict[str, Parts],
    common: dict[str, Any],
    details: Mapping[str, RunDetail],
) -> Iterator[Page]:
    for line in lines:
        run_id = str(line["run_id"])
        inputs = {"root": "../", "run": line, "parts": of_run[run_id]}
        inputs["detail"] = details.get(run_id, RunDetail({}))
        yield Page(line["href"], "run.html.j2", {**common, **inputs})


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
