"""Figure 4 of the paper: quality and images shown against hours of training (section 6.2).

4a is row a, 4b row b: the SWD of every level of the Laplacian pyramid. 4c is how many images were
shown, with and without growing. The published figure gives no numbers: ours stand alone.
"""

import numpy as np
import pandas as pd

from pgbench.reports.figures import Curve, Figure, floats, plain
from pgbench.reports.metric_curves import BANDS, followed_metric, seed_curves
from pgbench.reports.names import artefact_name
from pgbench.reports.summary import Place
from pgbench.reports.training_stats import hours_at

ARTEFACT = "figure4"
FALLBACK = "table1"  # its rows a and b are the same configurations
PANELS = {"a": "without growing", "b": "with growing"}  # by row
RACES = (  # of 4c: what is left of it where it was not run comes first
    (FALLBACK, ("a", "b")),
    (ARTEFACT, ("a", "b")),
    (ARTEFACT, ("fixed", "growing")),
)
DOUBLINGS = "resolution doubles"
X_AXES = {"hours": "hours of training", "kimg": "thousand images shown (kimg)"}
AGAINST = {"hours": "hours", "kimg": "images"}  # in titles
_SETTING = ["dataset", "profile", "resolution"]
NO_EVALUATION = "Evaluation and writing are not in the hours."


def figures(values: pd.DataFrame, runs: pd.DataFrame, stats: pd.DataFrame) -> list[Figure]:
    """4a and 4b against hours and against kimg, and 4c, of every data set and profile.

    `values` are those of `snapshot_values`.
    """
    made = []
    for place, here in _settings(runs, tuple(PANELS)):
        ours = values[values["run_id"].isin(here["run_id"])]
        ours = ours.assign(hours=_hours(ours, stats))
        levels = {row: _levels(ours[ours["row"] == row]) for row in PANELS}
        ids = {row: here.loc[here["row"] == row, "run_id"] for row in PANELS}
        doublings = {row: _doublings(stats[stats["run_id"].isin(ids[row])]) for row in PANELS}
        for x, row in ((x, row) for x in X_AXES for row in PANELS):
            made += _panel(levels[row], doublings[row], row, place=place, x=x)
    return made + _races(runs, stats)


def _settings(runs: pd.DataFrame, rows: tuple[str, ...]) -> list[tuple[Place, pd.DataFrame]]:
    """Runs of `rows` by setting: figure 4's own, or table 1's where it has none."""
    of_rows = runs[runs["artefact"].isin([ARTEFACT, FALLBACK]) & runs["row"].isin(rows)]
    settings = []
    for (dataset, profile, resolution), here in of_rows.groupby(_SETTING):
        own = here[here["artefact"] == ARTEFACT]
        shown = own if len(own) else here
        settings.append((Place(str(dataset), str(profile), int(str(resolution))), shown))
    return settings


def _levels(values: pd.DataFrame) -> pd.DataFrame:
    """The SWD of single levels, by as many images at every clock."""
    followed = values[values["metric"] == followed_metric(values, "swd")]
    return followed[followed["key"].str.fullmatch(r"\d{1,6}")]


def _panel(
    levels: pd.DataFrame, doublings: pd.DataFrame, row: str, *, place: Place, x: str
) -> list[Figure]:
    """Figure 4a or 4b of one setting; none as long as no level was measured."""
    curves = [
        curve
        for level in sorted(levels["key"].unique(), key=int, reverse=True)
        for curve in seed_curves(levels[levels["key"] == level], f"SWD {level}", x=x)
        if curve.x
    ]
    if not curves:
        return []
    metric, artefact = levels[["metric", "artefact"]].iloc[0]
    source = "" if artefact == ARTEFACT else " Runs are those of table 1."
    stem = f"figure4{row}" if x == "hours" else f"figure4{row}-{x}"
    words = f"Row {row}, {PANELS[row]}: SWD ({metric}, times 1000) of each Laplacian level."
    return [
        Figure(
            stem=place.stem(stem),
            title=f"Figure 4{row}, SWD against {AGAINST[x]}: {plain(place)}",
            caption=f"{words} {NO_EVALUATION} {BANDS}.{source}",
            x_label=X_AXES[x],
            y_label="SWD × 1000",
            curves=tuple(curves),
            log_x=True,
            log_y=True,
            marks=floats(doublings[x]),
            marks_label=DOUBLINGS if len(doublings) else "",
            artefact=ARTEFACT,
        )
    ]


