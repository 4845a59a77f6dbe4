"""Folders and zips of pictures as image stores: anybody's, and StyleGAN's with their labels.

Pictures are found, ordered and decoded by the metrics' own reader: what is trained on is what is
measured. A StyleGAN-style `dataset.json` beside them, `{"labels": [[file, label], ...] or null}`,
gives the labels.
"""

import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isfinite
from pathlib import Path, PurePosixPath
from textwrap import shorten
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pgbench.crops import Crop, Fit, Resize, centre_square
from pgbench.data import Images
from pgbench.metrics.decoding import BrokenImageError, decode_image
from pgbench.metrics.folders import (
    SUFFIXES,
    file_bytes,
    files_below,
    is_image_name,
    member_bytes,
    members,
    open_archive,
)
from pgbench.metrics.messages import reason, shown
from pgbench.prepare import Pictures, StoreDraft

_SIDES = [2**k for k in range(2, 11)]
_LABELS = "dataset.json"
_FORMAT = 'expected is {"labels": [[file, label], ...]}'
_ADVICE = "; leave such files out with --skip-broken."  # of the metrics: there is no such option

_Labels = NDArray[np.int64] | NDArray[np.float32]


class UnreadableError(ValueError):
    """A picture that cannot be read or decoded."""


class Encoded(Protocol):
    """Encoded pictures, read one at a time; small to pickle, for it goes with every task."""

    def __len__(self) -> int: ...

    def label(self, index: int, /) -> str: ...

    def load(self, index: int, /) -> bytes: ...


@dataclass(frozen=True)
class PictureFiles:
    """The pictures in a folder or zip, sorted by name."""

    path: Path
    names: tuple[str, ...]
    stamp: tuple[int, int] | None  # size and time of a zip, None for a folder

    @classmethod
    def open(cls, path: Path) -> "PictureFiles":
        """The pictures below a folder or in a zip; ValueError when there are none."""
        if not path.exists():
            raise ValueError(
                f"{shown(path)} is no folder or zip; give --from the folder or zip of the pictures"
            )
        if path.is_dir():
            files = cls(path, tuple(sorted(filter(is_image_name, files_below(path)))), None)
        else:
            stamp = path.stat().st_size, path.stat().st_mtime_ns
            files = cls(path, tuple(sorted(_zip(path, stamp).members)), stamp)
        if not files.names:
            kinds = " ".join(sorted(SUFFIXES))
            raise ValueError(
                f"{shown(path)} holds no pictures ({kinds}); give --from one that does"
            )
        return files

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int, /) -> str:
        """Within the folder or zip."""
        return shown(self.names[index])

    def label(self, index: int, /) -> str:
        return shown(f"{self.path}/{self.names[index]}")

    def load(self, index: int, /) -> bytes:
        name = self.names[index]
        if self.stamp is None:
            return file_bytes(f"{self.path}/{name}")
        return _zip(self.path, self.stamp).load(name)

    def load_labels(self) -> bytes | None:
        """The bytes of dataset.json, None where there is none."""
        if self.stamp is not None:
            return _zip(self.path, self.stamp).load_labels()
        file = self.path / _LABELS
        return file_bytes(str(file)) if file.is_file() else None


@dataclass(frozen=True)
class _Zip:
    """A zip that a process keeps open."""

    path: Path
    archive: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]

    def load(self, name: str) -> bytes:
        return member_bytes(self.path, self.archive, self.members[name])

    def load_labels(self) -> bytes | None:
        found = [info for info in self.archive.infolist() if info.filename == _LABELS]
        return member_bytes(self.path, self.archive, found[0]) if found else None


@lru_cache(maxsize=1)
def _zip(path: Path, stamp: tuple[int, int]) -> _Zip:
    """Opened anew when size or time changed."""
    archive = open_archive(path)
    files = [info.filename for info in archive.infolist() if not info.is_dir()]
    counts = Counter(PurePosixPath(name.replace("\\", "/")).as_posix() for name in files)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(
            f"{shown(path)} holds {twice[0]!r} more than once; pack it again without duplicates"
        )
    return _Zip(path, archive, members(path, archive))


@dataclass(frozen=True)
class ReadFitted:
    """Picture `index`, decoded and brought to the store's size: (3, R, R) uint8."""

    files: Encoded
    fit: Callable[[Images], Images]

    def __call__(self, index: int) -> Images:
        with named(self.files, index):
            return self.fit(decoded(self.files, index))


def open_folder(
    path: Path,
    *,
    name: str | None = None,
    resolution: int | None = None,
    crop: Crop = "none",
    resize: Resize | None = None,
    allow_upscale: bool = False,
    max_images: int | None = None,
    mirror: bool = False,
) -> Pictures:
    """The pictures below a folder or in a zip; without `resolution` of the size they have."""
    if resolution is None and resize is not None:
        raise ValueError("pictures are resized to a resolution; give --resolution as well")
    if resolution is not None:
        check_resolution(resolution)
    files = PictureFiles.open(path)
    fit = Fit(resolution or _side_of_first(files, crop), crop, resize, allow_upscale)
    labels = _labels(files)
    pictures = pictures_of(
        files,
        fit,
        name=store_name(path) if name is None else name,
        mirror=mirror,
        max_images=max_images,
    )
    return pictures if labels is None else replace(pictures, labels=labels[:max_images])


