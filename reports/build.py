"""A report from one folder of results: tables, figures, pictures and pages.

The same runs make the same files, whatever was there before; what did not change is not made again.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pandas as pd

from pgbench.reports import (
    celebahq,
    fid,
    figure4,
    lsgan,
    lsun,
    metric_curves,
    run_curves,
    table1,
    table3,
    table4,
    training_time,
)
from pgbench.reports.drawing import Draw, drawn_apart
from pgbench.reports.figures import Figure
from pgbench.reports.latex import to_latex
from pgbench.reports.markdown import to_markdown
from pgbench.reports.names import distinct
from pgbench.reports.output import CACHE, Made, Output, report_folder
from pgbench.reports.overview import FIRST_RUN, one_page
from pgbench.reports.run_files import devices, sources, stamps
from pgbench.reports.sheets import gallery
from pgbench.reports.site import Content, Missing, write_overview, write_run_pages
from pgbench.reports.summary import Summary, summarise, unknown_rows
from pgbench.reports.tables import Table
from pgbench.reports.training_stats import load_stats
from pgbench.results import load_runs, results_of, run_folders

Judge = Callable[[pd.DataFrame, pd.DataFrame, pd.DataFrame], pd.DataFrame]
Part = TypeVar("Part", Table, Figure)
TITLE = "Progressive GANs: our runs"
ROWS = {
    table1.ARTEFACT: list(table1.LABELS),
    table3.ARTEFACT: list(table3.ROWS),
    table4.ARTEFACT: list(table4.ROWS),
    celebahq.ARTEFACT: [celebahq.ROW],
    lsgan.ARTEFACT: list(lsgan.ROWS),
}
# What a report can show: the artefacts of the tables and figures, what they are, how to make them.
MAKES = {
    table1.ARTEFACT: ("Table 1: the ablation", "pgbench run ablation --row all"),
    figure4.ARTEFACT: ("Figure 4: growing, and how it shortens training", "pgbench run figure4"),
    table3.ARTEFACT: ("Table 3: inception scores of CIFAR-10", "pgbench run cifar10"),
    table4.ARTEFACT: ("Table 4: modes of MNIST", "pgbench run mnist-modes"),
    celebahq.ARTEFACT: ("CelebA-HQ: SWD and FID", "pgbench run celebahq"),
    lsun.ARTEFACT: ("LSUN: SWD, MS-SSIM and FID", "pgbench run lsun"),
    lsgan.ARTEFACT: ("LSGAN beside WGAN-GP", "pgbench run lsgan"),
    training_time.STEM: ("Training times", FIRST_RUN),
}


def build(results: Path, out: Path, *, judge: Judge | None = None) -> list[Path]:
    """Write the report of `results` to `out`; returns the paths of all its files.

    `judge` makes the ledger of claims from values, runs and statistics, its columns those of
    `pages.Claim`. An index.html to read, report.md, tables/, figures/ and pictures/.
    """
    run_folders(results)  # of a folder that is not there no report is begun
    with report_folder(out) as output, ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        draw = stack.enter_context(drawn_apart())
        runs = load_runs(results)
        stamped = stamps(runs)
        stats = load_stats(runs, cache=out / CACHE)
        shown = stack.enter_context(gallery(output, runs, stats))
        values = results_of(runs, cache=out / CACHE)
        curves = figures(values, runs, stats)
        drawn = pool.submit(_write_figures, output, curves, draw)
        ledger = None if judge is None else judge(values, runs, stats)
        summary = summarise(values, runs, ledger=ledger, devices=devices(runs))
        made = tables(summary)
        for one in made:
            _write_table(output, one)
        told = problems(summary) + stats.attrs["problems"]
        content = Content(runs, made, curves, [], ledger, told, missing(runs, made, curves))
        details = sources(runs, values, stats, stamps=stamped)
        write_run_pages(output, content, title=TITLE, sources=details, pictures=shown.of)
        content = replace(content, pictures=shown.of(None), problems=[*told, *shown.problems()])
        output.put("report.md", one_page(results, content))
        write_overview(output, content, title=TITLE)
        drawn.result()
    return [out / name for name in sorted(output.files())]


def tables(summary: Summary) -> list[Table]:
    """Every table there are runs for, in the paper's order."""
    modules = (table1, table3, table4, celebahq, fid, lsun, lsgan, training_time)
    return _distinct([one for module in modules for one in module.tables(summary)])


def figures(results: pd.DataFrame, runs: pd.DataFrame, stats: pd.DataFrame) -> list[Figure]:
    """Every figure that the values, runs and statistics can fill; those of artefacts come first."""
    values = metric_curves.snapshot_values(results)
    return _distinct(
        [
            *figure4.figures(values, runs, stats),
            *metric_curves.figures(values),
            *run_curves.cost_figures(runs, stats),
        ]
    )


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


def _distinct(made: Sequence[Part]) -> list[Part]:
    """Number the stems that two would share."""
    stems = distinct(one.stem for one in made)
    return [replace(one, stem=stem) for one, stem in zip(made, stems, strict=True)]


def _write_table(output: Output, one: Table) -> None:
    output.put(f"tables/{one.stem}.csv", one.to_csv())
    output.put(f"tables/{one.stem}.md", to_markdown(one))
    output.put(f"tables/{one.stem}.tex", to_latex(one))


def _write_figures(output: Output, curves: Sequence[Figure], draw: Draw) -> None:
    named = {f"figures/{figure.stem}": figure for figure in curves}

    def make(names: list[str]) -> dict[str, Made]:
        files = draw([named[name] for name in names])
        return {
            name: Made({f"{name}{ending}": content for ending, content in of_figure.items()})
            for name, of_figure in zip(names, files, strict=True)
        }

    output.keep_all(named, make)


def missing(runs: pd.DataFrame, made: Sequence[Table], drawn: Sequence[Figure]) -> list[Missing]:
    """Artefacts that nothing was run for."""
    there = {*runs["artefact"], *(one.artefact for one in made), *(one.artefact for one in drawn)}
    return [Missing(*told) for artefact, told in MAKES.items() if artefact not in there]
