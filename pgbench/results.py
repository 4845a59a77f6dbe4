"""What a run leaves behind: its folder, its records, and both read back as tables.

A run folder is written by one process at a time (`RunFolder.lock`), appended to line by line,
and can be read at any moment: a line torn by a kill costs that line alone.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import ValidationError, from_json

from pgbench.atomic import sync_folder
from pgbench.atomic import write_atomically as write_atomically  # for the reports, too
from pgbench.atomic import write_text_atomically as write_text_atomically  # for the reports, too
from pgbench.jsonlines import append_line, keep_lines
from pgbench.records import FIELDS, Count, read_records, reason
from pgbench.records import Record as Record  # part of this module's API

if TYPE_CHECKING:
    from pandas import DataFrame

SNAPSHOT_NAME = re.compile(r"G_ema-(\d{6,}\.\d)\.safetensors")


class RunStatus(BaseModel):
    """How far a run has come; replaced as a whole each time."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    status: Literal["running", "done", "failed", "interrupted"]
    kimg: float = Field(ge=0)
    total_kimg: float = Field(ge=0)
    wall_sec: float = Field(ge=0)
    error: str | None = None
    updated: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class _Inside:
    """The path of a named file in a run folder."""

    name: str

    def __get__(self, folder: "RunFolder", _: object) -> Path:
        return folder.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """The files of one run; make one with `open`, read one with `at`."""

    path: Path

    config_path = _Inside("config.json")
    environment_path = _Inside("environment.json")
    status_path = _Inside("status.json")
    stats_path = _Inside("stats.jsonl")
    metrics_path = _Inside("metrics.jsonl")
    log_path = _Inside("log.txt")
    state_path = _Inside("training-state.pt")
    samples = _Inside("samples")
    snapshots = _Inside("snapshots")

    @classmethod
    def open(cls, out: Path, run_id: str, config: Mapping[str, JsonValue]) -> Self:
        """Make `out/run_id`, or open it when it holds this very `config`; ValueError if not."""
        _check_names(out, run_id)
        text = json.dumps(config, indent=2, allow_nan=False) + "\n"
        if not (out / run_id / "config.json").exists():
            _create(out, run_id, text)
        folder = cls.at(out / run_id)
        if difference := _first_difference(folder.config(), from_json(text)):
            what = f"holds another configuration: {difference}"
            raise ValueError(f"{folder.path} {what}; choose another --out")
        return folder

    @classmethod
    def at(cls, path: Path) -> Self:
        """Open an existing run folder and write nothing; ValueError where there is none."""
        if not (path / "config.json").is_file():
            raise ValueError(f"{path} is no run folder (it has no config.json); name one that is")
        return cls(path)

    @property
    def run_id(self) -> str:
        """The name of the folder, also where `path` is "." or has ".." in it."""
        return Path(os.path.abspath(self.path)).name

    def snapshot_path(self, kimg: float) -> Path:
        """Where G_ema of this clock lies, to a tenth of a kimg; names sort by the clock."""
        return self.snapshots / f"G_ema-{kimg:08.1f}.safetensors"

    def snapshots_done(self) -> list[tuple[float, Path]]:
        """(kimg, path) of every snapshot there is, by the clock."""
        named = [(SNAPSHOT_NAME.fullmatch(path.name), path) for path in self.snapshots.glob("*")]
        return sorted((float(match[1]), path) for match, path in named if match)

    def config(self) -> dict[str, JsonValue]:
        """What config.json holds; ValueError when it is damaged."""
        try:
            config = from_json(self.config_path.read_bytes(), allow_inf_nan=False)
        except ValueError as error:
            raise ValueError(f"{self.config_path} is damaged: {error}; restore it") from error
        if not isinstance(config, dict):
            raise ValueError(f"{self.config_path} is damaged: it is no JSON object; restore it")
        return config

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only process that writes here; ValueError at once when another one is."""
        import filelock  # slow to import, and only writers need it

        lock = filelock.FileLock(self.path / ".lock", timeout=0)
        owner = self.path / ".lock-owner"  # not in .lock: others may open that one for writing
        try:
            lock.acquire()
        except filelock.Timeout:
            who = owner.read_text() if owner.exists() else "pid unknown"
            what = f"is being written by another process ({who})"
            raise ValueError(f"{self.path} {what}; wait for it or choose another --out") from None
        try:
            owner.write_text(f"pid {os.getpid()} on {socket.gethostname()}")
            yield
        finally:
            owner.unlink(missing_ok=True)
            lock.release()

    def append_stats(self, stats: Mapping[str, JsonValue]) -> None:
        """Add one line of training statistics with its `kimg`; a value not finite becomes null."""
        if "kimg" not in stats:
            raise ValueError(f"statistics {sorted(stats)} have no kimg; add it")
        finite = {
            name: None if isinstance(value, float) and not abs(value) < float("inf") else value
            for name, value in stats.items()
        }
        append_line(self.stats_path, json.dumps(finite, allow_nan=False))

    def append_record(self, record: Record) -> None:
        """Add one record to metrics.jsonl, on disk when this returns."""
        append_line(self.metrics_path, record.model_dump_json(by_alias=True))

    def records(self) -> tuple[list[Record], list[str]]:
        """The sound records in order, and a sentence for every line that was set aside."""
        return read_records(self.metrics_path, self.run_id)

    def rewind(self, kimg: float) -> None:
        """Drop what was written after `kimg`, as training starts again from there."""
        keep_lines(self.stats_path, lambda line: _clock(line) <= kimg)
        tenth = round(kimg, 1)  # records carry the clock of a snapshot's name
        keep_lines(self.metrics_path, lambda line: round(_clock(line), 1) <= tenth)
        for snapshot_kimg, path in self.snapshots_done():
            if snapshot_kimg > tenth:
                path.unlink()

    def write_status(self, status: RunStatus) -> None:
        """Replace status.json."""
        write_text_atomically(self.status_path, status.model_dump_json(indent=2) + "\n")

    def read_status(self) -> RunStatus | None:
        """The last status, None before the first; ValueError when status.json is damaged."""
        path = self.status_path
        try:
            return RunStatus.model_validate_json(path.read_bytes()) if path.exists() else None
        except ValidationError as error:
            raise ValueError(f"{path} is damaged ({reason(error)}); delete it") from error


def _check_names(out: Path, run_id: str) -> None:
    if Path(run_id).name != run_id or run_id[:1] in ("", ".") or not run_id.isprintable():
        raise ValueError(f"run id {run_id!r} is no plain folder name; rename its data set")
    if (out / "config.json").exists():
        raise ValueError(f"{out} is itself a run folder; choose another --out, such as its parent")
    if (out / run_id).exists() and not (out / run_id / "config.json").exists():
        raise ValueError(f"{out / run_id} is no run folder; move it away or choose another --out")


def _create(out: Path, run_id: str, config_text: str) -> None:
    """Fill a hidden folder, then rename it: a run folder always has its configuration."""
    out.mkdir(parents=True, exist_ok=True)
    temporary = out / f".{run_id}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        for folder in (temporary, temporary / "samples", temporary / "snapshots"):
            folder.mkdir()
        write_text_atomically(temporary / "config.json", config_text)
        temporary.rename(out / run_id)
        sync_folder(out)
    except OSError:
        if not (out / run_id / "config.json").exists():  # else another process was faster
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _first_difference(there: object, here: object, name: str = "") -> str | None:
    """The first field, in the order of `here`, at which two JSON values differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        for field in [*here, *there]:
            old, new = there.get(field, ...), here.get(field, ...)
            if difference := _first_difference(old, new, f"{name}.{field}" if name else field):
                return difference
        return None
    return None if there == here else f"{name} is {_show(there)} there and {_show(here)} here"