def pictures_of(
    files: PictureFiles,
    fit: Callable[[Images], Images],
    *,
    name: str,
    mirror: bool,
    max_images: int | None,
) -> Pictures:
    """The first so many files, fitted; the first one is tried."""
    image = ReadFitted(files, fit)(0)
    draft = StoreDraft(
        name=name,
        source=source_of(files.path),
        crop=str(fit),
        resolution=image.shape[1],
        num_images=first_of(len(files), max_images),
        mirror=mirror,
    )
    return Pictures(draft, ReadFitted(files, fit))


def check_resolution(resolution: int) -> None:
    """ValueError when no store has this resolution."""
    if resolution not in _SIDES:
        raise ValueError(
            f"{resolution} is no resolution of a store; give a power of two from 4 to 1024"
        )


def first_of(count: int, max_images: int | None) -> int:
    """How many of `count` images are taken."""
    if max_images is not None and max_images < 1:
        raise ValueError(f"a store holds at least 1 image, not {max_images}")
    return count if max_images is None else min(count, max_images)


def count_note(num_images: int, expected: int) -> str:
    """What `dataset.json` says when the count is not the expected one."""
    if num_images == expected:
        return ""
    between = "of" if num_images < expected else "instead of"
    return f"{num_images:,} {between} the expected {expected:,} pictures"


def source_of(path: Path) -> str:
    """Where pictures came from, for `dataset.json`: no path of this machine."""
    kind = "folder" if path.is_dir() else "zip"
    return f"{kind} {shown(path.resolve().name)}"


def store_name(path: Path) -> str:
    """A name for a store made of what lies at `path`: small letters, digits and dashes."""
    whole = path.resolve()
    text = whole.stem if whole.suffix.lower() == ".zip" else whole.name
    kept = (c if c.isascii() and c.isalnum() else "-" for c in text.lower())
    return "".join(kept).strip("-")[:64] or "folder"


def decoded(files: Encoded, index: int) -> Images:
    """Picture `index` as (3, H, W) uint8; UnreadableError when it is broken."""
    with own_advice():
        return decode_image(files.load(index), files.label(index))


@contextmanager
def named(files: Encoded, index: int) -> Iterator[None]:
    """Put the picture's name before what is wrong with it."""
    try:
        yield
    except UnreadableError:
        raise  # has it
    except ValueError as error:
        raise ValueError(f"{files.label(index)}: {error}") from error


@contextmanager
def own_advice() -> Iterator[None]:
    """Say what can be done about a broken picture when a store is made."""
    try:
        yield
    except BrokenImageError as error:
        raise UnreadableError(f"{str(error).removesuffix(_ADVICE)}; remove it") from error


def _side_of_first(files: PictureFiles, crop: Crop) -> int:
    image = decoded(files, 0)
    with named(files, 0):
        shape = (centre_square(image) if crop == "centre" else image).shape
        height, width = int(shape[1]), int(shape[2])
        if width != height or width not in _SIDES:
            raise ValueError(
                f"a picture of {width}x{height} pixels does not fit; pictures must be square with "
                "a side that is a power of two from 4 to 1024, or give --resolution with "
                "--crop centre and --resize lanczos"
            )
    return width


def _labels(files: PictureFiles) -> _Labels | None:
    """Labels in the order of the files: (N,) int64 or (N, K) float32; None where there are none."""
    with own_advice():
        text = files.load_labels()
    if text is None:
        return None
    where = shown(f"{files.path}/{_LABELS}")
    entries = _label_entries(text, where)
    if entries is None:
        return None
    known: dict[str, Any] = {}
    for file, label in entries:
        if file in known:
            raise ValueError(f"{where} has two labels of {file!r}; leave one")
        known[file] = label
    strange = known.keys() - set(files.names)
    if strange:
        raise ValueError(f"{where} has a label of {min(strange)!r}, which is not there; remove it")
    for name in files.names:
        if name not in known:
            raise ValueError(f"{where} has no label of {name!r}; add it, or set labels to null")
    return _label_array([known[name] for name in files.names], where)


def _label_entries(text: bytes, where: str) -> list[tuple[str, Any]] | None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not valid JSON ({reason(error)}); {_FORMAT}") from error
    entries = content.get("labels") if isinstance(content, dict) else ()
    if entries is None:
        return None
    if not isinstance(entries, list):
        raise ValueError(f"{where} has no list of labels; {_FORMAT}")
    for entry in entries:
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)):
            raise ValueError(f"{where} has the label {shorten(repr(entry), 60)}; {_FORMAT}")
    return [(file.replace("\\", "/"), label) for file, label in entries]


def _label_array(labels: list[Any], where: str) -> _Labels:
    if all(type(label) is int for label in labels) and max(map(abs, labels)) < 2**63:
        return np.array(labels, dtype=np.int64)
    if all(map(_is_vector, labels)) and len({len(label) for label in labels}) == 1:
        return np.array(labels, dtype=np.float32)
    raise ValueError(
        f"{where} has labels of several kinds; give every picture a whole number, or every picture "
        "a list of as many numbers"
    )


def _is_vector(label: Any) -> bool:
    numbers = isinstance(label, list) and all(type(number) in (int, float) for number in label)
    return numbers and all(abs(number) < 2**127 and isfinite(number) for number in label)
