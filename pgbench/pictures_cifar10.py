"""CIFAR-10 as published for Python: `cifar-10-python.tar.gz` or its folder (section 6.5, table 3).

The batches are pickles. They are never loaded: their opcodes are walked, and what would be a call
becomes a record of it, from which the array and the labels are taken.
"""

import gzip
import hashlib
import io
import pickletools
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgbench.data import Images
from pgbench.metrics.messages import reason, shown
from pgbench.prepare import Pictures, StoreDraft

_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))
_FOLDER = "cifar-10-batches-py"
_ARCHIVE = "cifar-10-python.tar.gz"
_NUM_IMAGES = 50_000
_SIDE = 32
_MAX_BATCH_BYTES = 2**26  # published: 31 MB each
_MAX_UNPACKED_BYTES = 2**28  # published: 186 MB in all
_MAX_OPCODES = 2**20  # published: about 50,000 a batch
_MAX_NAME = 100


def open_cifar10(path: Path, *, max_images: int | None = None) -> Pictures:
    """The training images in the order of the batches, 32x32, with labels (N,) uint8."""
    path = _within(path)
    batches = _batches(path)
    labels = np.concatenate([batch.labels for batch in batches])
    draft = StoreDraft(
        name="cifar10",
        source=f"CIFAR-10 training batches of {path.resolve().name}",
        crop="none",
        resolution=_SIDE,
        num_images=len(labels[:max_images]),
        mirror=False,
    )
    read = _Read(path, _digest(batches))
    return Pictures(draft, read, labels=labels[:max_images], note=_note(batches))


def _within(path: Path) -> Path:
    """The archive or the batches' folder in a folder of downloads, or `path` itself."""
    inner = [path / _ARCHIVE, path / _FOLDER]
    return next((place for place in inner if place.exists()), path)


@dataclass(frozen=True, eq=False)
class _Batch:
    """One file: images (N, 3, 32, 32), labels (N,), and the MD5 of its bytes."""

    images: Images
    labels: NDArray[np.uint8]
    md5: str


@dataclass(frozen=True)
class _Read:
    """Reads the whole set once in each process."""

    path: Path
    digest: bytes

    def __call__(self, index: int) -> Images:
        image: Images = _images(self.path, self.digest)[index]
        return image


@lru_cache(maxsize=1)
def _images(path: Path, digest: bytes) -> Images:
    """(N, 3, 32, 32) uint8, the same as when the set was opened."""
    batches = _batches(path)
    if _digest(batches) != digest:
        raise ValueError(f"{shown(path)} changed while it was read; try again")
    return np.concatenate([batch.images for batch in batches])


def _digest(batches: list[_Batch]) -> bytes:
    digest = hashlib.sha256()
    for batch in batches:
        digest.update(batch.images.data)
    return digest.digest()


def _note(batches: list[_Batch]) -> str:
    """How the batches differ from the published ones."""
    from torchvision.datasets import CIFAR10

    known = dict(CIFAR10.train_list)
    other = [n for n, batch in zip(_BATCHES, batches, strict=True) if batch.md5 != known[n]]
    count = sum(len(batch.labels) for batch in batches)
    said = [] if count == _NUM_IMAGES else [f"{count:,} of the expected {_NUM_IMAGES:,} pictures"]
    said += [f"not the published files, by MD5: {', '.join(other)}"] if other else []
    return "; ".join(said)


def _batches(path: Path) -> list[_Batch]:
    """The five files of training images, in order."""
    where = f"give the archive {_ARCHIVE} or its folder {_FOLDER}"
    if not path.exists():
        raise ValueError(f"there is no {shown(path)}; {where}")
    files = _folder_files(path) if path.is_dir() else _archive_files(path)
    batches = {name: _parsed(data, f"{name} of {shown(path)}") for name, data in files}
    missing = [name for name in _BATCHES if name not in batches]
    if missing:
        raise ValueError(f"{shown(path)} holds no {missing[0]}; {where}")
    return [batches[name] for name in _BATCHES]


def _folder_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the batches that are there."""
    for name in _BATCHES:
        file = path / name
        if file.is_file():
            _check_size(shown(file), file.stat().st_size)
            yield name, file.read_bytes()


def _check_size(label: str, num_bytes: int) -> None:
    if num_bytes > _MAX_BATCH_BYTES:
        raise ValueError(f"{label} is refused: {num_bytes:,} bytes are too many for a batch")


class _Refused(Exception):
    """An archive that is sound and yet not taken."""


class _Bounded(io.RawIOBase):
    """What is unpacked, up to a limit that the published archive keeps."""

    def __init__(self, unpacked: Any) -> None:
        self._unpacked = unpacked
        self._left = _MAX_UNPACKED_BYTES

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._unpacked.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _Refused(f"it unpacks to more than {_MAX_UNPACKED_BYTES:,} bytes")
        return data


def _archive_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the batches in a tar or tar.gz, which is unpacked in memory only."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            unpacked = _Bounded(gzip.GzipFile(fileobj=file) if packed else file)
            with tarfile.open(fileobj=unpacked, mode="r|") as archive:
                yield from _members(archive)
            while unpacked.read(2**20):  # to the checksum at the end
                pass
    except _Refused as error:
        raise ValueError(f"{shown(path)} is refused: {error}") from None
    except Exception as error:  # tarfile, gzip and zlib raise nearly anything on damaged files
        raise ValueError(
            f"{shown(path)} cannot be read as the archive {_ARCHIVE} ({reason(error)}); "
            "fetch it again"
        ) from error


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of batches; what else is there, wherever it wants to go, is passed by."""
    wanted = {f"{_FOLDER}/{name}": name for name in _BATCHES}
    for member in archive:
        name = wanted.pop(member.name.removeprefix("./"), None)
        if name is None:
            continue
        if member.size > _MAX_BATCH_BYTES:
            raise _Refused(f"its {name} has {member.size:,} bytes")
        content = archive.extractfile(member) if member.isreg() else None
        if content is None:
            raise _Refused(f"its {name} is no regular file")
        yield name, content.read()


