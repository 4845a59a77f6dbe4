"""From records to one effect per seed: which values a claim rests on, and what they say.

Only finished runs count, by the newest version of a metric. The rows of a claim are compared
within one data set, profile and resolution, measured by one protocol on the same images, and seed
by seed; of several configurations of a row the one with most seeds to pair counts.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pgbench.reproductions.paired import Side

SEEDS = {"metric_seed", "fake_seeds"}  # of a protocol: they change no more than noise
_ROUNDED_KIMG = 0.06  # a snapshot's name rounds its clock to tenths
_ALIKE = ["metric", "protocol", "dataset_fingerprint"]
_USED = ["artefact", "row", "dataset", "profile", "resolution", "seed", "run_id", "config_hash"]
_USED += [*_ALIKE, "kimg", "key", "value", "stderr", "num_images", "last"]


class Quantity(NamedTuple):
    """A key of a kind of metric, whatever its number of images.

    `shared` is the part of the stated variance that is the same in all runs: of the two sets that
    SWD compares, the reals are; metrics of generated images alone share nothing.
    """

    kind: str
    key: str
    shared: float = 0.0


@dataclass(frozen=True)
class Claim:
    """One statement of the paper, and which of our records it is held against.

    A seed's effect is `rows[1] - factor * rows[0]`; the paper says on which `side` of 0 it lies.
    A `factor` beyond 1 asks for more than a difference, or allows for a margin: the text says so.
    """

    name: str
    text: str
    where: str
    artefact: str
    rows: tuple[str, ...]
    quantities: tuple[Quantity, ...]  # the first one that was measured, for "variation" both
    side: Side
    effect: Literal["last", "best", "hours", "variation"] = "last"
    factor: float = 1.0
    published: Mapping[str, float | str] = field(default_factory=dict)  # by the paper's data set

    @property
    def formula(self) -> str:
        """What is below or above 0."""
        if self.effect == "variation":
            return "variation over the rows of MS-SSIM - that of SWD"
        factor = "" if self.factor == 1 else f"{self.factor:g} * "
        return f"{self.rows[1]} - {factor}{self.rows[0]}"


@dataclass(frozen=True)
class Evidence:
    """The effects of the seeds that all rows have, and what there is beside them."""

    effects: dict[int, float]
    common: float  # variance of the error that the effects share
    seeds: dict[str, set[int]]  # row -> those with a value
    means: dict[str, float]  # row or metric -> over the seeds of `effects`
    runs: tuple[str, ...]  # run ids
    measured: str  # the metric's name; empty when nothing was measured
    phase_kimg: float | None  # of the runs' schedule
    bounded: int = 0  # of "hours": seeds whose effect is at least what it says
    stated: bool = True  # whether the records state the metric's own error

    @property
    def present(self) -> list[str]:
        """The rows that have a value."""
        return [row for row, seeds in self.seeds.items() if seeds]


def usable(results: pd.DataFrame, keys: Collection[str]) -> pd.DataFrame:
    """Values of finished runs by each metric's newest version; `last` marks the final clock.

    Only those of `keys`.
    """
    done = results[results["run_status"] == "done"]
    newest = done.groupby("metric")["metric_version"].transform("max")
    here = (done["metric_version"] == newest) & (done["status"] == "ok") & done["key"].isin(keys)
    values = done[here]
    name = ["run_id", "kimg", "metric", "key"]
    values = values.assign(kimg=values["kimg"].round(1)).drop_duplicates(name, keep="last")
    protocols = values["protocol"].tolist()  # long texts, which pandas would hash again and again
    seedless = {text: _seedless(text) for text in set(protocols)}
    last = (values["kimg"] - values["run_kimg"]).abs() < _ROUNDED_KIMG
    return values.assign(protocol=[seedless[text] for text in protocols], last=last)[_USED]


def gather(claim: Claim, values: pd.DataFrame, stats: pd.DataFrame | None) -> Evidence:
    """What the `usable` values of one data set, profile and resolution say of a claim."""
    if claim.effect == "variation":
        return _variation(claim, values)
    found = [_FIND[claim.effect](claim, values, quantity, stats) for quantity in claim.quantities]
    return max(found, key=lambda one: (bool(one.effects), len(one.present)))


def variation(values: Sequence[float] | NDArray[np.float64]) -> float:
    """The sample's standard deviation (ddof 1) over the mean of `values` (n,)."""
    return float(np.std(values, ddof=1) / np.mean(values))


