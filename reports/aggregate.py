"""From values to one line per row and metric: the mean over seeds and how sure it is.

Only finished runs count, at one snapshot each, measured by the newest version of a metric.
Profiles, data sets, resolutions, configurations and protocols never mix; what is left out is told
in `attrs["problems"]`.
"""

import json
import math
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

GROUP = ["artefact", "dataset", "profile", "resolution", "row", "metric", "key"]
ROW = GROUP[:5]
# What must be equal for values to be seeds of one thing, and so must the protocol.
VARIANT = ["clock", "config_hash", "dataset_fingerprint"]
SEEDS = {"metric_seed", "fake_seeds"}  # of a protocol: they change no more than noise
COLUMNS = [*GROUP, "kimg", "metric_version", "n_seeds", "mean", "std", "low", "high"]
COLUMNS += ["max", "protocol"]


def aggregate(results: pd.DataFrame, *, best: str | None = None) -> pd.DataFrame:
    """One line per artefact, data set, profile, resolution, row, metric and key, as in COLUMNS.

    A run counts at its last clock or, with `best`, at the snapshot where that key is highest, for
    each metric that has it; kimg is NaN where these differ. `std` is the sample's (ddof 1); `low`
    and `high` bound the 95 % interval of the mean by Student's t. All three are NaN for one seed.
    """
    values, problems = one_per_seed(results, best=best)
    table = _means(values)
    table.attrs["problems"] = problems
    return table


def one_per_seed(
    results: pd.DataFrame, *, best: str | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """The values that `aggregate` averages, at most one per GROUP and seed, and what was left."""
    problems: list[str] = []
    done = results[results["run_status"] == "done"]
    done = done.assign(kimg=done["kimg"].round(1))  # a snapshot's name rounds its clock
    chosen = _last(done) if best is None else _best(done, best)
    name = ["run_id", "kimg", "metric", "key", "metric_version"]
    chosen = chosen.drop_duplicates(name, keep="last")
    values = _measured(_newest(chosen, problems), problems)
    values = values.assign(protocol=values["protocol"].map(_seedless(values["protocol"])))
    values = _one_protocol(_one_variant(values, problems), problems)
    return _distinct_seeds(values, problems), problems


def row_status(runs: pd.DataFrame) -> dict[tuple[object, ...], str]:
    """(artefact, dataset, profile, resolution, row) -> what became of its runs, in words."""
    return {name: status_words(of_row) for name, of_row in runs.groupby(ROW)}


def status_words(runs: pd.DataFrame) -> str:
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


def interval(values: pd.Series, level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of `values` (n,); NaN for fewer than two."""
    half = float(_half(np.array([values.std()]), np.array([len(values)]), level)[0])
    return float(values.mean() - half), float(values.mean() + half)


def _half(
    std: NDArray[np.float64], count: NDArray[np.int64], level: float = 0.95
) -> NDArray[np.float64]:
    """Half of the interval's length, for samples of `count` with `std`; NaN for one."""
    freedom = np.where(count > 1, count - 1, np.nan)
    return np.asarray(stdtrit(freedom, (1 + level) / 2) * std / np.sqrt(count), np.float64)


def _last(done: pd.DataFrame) -> pd.DataFrame:
    last = done[done["kimg"] == done.groupby("run_id")["kimg"].transform("max")]
    return last.assign(clock=last["kimg"])


def _best(done: pd.DataFrame, key: str) -> pd.DataFrame:
    """Every run at its best snapshot; the first of equals."""
    of_key = done[(done["key"] == key) & (done["status"] == "ok")].sort_values("kimg")
    name = ["run_id", "metric", "metric_version"]
    snapshots = of_key.loc[of_key.groupby(name)["value"].idxmax(), [*name, "kimg"]]
    return done.merge(snapshots, on=[*name, "kimg"]).assign(clock=lambda x: x["run_kimg"].round(1))


def _means(values: pd.DataFrame) -> pd.DataFrame:
    groups = values.groupby(GROUP)
    lines = groups["value"].agg(["mean", "std", "max", "count"]).reset_index()
    clock = groups["kimg"].agg(["min", "max"])
    same = (clock["min"] == clock["max"]).to_numpy()
    half = _half(lines["std"].to_numpy(float), lines["count"].to_numpy(int))
    return lines.assign(
        kimg=np.where(same, clock["max"].to_numpy(float), math.nan),
        low=lines["mean"] - half,
        high=lines["mean"] + half,
        n_seeds=lines["count"],
        metric_version=groups["metric_version"].first().to_numpy(),
        protocol=groups["protocol"].first().to_numpy(),
    )[COLUMNS]


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


def _seedless(protocols: pd.Series) -> dict[str, str]:
    """Every different protocol -> the same without its seeds."""
    return {text: json.dumps(_without_seeds(text), sort_keys=True) for text in protocols.unique()}


def _without_seeds(protocol: str) -> dict[str, object]:
    return {name: value for name, value in json.loads(protocol).items() if name not in SEEDS}


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


def _one_protocol(values: pd.DataFrame, problems: list[str]) -> pd.DataFrame:
    """Of a metric measured in several ways keep that of most seeds, then of most runs beside it."""
    shared = values.groupby([*ROW[:-1], "metric", "protocol"])["run_id"].nunique()
    kept = []
    for name, of_metric in values.groupby([*ROW, "metric"]):
        seeds = of_metric.groupby("protocol")["seed"].nunique()
        beside = {protocol: shared[(*name[:-2], name[-1], protocol)] for protocol in seeds.index}
        best = max(seeds.index, key=lambda way: (seeds[way], beside[way], way))
        same = of_metric["protocol"] == best
        kept.append(of_metric[same])
        shown = of_metric.loc[same, "run_id"].iloc[0]
        others = of_metric[~same].drop_duplicates(["run_id", "protocol"])
        for _, other in others.iterrows():
            problems.append(
                f"{name[-1]} of run {other['run_id']} was set aside: its protocol is not that of "
                f"{shown}, shown for row {name[-2]}; {_difference(other['protocol'], best)}."
            )
    return pd.concat(kept) if kept else values


def _difference(here: str, there: str) -> str:
    """Which fields of two protocols differ, the values of the first one, and how."""
    one, two = json.loads(here), json.loads(there)
    names = differing([one, two])
    first = names[0]
    told = f"{first} is {json.dumps(one.get(first))} there and {json.dumps(two.get(first))} here"
    return f"{told}, and so differ {', '.join(names[1:])}" if names[1:] else told


def differing(protocols: Iterable[Mapping[str, object]]) -> list[str]:
    """The names of the fields that are not the same in all, in order."""
    all_of_them = list(protocols)
    names = sorted({name for protocol in all_of_them for name in protocol})
    return [
        name
        for name in names
        if any(protocol.get(name) != all_of_them[0].get(name) for protocol in all_of_them)
    ]


def _distinct_seeds(values: pd.DataFrame, problems: list[str]) -> pd.DataFrame:
    """A seed counts once, whatever the number of runs of it."""
    again = values.duplicated([*GROUP, "seed"])
    for _, run in values[again].drop_duplicates("run_id").iterrows():
        problems.append(
            f"Run {run['run_id']} was set aside: another run of row {run['row']} has its seed "
            f"{run['seed']}, too."
        )
    return values[~again]
