"""The released network pickles: a tuple (G, D, Gs) of `tfutil.Network` (appendix A.1).

They are read without being loaded (pgbench.inert_pickle): of a network its name, its arguments and
its variables are kept, arrays are checked before they are built, and the Python source that is
stored with it is dropped.
"""

import hashlib
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pgbench.inert_pickle import Call, Global, RefusedPickle, read_inert

MAX_FILE_BYTES = 2**30  # the three networks of 1024x1024 take 277 MB
_MAX_OPCODES = 2**17  # those take some thousands
_MAX_TEXT = 100
_MAX_AXES = 4
_VERSION = 2
_AGAIN = "give a file of the released networks, or fetch it again"

Array = NDArray[Any]
Scalar = bool | int | float | str | None

_NETWORK = "tfutil Network"
_RECONSTRUCT = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}
_SCALAR = {"numpy.core.multiarray scalar", "numpy._core.multiarray scalar"}
_FROM_BUFFER = {"numpy.core.numeric _frombuffer", "numpy._core.numeric _frombuffer"}
_NEW = {"copy_reg _reconstructor", "copyreg _reconstructor"}
_ALLOWED = frozenset(
    {_NETWORK, "numpy ndarray", "numpy dtype", "_codecs encode"}
    | {"__builtin__ object", "builtins object", "__builtin__ bytes"}
    | (_RECONSTRUCT | _SCALAR | _FROM_BUFFER | _NEW)
)


@dataclass(frozen=True, eq=False)
class StoredNetwork:
    """A network as its file has it: arguments, and arrays by name in their own layout."""

    name: str
    static_kwargs: dict[str, Scalar]
    variables: dict[str, Array]


@dataclass(frozen=True, eq=False)
class Release:
    """The networks of one file, and the SHA-256 of its bytes."""

    G: StoredNetwork
    D: StoredNetwork
    Gs: StoredNetwork
    sha256: str


