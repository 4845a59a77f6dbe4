"""Have values moved? Measured ones against a baseline, for anyone's continuous integration.

The rule. A value passes when |value - baseline| <= band. What the band must cover depends on how
the numbers came about, which a file cannot tell:

- The same images, pixel by pixel, and the same seed (`exact`): a metric is deterministic, so only
  rounding differs, from one library or processor to the next. The band is the floor.
- Images made anew, by training or sampling on another machine or with other versions: they are
  other draws from nearly the same distribution. The band is max(floor, z sqrt(s² + s'²)) with the
  standard errors s of the baseline and s' of the value, as of independent draws, and z = 4. It is
  wide where the draws share reals, patches and directions. s' counts for at most s: a broken
  metric must not widen its own band. Without a standard error the band is the floor.

A standard error of a record tells how sure the number is for that one network. Training again with
another seed scatters by more: give such values a floor, from the scatter over a few seeds.

Numbers of another metric version, protocol, image count or data set are not compared at all: they
fail, field by field. A value that the baseline has and the results lack fails, one that only the
results have is told. What was measured several times counts in its newest metric version.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from pydantic import JsonValue, ValidationError

from pgbench.reports.baseline import Baseline, Name, Value

Verdict = Literal["passed", "moved", "incomparable", "missing", "new"]
RUN = ("artefact", "row", "dataset", "profile", "resolution", "seed", "kimg")

_QUOTED = 80  # characters of a field in a sentence


@dataclass(frozen=True)
class Measured:
    """The values of files and runs, why others have none, and what could not be read."""

    values: list[Value]
    failed: dict[Name, str]
    problems: list[str]


@dataclass(frozen=True)
class Outcome:
    """What became of one value; `now` or `before` is None where there is none."""

    verdict: Verdict
    before: Value | None
    now: Value | None
    band: float | None = None
    why: str = ""  # one sentence; empty where the value passed
    differing: dict[str, tuple[str, str]] = field(default_factory=dict)  # (then, now) as JSON

    @property
    def known(self) -> Value:
        """The value measured now, or the one of the baseline."""
        found = self.now or self.before
        assert found is not None
        return found

    @property
    def failed(self) -> bool:
        """Whether a check must not pass."""
        return self.verdict not in ("passed", "new")


def gather(files: Mapping[str, Mapping[str, Any]], results: pd.DataFrame | None = None) -> Measured:
    """All values of `metrics --json` objects by the stem of their file, and of `load_results`."""
    found = Measured([], {}, [])
    for stem, result in files.items():
        found.values.extend(_of_file(stem, result))
    if results is not None:
        found.problems.extend(results.attrs["problems"])
        for name, row in _newest(results).items():
            if row["status"] == "ok":
                found.values.append(_of_row(row, value=row["value"]))
            else:
                found.failed[name] = f"{row['status']}: {row['error'] or 'no reason was recorded'}"
    return found


def _newest(results: pd.DataFrame) -> dict[Name, dict[str, Any]]:
    """Each record in its newest metric version; ValueError where two runs claim one name."""
    newest: dict[Name, dict[str, Any]] = {}
    ordered = results.sort_values("metric_version", kind="stable").to_dict("records")
    for row in ({str(column): value for column, value in each.items()} for each in ordered):
        name = _of_row(row, value=0.0).name
        if (other := newest.get(name)) is not None and other["run_id"] != row["run_id"]:
            raise ValueError(
                f"{other['run_id']} and {row['run_id']} both have {row['metric']} {row['key']} of "
                "the same row, seed and clock; name one of the two runs."
            )
        newest[name] = row
    return newest


def _of_row(row: Mapping[str, Any], *, value: float) -> Value:
    of = {column: row[column] for column in RUN}
    of["kimg"] = round(of["kimg"], 1)  # a snapshot's name rounds its clock
    measured_with = {column: row[column] for column in ("dataset_fingerprint", "num_images")}
    return _value(
        of=of,
        **{column: row[column] for column in ("metric", "key", "metric_version")},
        value=value,
        stderr=None if pd.isna(row["stderr"]) else row["stderr"],
        protocol=json.loads(row["protocol"]) | measured_with,
    )


def _of_file(stem: str, result: Mapping[str, Any]) -> list[Value]:
    of = {"file": stem, "num_images": result["num_images"], "seed": result["seed"]}
    return [
        _value(
            of=of,
            metric=result["metric"],
            key=key,
            value=float(value),
            stderr=result["stderr"][key],
            metric_version=result["metric_version"],
            protocol=result["protocol"],
        )
        for key, value in result["values"].items()
    ]


def _value(**fields: Any) -> Value:
    try:
        return Value(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = f"{fields['metric']} {fields['key']} of {', '.join(map(str, fields['of'].values()))}"
        where = ".".join(map(str, first["loc"]))
        raise ValueError(
            f"{what!r} has the {where} {first['input']!r}, which no baseline can hold; measure it "
            "again."
        ) from error


def check(measured: Measured, baseline: Baseline) -> list[Outcome]:
    """What became of every value, in the order of names."""
    now, before = ({v.name: v for v in values} for values in (measured.values, baseline.values))
    return [
        _outcome(before.get(name), now.get(name), baseline, measured.failed.get(name))
        for name in sorted({*now, *before})
    ]


def _outcome(
    before: Value | None, now: Value | None, baseline: Baseline, reason: str | None
) -> Outcome:
    if before is None:
        return Outcome("new", None, now, why="It is not in the baseline.")
    if now is None:
        why = f"It was not measured ({reason})." if reason else "It was not measured."
        return Outcome("missing", before, None, why=why)
    if differing := _differing(before.conditions, now.conditions):
        fields = "; ".join(
            f"{name} was {_short(then)} and is {_short(today)}"
            for name, (then, today) in differing.items()
        )
        why = f"It was measured otherwise, so the numbers do not compare: {fields}."
        return Outcome("incomparable", before, now, why=why, differing=differing)
    band, which = _band(before, now, baseline)
    difference = now.value - before.value
    if abs(difference) <= band:
        return Outcome("passed", before, now, band)
    why = f"It moved by {difference:+.6g}, more than {which}, {band:.6g}."
    return Outcome("moved", before, now, band, why)


def _band(before: Value, now: Value, baseline: Baseline) -> tuple[float, str]:
    """How far apart the two may be, and what that is in words."""
    floor, count = baseline.floor_of(before), baseline.standard_errors
    if baseline.exact:
        return floor, "its floor"
    if before.stderr is None or now.stderr is None:
        return floor, "its floor (there is no standard error)"
    scatter = count * math.hypot(before.stderr, min(before.stderr, now.stderr))
    return (scatter, f"{count:g} standard errors") if scatter > floor else (floor, "its floor")


def _differing(
    before: Mapping[str, JsonValue], now: Mapping[str, JsonValue]
) -> dict[str, tuple[str, str]]:
    """(then, now) as JSON, or "absent", of the fields that differ; true is not 1, nor 1 1.0."""
    then, today = (
        {name: json.dumps(value, sort_keys=True) for name, value in each.items()}
        for each in (before, now)
    )
    return {
        name: pair
        for name in {**then, **today}
        if len(set(pair := (then.get(name, "absent"), today.get(name, "absent")))) > 1
    }


def _short(text: str) -> str:
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."
