"""What was read of a run's records, kept so that the next report reads only what changed.

A file per run, of JSON under a checksum. One that is damaged, of another form or of another
metrics.jsonl (its place, size and times) counts for nothing: the records are read again.
"""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import to_json

from pgbench.records import FIELDS, Columns, read_columns

FORMAT = 1  # to be raised when a line of metrics.jsonl is read in another way
Plain = str | int | float | None


class _Coded(BaseModel):
    """A column: one value for all, or all values, or the different ones and each one's place."""

    model_config = ConfigDict(extra="forbid", strict=True)

    values: list[Plain]
    places: list[int] = []

    def column(self, length: int) -> list[object]:
        if self.places:
            return [self.values[place] for place in self.places]
        return list[object](self.values) * (length if len(self.values) == 1 else 1)


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    stamp: list[str | int]
    length: int
    columns: dict[str, _Coded]
    problems: list[str]


_KEPT = TypeAdapter(_Kept)


def cached_columns(path: Path, run_id: str, *, cache: Path) -> Columns:
    """`read_columns(path, run_id)`, from the folder `cache` where that holds it; kept there."""
    stamp = _stamp(path, run_id)
    file = cache / f"{hashlib.sha256(str(stamp[:3]).encode()).hexdigest()[:32]}.json"
    if (kept := _load(file, stamp)) is not None:
        return kept
    read = read_columns(path, run_id)
    if _stamp(path, run_id) == stamp:  # else a run is writing: it was read at no one moment
        _keep(file, stamp, read)
    return read


def _stamp(path: Path, run_id: str) -> list[str | int]:
    """What must be equal for a file to hold what it held."""
    place: list[str | int] = [os.path.abspath(path), str(path), run_id, FORMAT]
    try:
        file = path.stat()
    except FileNotFoundError:
        return place
    return [*place, file.st_size, file.st_mtime_ns, file.st_ctime_ns]


def _load(file: Path, stamp: list[str | int]) -> Columns | None:
    try:
        checksum, _, text = file.read_bytes().partition(b"\n")
        if checksum != _checksum(text):
            return None
        kept = _KEPT.validate_json(text)
        values = {name: column.column(kept.length) for name, column in kept.columns.items()}
    except (OSError, ValidationError, IndexError):
        return None
    whole = values.keys() == set(FIELDS.values()) and kept.stamp == stamp
    same = all(len(column) == kept.length for column in values.values())
    return Columns(values, kept.problems) if whole and same else None


def _keep(file: Path, stamp: list[str | int], read: Columns) -> None:
    columns = {name: _coded(values) for name, values in read.values.items()}
    kept = {"stamp": stamp, "length": len(read.values["run_id"])}
    text = to_json(kept | {"columns": columns, "problems": read.problems})
    with suppress(OSError):  # a report can do without
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / ".gitignore").write_text("*\n")
        file.write_bytes(_checksum(text) + b"\n" + text)


def _coded(values: Sequence[object]) -> dict[str, list[object]]:
    different = {value: place for place, value in enumerate(dict.fromkeys(values))}
    if any(isinstance(value, float) for value in different):  # 0.0 is no -0.0
        return {"values": list(values)}
    if len(different) == 1:
        return {"values": list(different)}
    return {"values": list(different), "places": [different[value] for value in values]}


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()