def _hours(values: pd.DataFrame, stats: pd.DataFrame) -> pd.Series:
    """Of training, at the clock of each value."""
    hours = pd.Series(np.nan, index=values.index, dtype="float64")
    ticks = dict(list(stats[stats["run_id"].isin(values["run_id"].unique())].groupby("run_id")))
    for run_id, of_run in values.groupby("run_id"):
        if run_id in ticks:
            hours.loc[of_run.index] = hours_at(ticks[run_id], of_run["kimg"])
    return hours


def _doublings(ticks: pd.DataFrame) -> pd.DataFrame:
    """Where the resolution doubled, `kimg` and `hours`, means over runs, by new resolution.

    Ticks are apart: the fade that began at the doubling says, by how far it is, when that was.
    """
    before = ticks.groupby("run_id").shift()
    per_kimg = (before["lod"] - ticks["lod"]) / (ticks["kimg"] - before["kimg"])
    fastest = per_kimg.groupby(ticks["run_id"]).transform("max")  # of a tick inside a fade
    faded_kimg = (np.ceil(ticks["lod"]) - ticks["lod"]) / fastest
    kimg = (ticks["kimg"] - faded_kimg).round(6).clip(before["kimg"], ticks["kimg"])
    share = (kimg - before["kimg"]) / (ticks["kimg"] - before["kimg"])
    seconds = before["train_sec"] + share * (ticks["train_sec"] - before["train_sec"])
    doubled = ticks["resolution"] > before["resolution"]
    found = ticks.assign(kimg=kimg, hours=seconds / 3600)[doubled]
    return found.groupby("resolution")[["kimg", "hours"]].mean()


def _races(runs: pd.DataFrame, stats: pd.DataFrame) -> list[Figure]:
    """Figure 4c at the largest resolution of each data set and profile that was run both ways."""
    largest: dict[tuple[str, str], Figure] = {}
    for artefact, rows in RACES:  # what comes later stays
        here = runs[runs["artefact"] == artefact]
        for place, of_setting in _settings(here, rows):
            race = _race(of_setting, stats, rows, place=place)
            if race is not None:
                largest[place.dataset, place.profile] = race
    return list(largest.values())


def _race(
    runs: pd.DataFrame, stats: pd.DataFrame, rows: tuple[str, str], *, place: Place
) -> Figure | None:
    curves = []
    for row, name in zip(rows, ("without growing", "with growing"), strict=True):
        of_row = runs[runs["row"] == row]
        run = of_row.sort_values(["kimg", "run_id"], ascending=[False, True]).head(1)["run_id"]
        ticks = stats[stats["run_id"].isin(run)].dropna(subset=["train_sec"])
        if len(ticks):
            hours = (0.0, *floats(ticks["train_sec"] / 3600))
            curves.append(Curve(name, hours, (0.0, *floats(ticks["kimg"]))))
    if len(curves) < 2:
        return None
    which = f"Rows {rows[0]} and {rows[1]} of {artefact_name(runs['artefact'].iloc[0])}"
    return Figure(
        stem=place.stem("figure4c"),
        title=f"Figure 4c, images against hours: {plain(place)}",
        caption=f"{which}, one run each.{_speed_up(*curves)} {NO_EVALUATION}",
        x_label=X_AXES["hours"],
        y_label=X_AXES["kimg"],
        curves=tuple(curves),
        artefact=ARTEFACT,
    )


def _speed_up(fixed: Curve, growing: Curve) -> str:
    """How many times faster growing reached the last clock that both have."""
    both = sorted(set(fixed.y) & set(growing.y))[-1]
    hours = [curve.x[curve.y.index(both)] for curve in (fixed, growing)]
    if not all(hours):
        return ""
    times = f"{hours[0] / hours[1]:.2f} times as fast"
    return f" Growing reached {both:g} kimg in {hours[1]:.3g} hours, {times}."
