"""report.md: all of a report on one page of Markdown, to read where there is no browser."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pgbench.reports.markdown import escape, table, to_markdown
from pgbench.reports.pages import Claim, claims, effect
from pgbench.reports.site import Content
from pgbench.reports.tables import Table

FIRST_RUN = "pgbench run ablation --row g"


def one_page(results: Path, content: Content) -> str:
    """Runs, what was set aside, claims, tables and pictures, with links to their files."""
    parts = [_heading(results, content.runs), _set_aside(content.problems)]
    parts += _claims(content.ledger)
    parts += [_with_files(one) for one in content.tables]
    parts += [_picture(one.title, one.caption, one.name) for one in content.pictures]
    parts += [
        _picture(one.title, one.caption, f"figures/{one.stem}.png") for one in content.figures
    ]
    return "\n".join(parts)


def _heading(results: Path, runs: pd.DataFrame) -> str:
    title = "# Report\n"
    if runs.empty:
        where = f"No runs were found in {escape(results)}"
        return f"{title}\n{where}. Make the first row of table 1 with `{FIRST_RUN}`.\n"
    return f"{title}\nRuns in {escape(results)}: {len(runs)}.\n\n{_runs(runs)}"


def _runs(runs: pd.DataFrame) -> str:
    header = ["run", "row", "data set", "profile", "status", "error", "resolution", "seed"]
    header += ["kimg", "of", "hours"]
    columns = ["run_id", "row", "dataset", "profile", "status", "error", "resolution", "seed"]
    rows = []
    for run in runs.fillna({"error": ""}).to_dict("records"):
        clock = [f"{run['kimg']:g}", f"{run['total_kimg']:g}", f"{run['wall_sec'] / 3600:.2f}"]
        rows.append([*(escape(run[column]) for column in columns), *clock])
    return table(header, rows, left=6)


def _set_aside(problems: Sequence[str]) -> str:
    if not problems:
        return "Nothing was set aside.\n"
    lines = "".join(f"- {escape(problem)}\n" for problem in problems)
    return f"## Set aside\n\n{lines}"


def _claims(ledger: pd.DataFrame | None) -> list[str]:
    """A section, where there are any."""
    told = claims(ledger)
    header = ["claim", "data set", "profile", "verdict", "what is missing"]
    header += ["paper's effect", "ours", "interval", "seeds"]
    lines = [[escape(cell) for cell in _line(claim)] for claim in told]
    return [f"## Claims of the paper\n\n{table(header, lines, left=5)}"] if told else []


def _line(claim: Claim) -> tuple[object, ...]:
    bounds = [effect(bound) for bound in (claim.low, claim.high) if bound is not None]
    return (
        *(claim.claim, claim.dataset, claim.profile, claim.verdict, claim.missing or ""),
        *(effect(claim.published), effect(claim.ours), " to ".join(bounds), claim.seeds or ""),
    )


def _with_files(one: Table) -> str:
    links = (f"[{one.stem}.{end}](tables/{one.stem}.{end})" for end in ("csv", "md", "tex"))
    return f"{to_markdown(one)}\nFiles: {', '.join(links)}\n"


def _picture(title: str, caption: str, name: str) -> str:
    return f"## {escape(title)}\n\n![{escape(title)}]({name})\n\n{escape(caption)}\n"
