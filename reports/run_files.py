"""What the folders of runs hold beside their records: read only when a page of a run is made."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic_core import from_json

from pgbench.reports import run_curves
from pgbench.reports.figures import Figure

JsonObject = Mapping[str, Any]
NAMES = ("config.json", "environment.json", "status.json", "stats.jsonl", "metrics.jsonl")


@dataclass(frozen=True)
class RunDetail:
    """What the files of a run say: each as its JSON; `protocols` by metric."""

    config: JsonObject
    environment: JsonObject = field(default_factory=dict)
    protocols: Mapping[str, JsonObject] = field(default_factory=dict)
    status: JsonObject = field(default_factory=dict)
    figures: Sequence[Figure] = ()


@dataclass(frozen=True)
class Source:
    """Where the page of a run gets its details; as long as `stamp` is equal, they are."""

    stamp: object
    read: Callable[[], RunDetail]


def stamps(runs: pd.DataFrame) -> dict[str, list[object]]:
    """Name, size and time of every run's files; to be taken before any of them is read."""
    return {
        run_id: [_stamp(folder / name) for name in NAMES]
        for run_id, folder in zip(runs["run_id"], runs["path"], strict=True)
    }


def sources(
    runs: pd.DataFrame, results: pd.DataFrame, stats: pd.DataFrame, *, stamps: Mapping[str, object]
) -> dict[str, Source]:
    """By run_id, of what `load_runs`, `load_results` and `load_stats` found."""
    shared = _Shared(results, stats)
    return {
        run_id: Source(stamps[run_id], partial(_detail, folder, run_id, shared))
        for run_id, folder in zip(runs["run_id"], runs["path"], strict=True)
    }


def devices(runs: pd.DataFrame) -> dict[str, str]:
    """run_id -> what each run was last trained on; damaged files say nothing."""
    found = {}
    for run_id, folder in zip(runs["run_id"], runs["path"], strict=True):
        sessions = _object(folder / "environment.json").get("sessions")
        last = sessions[-1] if isinstance(sessions, list) and sessions else None
        if isinstance(last, dict) and "device" in last:
            found[run_id] = str(last["device"])
    return found


@dataclass
class _Shared:
    """Values and statistics of all runs, taken apart when the first page needs them."""

    results: pd.DataFrame
    stats: pd.DataFrame

    @cached_property
    def ticks(self) -> dict[str, pd.DataFrame]:
        return {str(run_id): ticks for run_id, ticks in self.stats.groupby("run_id")}

    @cached_property
    def protocols(self) -> dict[str, dict[str, JsonObject]]:
        """Run -> metric -> protocol of the last value of the newest version, by names."""
        ok = self.results[self.results["status"] == "ok"]
        ok = ok.sort_values(["metric_version", "kimg"], kind="stable")
        last = ok.drop_duplicates(["run_id", "metric"], keep="last").sort_values("metric")
        columns = last[["run_id", "metric", "protocol"]].itertuples(index=False)
        found: dict[str, dict[str, JsonObject]] = {}
        for run_id, metric, protocol in columns:
            found.setdefault(run_id, {})[metric] = json.loads(protocol)
        return found


def _detail(folder: Path, run_id: str, shared: _Shared) -> RunDetail:
    config, environment, status = (_object(folder / name) for name in NAMES[:3])
    ticks = shared.ticks.get(run_id)
    drawn = [] if ticks is None else run_curves.figures(ticks, run_id)
    return RunDetail(config, environment, shared.protocols.get(run_id, {}), status, drawn)


def _stamp(path: Path) -> list[object]:
    try:
        found = path.stat()
    except OSError:
        return []
    return [path.name, found.st_size, found.st_mtime_ns]


def _object(path: Path) -> JsonObject:
    """The object in a JSON file; damaged files say nothing."""
    try:
        found = from_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
