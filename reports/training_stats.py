"""What runs wrote while they trained, a line per tick, as one table."""

import math
import os
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic_core import from_json

NUMBERS = [
    *("kimg", "train_sec", "resolution", "lod", "minibatch", "lr", "images_per_sec"),
    *("D_loss", "G_loss", "real_score", "fake_score", "penalty", "D_grad_norm", "G_grad_norm"),
    "peak_memory_mb",
]
LARGEST = 1e300  # beyond it a number is none
FORMAT = 1  # to be raised when a line is read in another way
_ROUNDED_KIMG = 0.051  # a snapshot's name rounds its clock to tenths

Ticks = NDArray[np.float64]  # (N, len(NUMBERS)), by the clock
Read = tuple[Ticks, int]  # and the number of damaged lines


def load_stats(runs: pd.DataFrame, *, cache: Path | None = None) -> pd.DataFrame:
    """Every tick of `runs`, as of `load_runs`: run_id and NUMBERS (float64, NaN where absent).

    In the order of the clock within a run; of two lines of one clock the last one counts. Lines
    that are damaged are counted in `attrs["problems"]`. The folder `cache` keeps what was read.
    """
    known = {} if cache is None else _load(cache / "stats.npz")
    paths = {run_id: path / "stats.jsonl" for run_id, path in runs[["run_id", "path"]].to_numpy()}
    stamps = {run_id: _stamp(path) for run_id, path in paths.items()}
    read = {stamps[run_id]: known.get(stamps[run_id]) or _read(paths[run_id]) for run_id in paths}
    if cache is not None and read.keys() != known.keys():
        _keep(cache / "stats.npz", read)
    ticks = [read[stamp][0] for stamp in stamps.values()]
    frame = pd.DataFrame(_joined(ticks), columns=NUMBERS)
    ids = np.repeat(np.array([*stamps], dtype=object), [len(of_run) for of_run in ticks])
    frame.insert(0, "run_id", pd.Series(ids, dtype=object))
    frame.attrs["problems"] = [
        f"{paths[run_id]}: {damaged} damaged lines were set aside."
        for run_id, stamp in stamps.items()
        if (damaged := read[stamp][1])
    ]
    return frame


def hours_at(ticks: pd.DataFrame, kimg: "pd.Series[float]") -> NDArray[np.float64]:
    """Hours of training when one run's clock stood at each `kimg`; NaN where it never did."""
    seconds = ticks["train_sec"].to_numpy()
    known = ~np.isnan(seconds)
    clock = np.append(0.0, ticks["kimg"].to_numpy()[known])
    hours = np.append(0.0, seconds[known] / 3600)
    asked = kimg.to_numpy(dtype=np.float64)
    found: NDArray[np.float64] = np.interp(asked, clock, hours)
    return np.where(asked > clock[-1] + _ROUNDED_KIMG, np.nan, found)


def _joined(ticks: Iterable[Ticks]) -> Ticks:
    return np.concatenate([np.empty((0, len(NUMBERS))), *ticks])


def _read(path: Path) -> Read:
    lines = path.read_bytes().splitlines() if path.is_file() else []
    sound = [tick for tick in map(_tick, lines) if tick is not None]
    kept = {tick[0]: tick for tick in sound}
    ticks = np.array([kept[kimg] for kimg in sorted(kept)], np.float64)
    return ticks.reshape(-1, len(NUMBERS)), len(lines) - len(sound)


def _tick(line: bytes) -> list[float] | None:
    """NUMBERS of one line; None when it is no statistics."""
    try:
        tick = [*map(from_json(line, allow_inf_nan=False).get, NUMBERS)]
    except (ValueError, AttributeError):
        return None
    if not {*map(type, tick)} <= {int, float}:
        tick = [math.nan if value is None else value for value in tick]
    if not {*map(type, tick)} <= {int, float} or not max(map(abs, tick)) < LARGEST:
        tick = [*map(_number, tick)]
    return tick if tick[0] >= 0 else None


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    return float(value) if abs(value) < LARGEST else math.nan


def _stamp(path: Path) -> str:
    """What must be equal for a file to hold what it held."""
    try:
        file = path.stat()
    except OSError:
        return ""
    return f"{FORMAT} {file.st_size} {file.st_mtime_ns} {os.path.abspath(path)}"


def _load(path: Path) -> dict[str, Read]:
    """What was kept, by its stamp; nothing where that is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            stamps, counts, damaged, ticks = (kept[f"arr_{i}"] for i in range(4))
        parts = np.split(ticks.reshape(-1, len(NUMBERS)), np.cumsum(counts)[:-1])
        pairs = zip(stamps.tolist(), parts, damaged.tolist(), strict=True)
        return {stamp: (part, lines) for stamp, part, lines in pairs}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return {}


def _keep(path: Path, read: dict[str, Read]) -> None:
    ticks = [part for part, _ in read.values()]
    arrays = (
        np.array([*read], dtype=np.str_),
        np.array([len(part) for part in ticks], np.int64),
        np.array([damaged for _, damaged in read.values()], np.int64),
        _joined(ticks),
    )
    with suppress(OSError):  # a report can do without
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, *arrays)
