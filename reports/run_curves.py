"""What one run wrote at its ticks as curves, and what a row costs at each resolution."""

import numpy as np
import pandas as pd

from pgbench.reports.figures import Curve, Figure, floats, plain
from pgbench.reports.metric_curves import BANDS, SETTING, place_of
from pgbench.reports.names import row_order

GROUPS = {  # stem: title, axis, columns and their names
    "loss": ("Losses", "loss", {"D_loss": "D", "G_loss": "G"}),
    "score": ("Scores of D", "score", {"real_score": "reals", "fake_score": "fakes"}),
    "penalty": ("Gradient penalty", "penalty", {"penalty": "penalty"}),
    "gradients": ("Gradient norms", "norm", {"D_grad_norm": "D", "G_grad_norm": "G"}),
}
LOGARITHMIC = ("gradients",)
KIMG = "thousand images shown (kimg)"


def figures(ticks: pd.DataFrame, run_id: str) -> list[Figure]:
    """Losses, scores, penalty and gradient norms of one run, to be drawn on its page."""
    made = (_of_run(ticks, stem, run_id) for stem in GROUPS)
    return [figure for figure in made if figure is not None]


def _of_run(ticks: pd.DataFrame, stem: str, run_id: str) -> Figure | None:
    title, label, columns = GROUPS[stem]
    kimg = ticks["kimg"].to_numpy()
    curves = []
    for column, name in columns.items():
        values = ticks[column].to_numpy()
        known = ~np.isnan(values)
        if known.any():
            curves.append(Curve(name, floats(kimg[known]), floats(values[known])))
    if not curves:
        return None
    positive = all(min(curve.y) > 0 for curve in curves)
    return Figure(
        stem=stem,
        title=title,
        caption=f"{title} of {plain(run_id)}, means between ticks.",
        x_label=KIMG,
        y_label=label,
        curves=tuple(curves),
        log_y=stem in LOGARITHMIC and positive,
    )


def cost_figures(runs: pd.DataFrame, stats: pd.DataFrame) -> list[Figure]:
    """Seconds of training per kimg at each resolution, a curve for every row."""
    settings = runs[["run_id", "row", *SETTING]]
    costs = _costs(stats).merge(settings, on="run_id")
    return [_cost_figure(name, here) for name, here in costs.groupby(SETTING)]


def _cost_figure(setting: tuple[object, ...], costs: pd.DataFrame) -> Figure:
    artefact, place = str(setting[0]), place_of(setting)
    rows = sorted(costs.groupby("row"), key=lambda of: row_order(str(of[0])))
    return Figure(
        stem=place.stem(f"{artefact}-cost"),
        title=f"Cost by resolution: {plain(place)}",
        caption="Seconds of training per 1000 images shown, median over ticks, on whatever machine "
        f"each run was trained. {BANDS}.",
        x_label="resolution",
        y_label="seconds per kimg",
        curves=tuple(_cost_curve(row, of_row) for row, of_row in rows),
        log_x=True,
        log_y=True,
        artefact=artefact,
    )


def _costs(stats: pd.DataFrame) -> pd.DataFrame:
    """run_id, at_resolution, seconds per kimg: the median of the ticks at that resolution."""
    before = stats.groupby("run_id")[["kimg", "train_sec"]].shift(fill_value=0.0)
    seconds = (stats["train_sec"] - before["train_sec"]) / (stats["kimg"] - before["kimg"])
    ticks = stats.assign(seconds=seconds, at_resolution=stats["resolution"])
    ticks = ticks[(ticks["seconds"] > 0) & (ticks["at_resolution"] > 0)]
    medians = ticks.groupby(["run_id", "at_resolution"])[["seconds"]].median()
    return medians.reset_index()


def _cost_curve(row: object, costs: pd.DataFrame) -> Curve:
    at = costs.groupby("at_resolution")["seconds"].agg(["mean", "min", "max"])
    several = costs["run_id"].nunique() > 1
    low, high = (floats(at[side]) if several else None for side in ("min", "max"))
    return Curve(plain(f"row {row}"), floats(at.index), floats(at["mean"]), low, high)
