"""Metrics over training: values measured at snapshots as curves, the seeds of a row as one."""

import re

import numpy as np
import pandas as pd

from pgbench.reports.figures import Curve, Figure, floats, plain
from pgbench.reports.names import artefact_name, row_order
from pgbench.reports.summary import Place

SETTING = ["artefact", "dataset", "profile", "resolution"]
COLUMNS = [*SETTING, "row", "seed", "run_id", "run_status", "config_hash", "dataset_fingerprint"]
COLUMNS += ["kimg", "metric", "key", "value", "num_images"]
_VARIANT = ["config_hash", "dataset_fingerprint"]  # equal for values that are seeds of one thing
BANDS = "Lines are means over seeds, bands reach from the lowest to the highest seed"
KINDS = {  # of metric: key, what the axis says, whether it is logarithmic
    "swd": ("avg", "SWD × 1000, average over levels", True),
    "msssim": ("msssim", "MS-SSIM", False),
    "is": ("is_mean", "Inception score", False),
    "fid": ("fid", "FID", True),
    "kid": ("kid_mean", "KID", False),
    "modes": ("modes", "Modes of MNIST, of 1000", False),
}


def figures(values: pd.DataFrame) -> list[Figure]:
    """One figure per artefact, data set, profile, resolution and kind of metric, against kimg.

    `values` are those of `snapshot_values`.
    """
    return [
        figure
        for name, here in values.groupby(SETTING)
        for kind in KINDS
        if (figure := _figure(here, kind, name)) is not None
    ]


def _figure(values: pd.DataFrame, kind: str, setting: tuple[object, ...]) -> Figure | None:
    key, label, logarithmic = KINDS[kind]
    metric = followed_metric(values, kind)
    ours = values[(values["metric"] == metric) & (values["key"] == key)]
    if ours.empty:
        return None
    artefact, place = str(setting[0]), place_of(setting)
    return Figure(
        stem=place.stem(f"{artefact}-{kind}"),
        title=f"{label.partition(',')[0]} while training: {plain(place)}",
        caption=f"{metric} of the rows of {plain(artefact_name(artefact))}. {BANDS}.",
        x_label="thousand images shown (kimg)",
        y_label=label,
        curves=tuple(_curves(ours)),
        log_y=logarithmic,
        artefact=artefact,
    )


def place_of(setting: tuple[object, ...]) -> Place:
    """The values of SETTING as a place."""
    _, dataset, profile, resolution = map(str, setting)
    return Place(dataset, profile, int(resolution))


def _curves(values: pd.DataFrame) -> list[Curve]:
    rows = sorted(values.groupby("row"), key=lambda of: row_order(str(of[0])))
    return [curve for row, here in rows for curve in seed_curves(here, f"row {row}", x="kimg")]


def snapshot_values(results: pd.DataFrame) -> pd.DataFrame:
    """What was measured with a metric's newest version, by the clock."""
    newest = results.groupby("metric")["metric_version"].transform("max")
    good = results[(results["status"] == "ok") & (results["metric_version"] == newest)]
    good = good.assign(kimg=good["kimg"].round(1))
    good = good.drop_duplicates(["run_id", "kimg", "metric", "key"], keep="last")
    return good[COLUMNS].sort_values("kimg", kind="stable", ignore_index=True)


def followed_metric(values: pd.DataFrame, kind: str) -> str | None:
    """Of swd2k, swd16k, ... the one measured at most clocks; of equals, that of most images."""
    named = [
        name for name in values["metric"].unique() if re.fullmatch(rf"{kind}\d{{1,9}}k?", name)
    ]
    if len(named) < 2:
        return named[0] if named else None
    of_kind = values[values["metric"].isin(named)]
    clocks = of_kind.groupby("metric").agg({"kimg": "nunique", "num_images": "max"})
    order = clocks.sort_values(["kimg", "num_images"], kind="stable")
    return str(order.index[-1])


def seed_curves(values: pd.DataFrame, name: str, *, x: str) -> list[Curve]:
    """Curves of one row and key against `x`: finished seeds as one, unfinished runs dashed.

    Where seeds were measured at different clocks, those that all of them have count.
    """
    values = values[values[x].notna()]
    is_done = values["run_status"] == "done"
    done = values[is_done]
    curves = [_mean_curve(_most_seeds(done), name, x=x)] if len(done) else []
    if len(done) == len(values):  # many small figures add up
        return curves
    for _, run in values[~is_done].groupby("run_id"):
        state = "failed" if run["run_status"].iloc[0] == "failed" else "unfinished"
        label = plain(f"{name}, seed {run['seed'].iloc[0]} {state}")
        curves.append(Curve(label, floats(run[x]), floats(run["value"]), dashed=True))
    return curves


def _most_seeds(done: pd.DataFrame) -> pd.DataFrame:
    """Of a row run in several configurations the one with most seeds, then the longest."""
    if all(len(done[name].unique()) == 1 for name in _VARIANT):
        return done
    variants = done.groupby(_VARIANT).agg({"seed": "nunique", "kimg": "max"}).reset_index()
    best = variants.sort_values(["seed", "kimg", *_VARIANT]).iloc[-1]
    return done[(done[_VARIANT] == best[_VARIANT]).all(axis="columns")]


def _mean_curve(seeds: pd.DataFrame, name: str, *, x: str) -> Curve:
    """Of runs with at most one value at each clock."""
    ordered = seeds.sort_values("kimg", kind="stable")
    y, at = (ordered[column].to_numpy(float) for column in ("value", x))
    _, first, count = np.unique(ordered["kimg"], return_index=True, return_counts=True)
    shared = count == count.max()
    mean_x, mean_y = (floats((np.add.reduceat(of, first) / count)[shared]) for of in (at, y))
    if len(seeds["run_id"].unique()) == 1:
        return Curve(plain(name), mean_x, mean_y)
    low, high = (floats(bound.reduceat(y, first)[shared]) for bound in (np.minimum, np.maximum))
    return Curve(plain(name), mean_x, mean_y, low, high)
