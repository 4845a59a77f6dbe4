"""The files of a report: made only where what they are made of has changed, removed when nothing
makes them any more.

`.cache/report.json` keeps, for every part of a report, a hash of its inputs, what its maker told,
and size and time of its files: a file that someone edited, or that a full disk cut short, is made
again.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from pandas import DataFrame
from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from pgbench.reports.figures import Curve

CACHE = ".cache"
MANIFEST = "report.json"
# The only files that are ever removed; their names are read from a file.
OURS = re.compile(
    r"((tables|figures|pictures|artefacts|runs|static)/)?[A-Za-z0-9_+][A-Za-z0-9._+-]*"
)
LIBRARIES = ("jinja2", "matplotlib", "numpy", "pandas", "pillow")  # that make bytes


@dataclass(frozen=True)
class Made:
    """Files by their names, and anything else to know of them that JSON can hold."""

    files: Mapping[str, bytes]
    told: JsonValue = None


class Part(BaseModel):
    """What is known of a part: its inputs, its files with their size and time, what was told."""

    key: str
    files: dict[str, list[int]]
    told: JsonValue = None


@dataclass
class Output:
    """A report's folder while the report is made; open one with `report_folder`."""

    folder: Path
    known: dict[str, Part]
    program: str
    made: dict[str, Part] = field(default_factory=dict)

    def keep(self, name: str, inputs: object, make: Callable[[], Made]) -> Part:
        """The part called `name`, made by `make` unless it is there, made of the same `inputs`."""
        return self.keep_all({name: inputs}, lambda _: {name: make()})[name]

    def keep_all(
        self, wanted: Mapping[str, object], make: Callable[[list[str]], Mapping[str, Made]]
    ) -> dict[str, Part]:
        """Parts by their names, of inputs by these names; `make` is given the names to be made."""
        keys = {name: digest([self.program, inputs]) for name, inputs in wanted.items()}
        stale = [name for name, key in keys.items() if not self._is_there(name, key)]
        fresh = make(stale) if stale else {}
        parts = {
            name: self._part(key, fresh[name]) if name in fresh else self.known[name]
            for name, key in keys.items()
        }
        self.made.update(parts)
        return parts

    def put(self, name: str, content: str | bytes) -> None:
        """A file that is cheap to make."""
        encoded = content.encode() if isinstance(content, str) else content
        self.keep(name, hashlib.sha256(encoded).hexdigest(), lambda: Made({name: encoded}))

    def files(self) -> list[str]:
        """The names of all files so far, relative to the folder."""
        return [file for part in self.made.values() for file in part.files]

    def _is_there(self, name: str, key: str) -> bool:
        part = self.known.get(name)
        if part is None or part.key != key:
            return False
        return all(self._stamp(file) == stamp for file, stamp in part.files.items())

    def _part(self, key: str, made: Made) -> Part:
        for file, content in made.files.items():
            self._write(file, content)
        stamps = {file: self._stamp(file) for file in made.files}
        return Part(key=key, files=stamps, told=made.told)

    def _stamp(self, file: str) -> list[int]:
        try:
            found = (self.folder / file).stat()
        except OSError:
            return []
        return [found.st_size, found.st_mtime_ns]

    def _write(self, file: str, content: bytes) -> None:
        """Whole or not at all; what a power cut takes is made again."""
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def finish(self) -> None:
        """Remove what an earlier report has alone, and remember this one."""
        kept = set(self.files())
        for file in {file for part in self.known.values() for file in part.files} - kept:
            if OURS.fullmatch(file):
                (self.folder / file).unlink(missing_ok=True)
        parts = {name: part.model_dump() for name, part in self.made.items()}
        self._write(f"{CACHE}/{MANIFEST}", json.dumps(parts).encode())


@contextmanager
def report_folder(folder: Path) -> Iterator[Output]:
    """The folder, for one process at a time; what is left of an earlier report goes at the end."""
    cache = folder / CACHE
    cache.mkdir(parents=True, exist_ok=True)
    (cache / ".gitignore").write_text("*\n")
    with FileLock(cache / "lock"):
        output = Output(folder, _read(cache / MANIFEST), _program())
        yield output
        output.finish()


def digest(inputs: object) -> str:
    """A hash of nested values; of paths the name alone counts."""
    text = json.dumps(inputs, default=_plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


_PARTS = TypeAdapter(dict[str, Part])


def _read(manifest: Path) -> dict[str, Part]:
    """What the last report left; nothing when it is not readable."""
    try:
        return _PARTS.validate_json(manifest.read_bytes())
    except (OSError, ValidationError):
        return {}


def _program() -> str:
    """A hash of what makes the files: another version of it makes other ones."""
    here = Path(__file__).parent
    sources = sorted([*here.glob("*.py"), *here.glob("templates/*"), *here.glob("static/*")])
    hashed = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources if path.is_file()]
    return digest([*hashed, *(version(library) for library in LIBRARIES)])


def _plain(value: object) -> Any:
    """What JSON has no form for; the numbers of a curve as bytes, which is quicker."""
    if isinstance(value, Curve):
        numbers = [v for v in (value.x, value.y, value.low, value.high) if v is not None]
        hashed = [hashlib.sha256(np.asarray(v, float).tobytes()).hexdigest() for v in numbers]
        return [value.name, value.dashed, value.low is None, value.high is None, *hashed]
    if dataclasses.is_dataclass(value):
        return [v for v in vars(value).values() if not isinstance(v, DataFrame)]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return value.name  # where it lies on this machine is on no page
    return str(value)