def _parsed(data: bytes, label: str) -> _Batch:
    try:
        content = _inert(data)
        images = _array(content["data"]).reshape(-1, 3, _SIDE, _SIDE)
        labels = content["labels"]
    except Exception as error:  # whatever a wrong stream makes of the small machine below
        raise ValueError(
            f"{label} is no batch of CIFAR-10 ({_why(error)}); fetch the data set again"
        ) from error
    digits = isinstance(labels, list) and all(type(k) is int and 0 <= k <= 9 for k in labels)
    if not digits or len(labels) != len(images):
        raise ValueError(f"{label} has no list of {len(images)} labels from 0 to 9; fetch it again")
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return _Batch(images, np.array(labels, np.uint8), md5)


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {ascii(error.args[0])[:40]}"
    return reason(error) if isinstance(error, ValueError) else "it is damaged"


@dataclass(frozen=True, eq=False)
class _Global:
    """The name of a function or class, which is never looked up."""

    name: str


@dataclass(eq=False)
class _Call:
    """A call that a pickle asks for and does not get."""

    function: str
    arguments: Any
    state: Any = None


def _array(value: Any) -> Images:
    """The bytes of a pickled array (N, 3072) of uint8, as NumPy writes it in any protocol."""
    match value:
        case _Call(
            function="numpy.core.multiarray _reconstruct" | "numpy._core.multiarray _reconstruct",
            state=(_, shape, dtype, fortran, data),
        ):
            order = "F" if fortran else "C"
        case _Call(
            function="numpy.core.numeric _frombuffer" | "numpy._core.numeric _frombuffer",
            arguments=(data, dtype, shape, order, *_),
        ):
            pass
        case _:
            raise ValueError("its data is no array")
    match dtype, shape, order:
        case (
            _Call(function="numpy dtype", arguments=("u1", *_)),
            (int(count), 3072),
            "C" | "F",
        ) if count > 0:
            pixels = np.frombuffer(_bytes(data), np.uint8)
            return np.ascontiguousarray(pixels.reshape((count, 3072), order=order))
    raise ValueError("its data is no array of (N, 3072) uint8")


def _bytes(value: Any) -> bytes:
    """The bytes of a string of Python 2, and of what protocol 2 writes as text."""
    if isinstance(value, _Call) and value.function == "_codecs encode":
        value, encoding = value.arguments
        if encoding != "latin1":
            raise ValueError(f"it has text in {_name(encoding)}")
    return value.encode("latin-1") if isinstance(value, str) else bytes(memoryview(value))


def _name(value: Any) -> str:
    """A key or a part of a function's name, which is short: long ones could fill the memory."""
    name = _bytes(value).decode("latin-1")
    if len(name) > _MAX_NAME:
        raise ValueError("it has too long a name")
    return name


def _inert(stream: bytes) -> dict[str, Any]:
    """The dictionary in a pickle, with its keys as text and without running anything."""
    machine = _Machine()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if count == _MAX_OPCODES:
            raise ValueError("it has too many parts")
        if not machine.push(opcode.name, argument):
            machine.combine(opcode.name)
    content = machine.stack.pop()
    if not isinstance(content, dict):
        raise ValueError("it is no dictionary")
    return content


class _Machine:
    """The stack of a pickle, for those opcodes that strings, numbers and arrays need."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def push(self, name: str, argument: Any) -> bool:
        """Whether the opcode was one that puts one value on the stack, or remembers one."""
        match name:
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "NONE":
                self.stack.append(argument)
            case "BINSTRING" | "SHORT_BINSTRING" | "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8":
                self.stack.append(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8" | "BYTEARRAY8":
                self.stack.append(argument)
            case "NEWTRUE" | "NEWFALSE":
                self.stack.append(name == "NEWTRUE")
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                self.stack.append({"EMPTY_DICT": {}, "EMPTY_LIST": [], "EMPTY_TUPLE": ()}[name])
            case "GLOBAL":
                self.stack.append(_Global(argument))
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self._memo[argument])
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = self.stack[-1]
            case "MARK":
                self._marks.append(len(self.stack))
            case _:
                return name in ("PROTO", "FRAME", "STOP")
        return True

    def combine(self, name: str) -> None:
        """Make one value of those on top of the stack."""
        match name:
            case "TUPLE":
                self.stack.append(tuple(self._top()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.stack.append(tuple(self._top(int(name[-1]))))
            case "APPEND" | "APPENDS":
                items = self._top(1 if name == "APPEND" else None)
                self.stack[-1].extend(items)
            case "SETITEM" | "SETITEMS":
                items = self._top(2 if name == "SETITEM" else None)
                keys = [_name(key) for key in items[::2]]
                self.stack[-1].update(zip(keys, items[1::2], strict=True))
            case "STACK_GLOBAL":
                self.stack.append(_Global(" ".join(map(_name, self._top(2)))))
            case "REDUCE":
                function, arguments = self._top(2)
                self.stack.append(_Call(function.name, arguments))
            case "BUILD":
                (state,) = self._top(1)
                self.stack[-1].state = state
            case _:
                raise ValueError(f"it has a part {name}")

    def _top(self, count: int | None = None) -> list[Any]:
        """Take what lies above the last mark, or the last `count` values."""
        start = self._marks.pop() if count is None else len(self.stack) - count
        if start < 0:
            raise ValueError("it is damaged")
        items = self.stack[start:]
        del self.stack[start:]
        return items
