"""Every figure of a report, as data; `write` draws one to files.

Figures of one run (`run_id` is set) are for its page, which draws them itself: a report of
hundreds of runs would take minutes to draw them here.
"""

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from pgbench.reports import figure4, metric_curves, run_curves
from pgbench.reports.curves import Curve as Curve
from pgbench.reports.curves import Figure as Figure
from pgbench.reports.drawing import write as write
from pgbench.reports.snapshots import snapshot_values


def figures(results: pd.DataFrame, runs: pd.DataFrame, stats: pd.DataFrame) -> list[Figure]:
    """Every figure that the records, runs and statistics can fill; those of artefacts come first.

    The arguments are what `load_results`, `load_runs` and `load_stats` return.
    """
    values = snapshot_values(results, stats)
    return _distinct(
        [
            *figure4.figures(values, runs, stats),
            *metric_curves.figures(values),
            *run_curves.cost_figures(runs, stats),
            *run_curves.figures(runs, stats),
        ]
    )


def _distinct(made: Iterable[Figure]) -> list[Figure]:
    """Number the stems that two data sets would share on some disk."""
    taken: set[str] = set()
    distinct = []
    for figure in made:
        stem, number = figure.stem, 2
        while stem.lower() in taken:
            stem, number = f"{figure.stem}-{number}", number + 1
        taken.add(stem.lower())
        distinct.append(replace(figure, stem=stem))
    return distinct
