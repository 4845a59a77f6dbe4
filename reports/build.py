"""All pages from one folder of results; the same records make the same bytes."""

from pathlib import Path

import pandas as pd

from pgbench.reports import table1
from pgbench.reports.aggregate import aggregate
from pgbench.reports.markdown import escape, table
from pgbench.results import load_results, load_runs, write_text_atomically

FIRST_RUN = "pgbench run ablation --row g"


def build(results: Path, out: Path) -> list[Path]:
    """Write report.md and a CSV and a Markdown file per table to `out`; returns their paths."""
    values, runs = load_results(results), load_runs(results)
    made = table1.tables(values, runs)
    problems = [
        *runs.attrs["problems"],
        *values.attrs["problems"],
        *aggregate(values).attrs["problems"],
        *table1.unknown_rows(runs),
    ]
    pages = {}
    overview = [_heading(results, runs), _set_aside(list(dict.fromkeys(problems)))]
    for stem, one in _distinct_stems(made).items():
        pages[f"{stem}.csv"], pages[f"{stem}.md"] = one.to_csv(), one.to_markdown()
        overview.append(
            f"{one.to_markdown()}\nFiles: [{stem}.csv]({stem}.csv), [{stem}.md]({stem}.md)\n"
        )
    pages["report.md"] = "\n".join(overview)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        write_text_atomically(out / name, text)
    return [out / name for name in pages]


def _distinct_stems(made: list[table1.Table]) -> dict[str, table1.Table]:
    """File names of the tables, numbered where two data sets would share one."""
    stems: dict[str, table1.Table] = {}
    for one in made:
        stem, number = one.stem, 2
        while stem.lower() in map(str.lower, stems):
            stem, number = f"{one.stem}-{number}", number + 1
        stems[stem] = one
    return stems


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
    for _, run in runs.fillna({"error": ""}).iterrows():
        clock = [f"{run['kimg']:g}", f"{run['total_kimg']:g}", f"{run['wall_sec'] / 3600:.2f}"]
        rows.append([*(escape(run[column]) for column in columns), *clock])
    return table(header, rows, left=6)


def _set_aside(problems: list[str]) -> str:
    if not problems:
        return "Nothing was set aside.\n"
    lines = "".join(f"- {escape(problem)}\n" for problem in problems)
    return f"## Set aside\n\n{lines}"