def read_release(path: Path) -> Release:
    """The networks of a released pickle of up to 1 GiB; ValueError in one sentence if it is none.

    The arrays are read-only views of the bytes that were read.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}; {_AGAIN}")
    with path.open("rb") as file:
        num_bytes = os.fstat(file.fileno()).st_size
        if num_bytes > MAX_FILE_BYTES:
            raise ValueError(
                f"{path} has {num_bytes:,} bytes, more than the {MAX_FILE_BYTES:,} that networks "
                f"may have; {_AGAIN}"
            )
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        try:
            return _release(file, num_bytes, sha256)
        except OSError:
            raise
        except Exception as error:  # whatever a wrong stream makes of the small machine
            why = str(error) if isinstance(error, RefusedPickle) else "it is damaged"
            raise ValueError(f"{path} is refused as a network pickle: {why}; {_AGAIN}") from error


def _release(file: BinaryIO, num_bytes: int, sha256: str) -> Release:
    content = read_inert(file, num_bytes=num_bytes, max_opcodes=_MAX_OPCODES, allowed=_ALLOWED)
    if not isinstance(content, tuple) or len(content) != 3:
        raise RefusedPickle("it holds no tuple (G, D, Gs)")
    arrays = _Arrays(num_bytes)
    g, d, gs = (_network(each, arrays) for each in content)
    return Release(G=g, D=d, Gs=gs, sha256=sha256)


def _network(value: Any, arrays: "_Arrays") -> StoredNetwork:
    match value:
        case Call(function="tfutil Network", state=dict(state)):
            pass
        case Call(
            function="copy_reg _reconstructor" | "copyreg _reconstructor",
            arguments=(Global(name="tfutil Network"), *_),
            state=dict(state),
        ):  # protocols 0 and 1
            pass
        case _:
            raise RefusedPickle("one of (G, D, Gs) is no tfutil.Network with a state")
    match state:
        case {
            "version": int(version),
            "name": str(name),
            "static_kwargs": dict(kwargs),
            "variables": list(variables),
        }:
            pass
        case _:
            raise RefusedPickle("a network lacks its version, name, static_kwargs or variables")
    if version != _VERSION:
        raise RefusedPickle(f"network {_short(name)} is of version {version} instead of {_VERSION}")
    return StoredNetwork(
        _short(name),
        {_short(key): arrays.scalar(key, each) for key, each in kwargs.items()},
        _variables(variables, arrays),
    )


def _variables(pairs: list[Any], arrays: "_Arrays") -> dict[str, Array]:
    found: dict[str, Array] = {}
    for pair in pairs:
        match pair:
            case (str(name), value) if name not in found:
                found[_short(name)] = arrays.take(name, value)
            case _:
                raise RefusedPickle("its variables are no pairs of different names and arrays")
    return found


def _short(text: str) -> str:
    """Text that may be shown."""
    if len(text) > _MAX_TEXT or not text.isascii() or not text.isprintable():
        raise RefusedPickle(f"it has a name {text[:_MAX_TEXT]!a} that is too long or no ASCII")
    return text


class _Arrays:
    """Builds arrays whose bytes, all together, are no more than the file has."""

    def __init__(self, num_bytes: int) -> None:
        self._left = num_bytes

    def take(self, name: str, value: Any) -> Array:
        """The array recorded in `value`: of f, i, u or b, shape and length agreeing."""
        where = f"variable {_short(name)}"
        dtype, shape, order, data = _parts(value, where)
        kind = _dtype(dtype, where)
        sides = shape if isinstance(shape, tuple) and len(shape) <= _MAX_AXES else (None,)
        if not all(type(n) is int and n >= 0 for n in sides):
            raise RefusedPickle(f"{where} has no shape of up to {_MAX_AXES} numbers")
        size = math.prod(shape) * kind.itemsize
        self._left -= size
        if self._left < 0:
            raise RefusedPickle(f"{where} needs more bytes than the file has")
        content = _bytes(data, where)
        if len(content) != size:
            raise RefusedPickle(f"{where} needs {size} bytes and has {len(content)}")
        return np.frombuffer(content, kind).reshape(shape, order=order)

    def scalar(self, name: str, value: Any) -> Scalar:
        """A plain argument, or NumPy's scalar as one."""
        if isinstance(value, Call):
            array = self.take(name, value)
            if array.shape != ():
                raise RefusedPickle(f"argument {_short(name)} is an array")
            plain: Scalar = array.item()
            return plain
        if isinstance(value, str):
            return _short(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        raise RefusedPickle(f"argument {_short(name)} is no number or text")


def _parts(value: Any, where: str) -> tuple[Any, Any, Any, Any]:
    """(dtype, shape, order, data) of an array as NumPy writes it in any protocol."""
    if isinstance(value, Call):
        match value.arguments, value.state:
            case _, (_, shape, dtype, bool() | 0 | 1 as fortran, data) if (
                value.function in _RECONSTRUCT
            ):
                return dtype, shape, "F" if fortran else "C", data
            case (dtype, data), None if value.function in _SCALAR:
                return dtype, (), "C", data
            case (data, dtype, shape, "C" | "F" as order), None if value.function in _FROM_BUFFER:
                return dtype, shape, order, data
    raise RefusedPickle(f"{where} is no array")


def _dtype(value: Any, where: str) -> np.dtype[Any]:
    """Of numbers only: no objects, no fields, no metadata."""
    match value:
        case Call(
            function="numpy dtype",
            arguments=(str(code), *_),
            state=(_, "<" | ">" | "|" as byte_order, None, None, None, -1, -1, 0),
        ) if re.fullmatch("f[248]|[iu][1248]|b1", code):
            plain: np.dtype[Any] = np.dtype(byte_order + code)
            return plain
    raise RefusedPickle(f"{where} is of a type other than plain numbers")


def _bytes(value: Any, where: str) -> bytes:
    """The bytes of an array: as such, as a string of Python 2, or as protocol 2 writes them."""
    match value:
        case bytes():
            return value
        case Call(function="_codecs encode", arguments=(str(text), "latin1" | "latin-1")):
            return text.encode("latin-1")
        case Call(function="__builtin__ bytes", arguments=()):
            return b""
        case str():
            return value.encode("latin-1")
    raise RefusedPickle(f"{where} has no bytes")