def _seedless(protocol: str) -> str:
    fields = {name: value for name, value in json.loads(protocol).items() if name not in SEEDS}
    return json.dumps(fields, sort_keys=True)


def _last(
    claim: Claim, values: pd.DataFrame, quantity: Quantity, _: pd.DataFrame | None
) -> Evidence:
    """The values at the end of training."""
    return _contrast(claim, _comparable(values[values["last"]], claim.rows, quantity), quantity)


def _best(
    claim: Claim, values: pd.DataFrame, quantity: Quantity, _: pd.DataFrame | None
) -> Evidence:
    """Each run at its snapshot with the highest value."""
    of_key = _of(values, claim.rows, quantity)
    best = of_key.sort_values("value").drop_duplicates(["run_id", *_ALIKE], keep="last")
    return _contrast(claim, _comparable(best, claim.rows, quantity), quantity)


def _hours(
    claim: Claim, values: pd.DataFrame, quantity: Quantity, stats: pd.DataFrame | None
) -> Evidence:
    """Hours until either row reached the lowest value that the first one ever reached.

    Before the last fade is over an image is the enlarged one of fewer layers, in part or whole;
    such values don't count.
    """
    followed = _followed(_of(values, claim.rows, quantity))
    timed = followed.assign(hours=_hours_at(followed, stats)).dropna(subset=["hours"])
    chosen = _comparable(timed[timed["last"]], claim.rows, quantity)
    curves = timed.merge(chosen[["run_id", *_ALIKE]]).sort_values(["value", "kimg"])
    of_run = dict(list(curves.groupby(["seed", "row"])))
    hours: dict[tuple[int, str], float] = {}
    bounded = 0
    for seed in _shared(chosen, claim.rows):
        first, second = (of_run[seed, row] for row in claim.rows)
        there = second[second["value"] <= first["value"].min()]["hours"]
        hours[seed, claim.rows[0]] = float(first["hours"].iloc[0])
        hours[seed, claim.rows[1]] = float(second["hours"].max() if there.empty else there.min())
        bounded += there.empty
    names = zip(chosen["seed"], chosen["row"], strict=True)
    reached = np.array([hours.get(name, np.nan) for name in names], dtype=np.float64)
    return _contrast(claim, chosen.assign(value=reached, stderr=0.0), quantity, bounded=bounded)


_Find = Callable[[Claim, pd.DataFrame, Quantity, pd.DataFrame | None], Evidence]
_FIND: dict[str, _Find] = {"last": _last, "best": _best, "hours": _hours}


def _contrast(
    claim: Claim, chosen: pd.DataFrame, quantity: Quantity, *, bounded: int = 0
) -> Evidence:
    wide, errors = (_wide(chosen, claim.rows, name) for name in ("value", "stderr"))
    wide = wide.dropna()
    weights = np.array([-claim.factor, 1.0])
    effects = wide.to_numpy() @ weights
    squares = errors.loc[wide.index].to_numpy() ** 2
    common = _mean(np.nan_to_num(squares) @ weights**2) * quantity.shared
    return Evidence(
        effects=_by_seed(wide, effects),
        common=common,
        seeds=_seeds(chosen, claim.rows),
        means={row: float(wide[row].mean()) for row in claim.rows},
        runs=_runs(chosen, wide),
        measured=_measured(chosen),
        phase_kimg=_phase_kimg(chosen),
        bounded=bounded,
        stated=not np.isnan(squares).any() or not quantity.shared,
    )


