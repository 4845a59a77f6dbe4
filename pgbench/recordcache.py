"""Records of many runs as columns, and what was read of them, kept for the next report.

All is kept in one file: a checksum, a header of JSON, and the columns, of numbers as they are, of
texts as places among the different ones. A file that is damaged or of another form counts for
nothing, nor does what was read of a metrics.jsonl whose place, size or times are others now.
"""

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from pgbench.records import FIELDS, Columns, read_columns

FORMAT = 2  # to be raised when a line of metrics.jsonl is read in another way
KEPT = "records"
DTYPES = {name: "<u4" for name in FIELDS.values()}  # of texts: their places
DTYPES |= {name: "<f8" for name in ("kimg", "value", "stderr", "wall_sec")}
DTYPES |= {name: "<i8" for name in ("schema", "resolution", "seed", "num_images", "metric_version")}
TEXTS = [name for name, dtype in DTYPES.items() if dtype == "<u4"]

Array = NDArray[Any]
Texts = dict[str, dict[str | None, int]]  # of each column of texts: the different ones, numbered


class Read(NamedTuple):
    """The records of runs: float64, int64 or object arrays (N,) by field, and `counts` by run."""

    columns: dict[str, Array]
    counts: list[int]
    problems: list[str]


class _Part(NamedTuple):
    """The records of a run: arrays in the order of DTYPES."""

    columns: list[Array]
    problems: list[str]


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    stamps: list[str]
    counts: list[int]
    problems: list[list[str]]
    texts: dict[str, list[str | None]]


_HEADER = TypeAdapter(_Header)


@dataclass
class _Known:
    """What was read, by the stamp of its file."""

    parts: dict[str, _Part] = field(default_factory=dict)
    texts: Texts = field(default_factory=lambda: {name: {} for name in TEXTS})

    def read(self, path: Path, run_id: str) -> tuple[str, _Part]:
        """A run's records, and their stamp; empty while another process writes them."""
        stamp = _stamp(path, run_id)
        if stamp in self.parts:
            return stamp, self.parts[stamp]
        part = self._part(read_columns(path, run_id))
        return stamp if _stamp(path, run_id) == stamp else "", part

    def _part(self, read: Columns) -> _Part:
        numbers = {name: self._numbers(name, values) for name, values in read.values.items()}
        columns = [np.array(numbers[name], dtype) for name, dtype in DTYPES.items()]
        return _Part(columns, read.problems)

    def _numbers(self, name: str, values: list[Any]) -> list[Any]:
        if name not in TEXTS:
            return values
        places = self.texts[name]
        for text in dict.fromkeys(values):
            places.setdefault(text, len(places))
        return [*map(places.__getitem__, values)]

    def joined(self, parts: Iterable[_Part]) -> dict[str, Array]:
        """The columns of parts; equal texts are one object, which is quick to compare."""
        nothing = [np.empty(0, dtype) for dtype in DTYPES.values()]
        of_name = zip(*(part.columns for part in parts), nothing, strict=True)
        found = dict(zip(DTYPES, map(np.concatenate, of_name), strict=True))
        for name in TEXTS:
            found[name] = np.array([*self.texts[name]], dtype=object)[found[name]]
        return found


def read_runs(runs: Iterable[tuple[Path, str]], *, cache: Path | None = None) -> Read:
    """The records of each (metrics.jsonl, run_id), from the folder `cache` where it holds them."""
    known = _Known() if cache is None else _load(cache / KEPT)
    read = [known.read(path, run_id) for path, run_id in runs]
    if cache is not None:
        kept = {stamp: part for stamp, part in read if stamp}
        if kept.keys() != known.parts.keys():
            _keep(cache / KEPT, kept, known.texts)
    parts = [part for _, part in read]
    problems = [problem for part in parts for problem in part.problems]
    return Read(known.joined(parts), [len(part.columns[0]) for part in parts], problems)


def _stamp(path: Path, run_id: str) -> str:
    """What must be equal for a file to hold what it held."""
    place = f"{FORMAT} {run_id!r} {os.path.abspath(path)!r} {str(path)!r}"
    try:
        file = path.stat()
    except FileNotFoundError:
        return place
    return f"{place} {file.st_size} {file.st_mtime_ns} {file.st_ctime_ns}"


def _load(file: Path) -> _Known:
    try:
        content = file.read_bytes()
        start = content.index(b"\n") + 1
        if content[: start - 1] != _checksum(memoryview(content)[start:]):
            raise ValueError("the checksum is another")
        end = content.index(b"\n", start)
        header = _HEADER.validate_json(content[start:end])
        columns = _columns(header, content, end + 1)
        ends = np.cumsum(header.counts).tolist()
    except (OSError, ValueError, ValidationError):
        return _Known()
    texts = {name: {text: i for i, text in enumerate(header.texts[name])} for name in TEXTS}
    slices = [slice(end - count, end) for end, count in zip(ends, header.counts, strict=True)]
    parts = [[column[there] for column in columns] for there in slices]
    found = map(_Part, parts, header.problems)
    return _Known(dict(zip(header.stamps, found, strict=True)), texts)


def _columns(header: _Header, content: bytes, start: int) -> list[Array]:
    """The arrays behind the header; ValueError where they are not what it says."""
    lengths = {len(header.stamps), len(header.counts), len(header.problems)}
    if len(lengths) > 1 or min(header.counts, default=0) < 0 or [*header.texts] != TEXTS:
        raise ValueError("the header contradicts itself")
    count = sum(header.counts)
    sizes = [count * np.dtype(dtype).itemsize for dtype in DTYPES.values()]
    if len(content) - start != sum(sizes):
        raise ValueError("the columns have another size")
    offsets = start + np.cumsum([0, *sizes[:-1]])
    columns = [
        np.frombuffer(content, dtype, count, offset)
        for dtype, offset in zip(DTYPES.values(), offsets.tolist(), strict=True)
    ]
    for name, column in zip(DTYPES, columns, strict=True):
        if name in TEXTS and column.max(initial=0) >= max(len(header.texts[name]), 1):
            raise ValueError("a text is missing")
    return columns


def _keep(file: Path, parts: dict[str, _Part], texts: Texts) -> None:
    header = _Header(
        stamps=[*parts],
        counts=[len(part.columns[0]) for part in parts.values()],
        problems=[part.problems for part in parts.values()],
        texts={name: [*places] for name, places in texts.items()},
    )
    columns = [part.columns[i].tobytes() for i in range(len(DTYPES)) for part in parts.values()]
    with suppress(OSError, PydanticSerializationError):  # a full disk, a name that is no text
        content = b"".join([to_json(header), b"\n", *columns])
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / ".gitignore").write_text("*\n")
        file.write_bytes(_checksum(content) + b"\n" + content)


def _checksum(content: bytes | memoryview) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
