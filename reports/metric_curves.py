"""Metrics over training, a curve for every row; bands over seeds."""

import pandas as pd

from pgbench.reports.curves import Curve, Figure, plain
from pgbench.reports.markdown import file_stem
from pgbench.reports.snapshots import BANDS, SETTING, followed_metric, seed_curves

KINDS = {  # of metric: key, what the axis says, whether it is logarithmic
    "swd": ("avg", "SWD × 1000, average over levels", True),
    "msssim": ("msssim", "MS-SSIM", False),
    "is": ("is_mean", "Inception score", False),
    "fid": ("fid", "FID", True),
    "kid": ("kid_mean", "KID", False),
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
    artefact, dataset, profile, resolution = map(str, setting)
    where = f"{artefact}, {dataset} at {resolution}x{resolution}, profile {profile}"
    return Figure(
        stem=file_stem(artefact, kind, dataset, profile, resolution),
        title=plain(f"{label.partition(',')[0]} while training: {artefact}, {dataset}"),
        caption=f"{metric}, {plain(where)}. {BANDS}.",
        x_label="thousand images shown (kimg)",
        y_label=label,
        curves=tuple(_curves(ours)),
        log_y=logarithmic,
        artefact=artefact,
    )


def _curves(values: pd.DataFrame) -> list[Curve]:
    rows = values.groupby("row")
    return [curve for row, here in rows for curve in seed_curves(here, f"row {row}", x="kimg")]