def _variation(claim: Claim, values: pd.DataFrame) -> Evidence:
    """How much two quantities vary over the rows: that of the first minus that of the second."""
    one, other = claim.quantities
    final = values[values["last"]]
    chosen = _comparable(final, claim.rows, other)
    beside = _comparable(final[final["run_id"].isin(chosen["run_id"])], claim.rows, one)
    chosen = chosen[chosen["run_id"].isin(beside["run_id"])]
    beside = beside[beside["run_id"].isin(chosen["run_id"])]
    sides = [_wide(frame, claim.rows, "value").dropna() for frame in (beside, chosen)]
    varied = [np.array([variation(seed) for seed in side.to_numpy()]) for side in sides]
    errors = _wide(chosen, claim.rows, "stderr").loc[sides[1].index].to_numpy()
    squares = _slopes(sides[1].to_numpy()) ** 2 * np.nan_to_num(errors) ** 2
    names = [_measured(beside), _measured(chosen)]
    return Evidence(
        effects=_by_seed(sides[0], varied[0] - varied[1]),
        common=_mean(squares.sum(axis=1)) * other.shared,
        seeds=_seeds(chosen, claim.rows),
        means={name: _mean(side) for name, side in zip(names, varied, strict=True)},
        runs=_runs(chosen, sides[1]),
        measured=" and ".join(filter(None, names)),
        phase_kimg=_phase_kimg(chosen),
        stated=not np.isnan(errors).any(),
    )


def _of(values: pd.DataFrame, rows: tuple[str, ...], quantity: Quantity) -> pd.DataFrame:
    """Values of a quantity and some rows, by any number of images."""
    names = [
        name
        for name in values["metric"].unique()
        if re.fullmatch(rf"{re.escape(quantity.kind)}\d{{1,9}}k?", name)
    ]
    here = values["metric"].isin(names) & (values["key"] == quantity.key)
    return values[here & values["row"].isin(list(rows))]


def _followed(values: pd.DataFrame) -> pd.DataFrame:
    """Values of the metric measured at most clocks; of equals, that of most images."""
    clocks = values.groupby("metric").agg({"kimg": "nunique", "num_images": "max"})
    order = clocks.sort_values(["kimg", "num_images"], kind="stable").index
    return values[values["metric"] == order[-1]] if len(order) else values


def _comparable(values: pd.DataFrame, rows: tuple[str, ...], quantity: Quantity) -> pd.DataFrame:
    """At most one value per row and seed, all measured alike; empty when there is none.

    Of several ways the one that all rows have, by most images, then that of most seeds.
    """
    ways = []
    for name, alike in _of(values, rows, quantity).groupby(_ALIKE):
        of_rows = [_one_configuration(of_row, alike) for _, of_row in alike.groupby("row")]
        chosen = pd.concat(of_rows)
        count = len(_shared(chosen, rows))
        ways.append(((count > 0, len(of_rows), _images(chosen), count, name), chosen))
    best: pd.DataFrame = max(ways, key=lambda way: way[0])[1] if ways else values.iloc[:0]
    return best


def _one_configuration(of_row: pd.DataFrame, alike: pd.DataFrame) -> pd.DataFrame:
    """Of a row run in several configurations that of most seeds which other rows have, too."""
    if (of_row["config_hash"] == of_row["config_hash"].iloc[0]).all():
        return of_row.drop_duplicates("seed")
    others = set(alike.loc[alike["row"] != of_row["row"].iloc[0], "seed"])

    def rank(config_hash: str) -> tuple[int, int, str]:
        seeds = set(of_row.loc[of_row["config_hash"] == config_hash, "seed"])
        return len(seeds & others), len(seeds), config_hash

    best = max(map(str, of_row["config_hash"].unique()), key=rank)
    return of_row[of_row["config_hash"] == best].drop_duplicates("seed")


