"""What runs wrote while they trained, a line per tick, as one table."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic_core import from_json

from pgbench.results import RunFolder

NUMBERS = [
    *("kimg", "train_sec", "resolution", "lod", "minibatch", "lr", "images_per_sec"),
    *("D_loss", "G_loss", "real_score", "fake_score", "penalty", "D_grad_norm", "G_grad_norm"),
    "peak_memory_mb",
]
_ROUNDED_KIMG = 0.051  # a snapshot's name rounds its clock to tenths


def load_stats(path: Path) -> pd.DataFrame:
    """Every tick of every run under `path`: run_id and NUMBERS (float64, NaN where absent).

    In the order of the clock within a run; of two lines of one clock the last one counts. Lines
    that are damaged are counted in `attrs["problems"]`.
    """
    problems: list[str] = []
    ticks: list[tuple[object, ...]] = []
    for run_id, folder in run_folders(path).items():
        kept: dict[float, tuple[float, ...]] = {}
        lines = _lines(folder.stats_path)
        sound = [tick for tick in map(_tick, lines) if tick is not None]
        if damaged := len(lines) - len(sound):
            problems.append(f"{folder.stats_path}: {damaged} damaged lines were set aside.")
        kept.update((tick[0], tick) for tick in sound)
        ticks += [(run_id, *kept[kimg]) for kimg in sorted(kept)]
    frame = pd.DataFrame(ticks, columns=["run_id", *NUMBERS])
    frame = frame.astype({"run_id": "object"} | dict.fromkeys(NUMBERS, "float64"))
    frame.attrs["problems"] = problems
    return frame


def run_folders(path: Path) -> dict[str, RunFolder]:
    """Every run folder under `path` by its run id; of two with one id the first counts."""
    folders: dict[str, RunFolder] = {}
    for folder in _found(path):
        folders.setdefault(folder.run_id, folder)
    return folders


def _found(path: Path) -> Iterator[RunFolder]:
    if (path / "config.json").is_file():
        yield RunFolder(path)
        return
    for child in sorted(path.iterdir()):
        hidden = child.name.startswith(".")
        # Links are followed to a run folder only: others may form a circle.
        linked = child.is_symlink() and not (child / "config.json").is_file()
        if child.is_dir() and not hidden and not linked:
            yield from _found(child)


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.is_file() else []


def _tick(line: bytes) -> tuple[float, ...] | None:
    """NUMBERS of one line; None when it is no statistics."""
    try:
        values = from_json(line, allow_inf_nan=False)
        tick = tuple(_number(values.get(name)) for name in NUMBERS)
    except (ValueError, AttributeError):
        return None
    return tick if tick[0] >= 0 else None


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    return float(value) if abs(value) < 1e300 else math.nan


def hours_at(ticks: pd.DataFrame, kimg: "pd.Series[float]") -> NDArray[np.float64]:
    """Hours of training when one run's clock stood at each `kimg`; NaN where it never did."""
    seconds = ticks["train_sec"].to_numpy()
    known = ~np.isnan(seconds)
    clock = np.append(0.0, ticks["kimg"].to_numpy()[known])
    hours = np.append(0.0, seconds[known] / 3600)
    asked = kimg.to_numpy(dtype=np.float64)
    found: NDArray[np.float64] = np.interp(asked, clock, hours)
    return np.where(asked > clock[-1] + _ROUNDED_KIMG, np.nan, found)
