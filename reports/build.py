"""All pages from one folder of results; the same records make the same bytes."""

from pathlib import Path

import pandas as pd

from pgbench.reports import celebahq, fid, lsgan, lsun, table1, table3, table4, training_time
from pgbench.reports.latex import to_latex
from pgbench.reports.markdown import escape, table, to_markdown
from pgbench.reports.summary import Summary, summarise, unknown_rows
from pgbench.reports.tables import Table
from pgbench.results import load_devices, load_results, load_runs, write_text_atomically

FIRST_RUN = "pgbench run ablation --row g"
ROWS = {
    table1.ARTEFACT: list(table1.LABELS),
    table3.ARTEFACT: list(table3.ROWS),
    table4.ARTEFACT: list(table4.ROWS),
    celebahq.ARTEFACT: [celebahq.ROW],
    lsgan.ARTEFACT: list(lsgan.ROWS),
}
CACHE = ".cache"  # of the records that were read, in the report's folder


def build(results: Path, out: Path, *, ledger: pd.DataFrame | None = None) -> list[Path]:
    """Write report.md and a CSV, Markdown and LaTeX file per table to `out`; returns their paths.

    `ledger` holds verdicts on claims, a line each: claim, artefact, rows, verdict, text.
    """
    values, runs = load_results(results, cache=out / CACHE), load_runs(results)
    summary = summarise(values, runs, ledger=ledger, devices=load_devices(results))
    pages = write_tables(made := tables(summary))
    pages["report.md"] = _report(results, summary, made)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        _write(out / name, text)
    return [out / name for name in pages]


def tables(summary: Summary) -> list[Table]:
    """Every table there are runs for, in the paper's order."""
    modules = (table1, table3, table4, celebahq, fid, lsun, lsgan, training_time)
    return [one for module in modules for one in module.tables(summary)]


def write_tables(made: list[Table]) -> dict[str, str]:
    """File name -> text, three for every table."""
    files = {}
    for stem, one in distinct_stems(made).items():
        files[f"{stem}.csv"] = one.to_csv()
        files[f"{stem}.md"] = to_markdown(one)
        files[f"{stem}.tex"] = to_latex(one)
    return files


def problems(summary: Summary) -> list[str]:
    """What was set aside, each once."""
    told = [
        *summary.runs.attrs["problems"],
        *summary.results.attrs["problems"],
        *summary.problems,
        *table3.set_aside(summary),
        *(
            told
            for name, rows in ROWS.items()
            for told in unknown_rows(summary.runs, name, rows=rows)
        ),
    ]
    return list(dict.fromkeys(told))


def distinct_stems(made: list[Table]) -> dict[str, Table]:
    """File names of the tables, numbered where two would share one."""
    stems: dict[str, Table] = {}
    taken: set[str] = set()
    for one in made:
        stem, number = one.stem, 2
        while stem.lower() in taken:
            stem, number = f"{one.stem}-{number}", number + 1
        stems[stem] = one
        taken.add(stem.lower())
    return stems


def _write(path: Path, text: str) -> None:
    """Put `text` there; a file that holds it already is left alone."""
    if not (path.is_file() and path.read_bytes() == text.encode()):
        write_text_atomically(path, text)


def _report(results: Path, summary: Summary, made: list[Table]) -> str:
    parts = [_heading(results, summary.runs), _set_aside(problems(summary))]
    for stem, one in distinct_stems(made).items():
        files = ", ".join(f"[{stem}.{end}]({stem}.{end})" for end in ("csv", "md", "tex"))
        parts.append(f"{to_markdown(one)}\nFiles: {files}\n")
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


def _set_aside(problems: list[str]) -> str:
    if not problems:
        return "Nothing was set aside.\n"
    lines = "".join(f"- {escape(problem)}\n" for problem in problems)
    return f"## Set aside\n\n{lines}"