def _show(value: object) -> str:
    text = "absent" if value is ... else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _clock(line: bytes) -> float:
    """The `kimg` of a JSON line; a damaged line is later than anything."""
    try:
        return float(from_json(line)["kimg"])
    except (ValueError, TypeError, KeyError):
        return float("inf")


class _Data(BaseModel):
    name: str
    resolution: Count


class _Schedule(BaseModel):
    total_kimg: float = Field(ge=0, allow_inf_nan=False)


class _Config(BaseModel):
    """The fields of config.json that tables need; all others are ignored."""

    artefact: str
    row: str
    profile: str
    seed: Count
    data: _Data
    schedule: _Schedule


@dataclass(frozen=True)
class _Run:
    folder: RunFolder
    config: _Config
    config_hash: str
    status: RunStatus


INTEGERS = ("schema", "resolution", "seed", "num_images", "metric_version")
FLOATS = ("kimg", "run_kimg", "total_kimg", "value", "stderr", "wall_sec")
# What all values of a run share beyond their records, and the column of `load_runs` it is from.
_OF_RUN = {"run_status": "status", "run_kimg": "kimg"}
_OF_RUN |= {"total_kimg": "total_kimg", "config_hash": "config_hash"}
RESULT_COLUMNS = [*FIELDS.values(), *_OF_RUN]
RUN_COLUMNS = ["run_id", "artefact", "row", "dataset", "profile", "seed", "resolution", "status"]
RUN_COLUMNS += ["kimg", "total_kimg", "wall_sec", "error", "config_hash", "path"]


