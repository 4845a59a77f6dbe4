"""From values to one line per row and metric: the mean over seeds and how sure it is.

Only finished runs count, at their last clock, measured by the newest version of a metric.
Profiles, data sets, resolutions and configurations never mix; what is left out is told in
`attrs["problems"]`.
"""

import math

import pandas as pd
from scipy import stats

GROUP = ["artefact", "dataset", "profile", "resolution", "row", "metric", "key"]
ROW = GROUP[:5]
# What must be equal for values to be seeds of one thing.
VARIANT = ["kimg", "config_hash", "dataset_fingerprint"]
COLUMNS = [*GROUP, "kimg", "metric_version", "n_seeds", "mean", "std", "low", "high"]


def aggregate(results: pd.DataFrame) -> pd.DataFrame:
    """One line per artefact, data set, profile, resolution, row, metric and key, as in COLUMNS.

    `std` is the sample's (ddof 1); `low` and `high` bound the 95 % interval of the mean by
    Student's t. All three are NaN for a single seed.
    """
    problems: list[str] = []
    done = results[results["run_status"] == "done"]
    done = done.assign(kimg=done["kimg"].round(1))  # a snapshot's name rounds its clock
    last = done[done["kimg"] == done.groupby("run_id")["kimg"].transform("max")]
    last = last.drop_duplicates(["run_id", "metric", "key", "metric_version"], keep="last")
    values = _measured(_newest(last, problems), problems)
    values = _one_variant(values, problems)
    lines = [
        {**dict(zip(GROUP, name, strict=True)), **_summary(seeds)}
        for name, seeds in values.groupby(GROUP)
    ]
    table = pd.DataFrame(lines, columns=COLUMNS)
    table.attrs["problems"] = problems
    return table


def row_status(runs: pd.DataFrame) -> dict[tuple[object, ...], str]:
    """(artefact, dataset, profile, resolution, row) -> what became of its runs, in words."""
    return {name: _status(of_row) for name, of_row in runs.groupby(ROW)}


def interval(values: pd.Series, level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of `values` (n,); NaN for fewer than two."""
    count = len(values)
    if count < 2:
        return math.nan, math.nan
    half = stats.t.ppf((1 + level) / 2, count - 1) * values.std() / math.sqrt(count)
    return float(values.mean() - half), float(values.mean() + half)


def _summary(seeds: pd.DataFrame) -> dict[str, object]:
    low, high = interval(seeds["value"])
    first = seeds.iloc[0]
    return {
        "kimg": first["kimg"],
        "metric_version": first["metric_version"],
        "n_seeds": len(seeds),
        "mean": seeds["value"].mean(),
        "std": seeds["value"].std(),
        "low": low,
        "high": high,
    }


def _newest(results: pd.DataFrame, problems: list[str]) -> pd.DataFrame:
    newest = results.groupby("metric")["metric_version"].transform("max")
    old = results[results["metric_version"] < newest]
    for (metric, version), values in old.groupby(["metric", "metric_version"]):
        problems.append(
            f"{len(values)} values of {metric} are of the metric's version {version} and were set "
            f"aside, as {newest[values.index[0]]} is the newest here; evaluate again: "
            f"{', '.join(values['run_id'].unique())}."
        )
    return results[results["metric_version"] == newest]


def _measured(results: pd.DataFrame, problems: list[str]) -> pd.DataFrame:
    """Keep what has a value; what failed or was skipped is told once per run and metric."""
    missing = results[results["status"] != "ok"]
    for _, record in missing.drop_duplicates(["run_id", "metric", "status"]).iterrows():
        verb = "failed" if record["status"] == "failed" else "was skipped"
        where = f"for run {record['run_id']} at {record['kimg']:g} kimg"
        problems.append(
            f"{record['metric']} {verb} {where}: {record['error'] or 'no reason given'}."
        )
    return results[results["status"] == "ok"]


def _one_variant(values: pd.DataFrame, problems: list[str]) -> pd.DataFrame:
    """Of a row run in several configurations keep the one with most seeds, then the longest."""
    kept = []
    for name, of_row in values.groupby(ROW):
        seeds = of_row.groupby(VARIANT)["seed"].nunique().reset_index()
        best = seeds.sort_values(["seed", *VARIANT]).iloc[-1]
        same = (of_row[VARIANT] == best[VARIANT]).all(axis="columns")
        kept.append(of_row[same])
        for run_id in of_row.loc[~same, "run_id"].unique():
            problems.append(
                f"Run {run_id} was set aside: its configuration, data or clock is not that of "
                f"{of_row.loc[same, 'run_id'].iloc[0]}, shown for row {name[-1]}."
            )
    return pd.concat(kept) if kept else values


def _status(runs: pd.DataFrame) -> str:
    """Such as "done", "failed", "unfinished (45 of 90 kimg)", "2 done, 1 failed"."""
    unfinished = runs[~runs["status"].isin(["done", "failed"])].sort_values("kimg")
    counts = {name: int((runs["status"] == name).sum()) for name in ("done", "failed")}
    parts = [(count, name) for name, count in counts.items() if count]
    if len(unfinished):
        furthest = unfinished.iloc[-1]
        clock = f"({furthest['kimg']:g} of {furthest['total_kimg']:g} kimg)"
        parts.append((len(unfinished), f"unfinished {clock}"))
    if len(parts) == 1:
        return parts[0][1]
    return ", ".join(f"{count} {name}" for count, name in parts)