def _images(chosen: pd.DataFrame) -> int:
    return int(chosen["num_images"].max())


def _hours_at(values: pd.DataFrame, stats: pd.DataFrame | None) -> pd.Series:
    """Hours of training at the clock of every value that shows the whole networks, else NaN.

    It is NaN, too, where the run's ticks do not say.
    """
    hours = pd.Series(np.nan, index=values.index, dtype="float64")
    if stats is None:
        return hours
    known = stats[stats["run_id"].isin(values["run_id"].unique())].dropna(subset=["train_sec"])
    ticks = dict(list(known.groupby("run_id")))
    for run_id, of_run in values.groupby("run_id"):
        if run_id in ticks:
            hours.loc[of_run.index] = _hours_of_run(ticks[run_id], of_run["kimg"])
    return hours


def _hours_of_run(ticks: pd.DataFrame, kimg: pd.Series) -> NDArray[np.float64]:
    asked = kimg.to_numpy(np.float64)
    clock, lod, seconds = ticks[["kimg", "lod", "train_sec"]].to_numpy(np.float64).T
    whole = np.min(clock, where=lod == 0, initial=np.inf)
    counted = (asked > whole - _ROUNDED_KIMG) & (asked < clock.max() + _ROUNDED_KIMG)
    hours = np.interp(asked, np.append(0, clock), np.append(0, seconds)) / 3600
    return np.where(counted, hours, np.nan)


def _shared(chosen: pd.DataFrame, rows: tuple[str, ...]) -> list[int]:
    """The seeds that all rows have, in order."""
    return sorted(set.intersection(*_seeds(chosen, rows).values()))


def _seeds(chosen: pd.DataFrame, rows: tuple[str, ...]) -> dict[str, set[int]]:
    return {row: set(map(int, chosen.loc[chosen["row"] == row, "seed"])) for row in rows}


def _wide(chosen: pd.DataFrame, rows: tuple[str, ...], name: str) -> pd.DataFrame:
    """A column of `chosen` by seed and row, float64; NaN where a row lacks a seed."""
    names = zip(chosen["seed"], chosen["row"], strict=True)
    known = dict(zip(names, chosen[name], strict=True))
    seeds = sorted({seed for seed, _ in known})
    values = [[known.get((seed, row), np.nan) for row in rows] for seed in seeds]
    array = np.array(values, np.float64).reshape(-1, len(rows))
    return pd.DataFrame(array, index=seeds, columns=list(rows))


def _by_seed(wide: pd.DataFrame, effects: NDArray[np.float64]) -> dict[int, float]:
    return dict(zip(map(int, wide.index), map(float, effects), strict=True))


def _runs(chosen: pd.DataFrame, wide: pd.DataFrame) -> tuple[str, ...]:
    """The runs of the seeds that count."""
    return tuple(sorted(chosen.loc[chosen["seed"].isin(list(wide.index)), "run_id"]))


def _measured(chosen: pd.DataFrame) -> str:
    return "" if chosen.empty else str(chosen["metric"].iloc[0])


def _phase_kimg(chosen: pd.DataFrame) -> float | None:
    """Of "6/6", which every record of a run says, the kimg to train and to fade."""
    phases = "" if chosen.empty else str(json.loads(chosen["protocol"].iloc[0]).get("phase_kimg"))
    match = re.fullmatch(r"(\d[\d.e+]*)/\1", phases)
    return float(match[1]) if match else None


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _slopes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """How `variation` of each line of `values` (seeds, rows) changes with every value.

    0 where all values are equal: it has no slope there.
    """
    count = values.shape[1]
    mean = values.mean(axis=1, keepdims=True)
    std = values.std(axis=1, ddof=1, keepdims=True)
    scatter = np.where(std > 0, std, np.inf)
    slopes: NDArray[np.float64] = (values - mean) / ((count - 1) * scatter * mean) - std / (
        count * mean**2
    )
    return slopes