def load_results(path: Path, *, cache: Path | None = None) -> "DataFrame":
    """Every value under a results folder or in one run folder, one a row; `protocol` is JSON.

    Of duplicates the last one wins. `config_hash` is equal for runs that differ in nothing but
    their seed. What was set aside is told in `attrs["problems"]`. The folder `cache` keeps what
    was read: a run whose records did not change is not read again.
    """
    return results_of(load_runs(path), cache=cache)


def results_of(runs: "DataFrame", *, cache: Path | None = None) -> "DataFrame":
    """As `load_results`, of the runs that `load_runs` found."""
    from pgbench.recordcache import read_runs  # NumPy's, and training never needs it

    paths = [RunFolder(path).metrics_path for path in runs["path"]]
    read = read_runs(zip(paths, runs["run_id"], strict=True), cache=cache)
    of_runs = {name: runs[of].repeat(read.counts).to_numpy() for name, of in _OF_RUN.items()}
    return _frame({**read.columns, **of_runs}, [*runs.attrs["problems"], *read.problems])


def load_runs(path: Path) -> "DataFrame":
    """One row per run folder under `path`, its Path in the column `path`.

    `attrs["problems"]` tells what was set aside.
    """
    runs, problems = _survey(path)
    rows: list[dict[str, object]] = [
        run.config.model_dump(include={"artefact", "row", "profile", "seed"})
        | run.status.model_dump(include={"status", "kimg", "total_kimg", "wall_sec", "error"})
        | {"run_id": run.folder.run_id, "config_hash": run.config_hash, "path": run.folder.path}
        | {"dataset": run.config.data.name, "resolution": run.config.data.resolution}
        for run in runs
    ]
    return _frame({name: [row[name] for row in rows] for name in RUN_COLUMNS}, problems)


def _frame(columns: Mapping[str, Any], problems: list[str]) -> "DataFrame":
    import pandas as pd  # slow to import, and training never needs it

    dtypes = {name: "float64" for name in FLOATS} | {name: "int64" for name in INTEGERS}
    series = {  # of objects where not of numbers, which keeps None
        name: pd.Series(values, dtype=dtypes.get(name, "object"))
        for name, values in columns.items()
    }
    frame = pd.DataFrame(series)
    frame.attrs["problems"] = problems
    return frame


def _survey(path: Path) -> tuple[list[_Run], list[str]]:
    """Every readable run under `path` in the order of names, and what was set aside."""
    runs: dict[str, _Run] = {}
    problems: list[str] = []
    for folder in run_folders(path):
        try:
            run = _read_run(folder)
        except ValueError as error:
            problems.append(f"{folder.path} was set aside: {error}.")
            continue
        if (first := runs.setdefault(folder.run_id, run)) is not run:
            problems.append(f"{folder.path} was set aside: {first.folder.path} is the same run.")
    return list(runs.values()), problems


def run_folders(path: Path) -> list[RunFolder]:
    """Every folder under `path` that has a config.json, by names; ValueError for no folder."""
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise ValueError(f"{path} {what}; name a folder of results, or make one with `pgbench run`")
    if (path / "config.json").is_file():
        return [RunFolder(path)]
    children = sorted(child for child in path.iterdir() if child.is_dir() and child.name[0] != ".")
    # Links are followed to a run folder only: others may form a circle.
    inside = [c for c in children if not c.is_symlink() or (c / "config.json").is_file()]
    return [folder for child in inside for folder in run_folders(child)]


def _read_run(folder: RunFolder) -> _Run:
    plain = folder.config()
    try:
        config = _Config.model_validate(plain)
    except ValidationError as error:
        raise ValueError(f"its config.json is no run's ({reason(error)})") from error
    total = config.schedule.total_kimg
    unstarted = RunStatus(status="interrupted", kimg=0, total_kimg=total, wall_sec=0)
    seedless = json.dumps({**plain, "seed": None}, sort_keys=True)
    config_hash = hashlib.sha256(seedless.encode()).hexdigest()[:8]
    return _Run(folder, config, config_hash, folder.read_status() or unstarted)
