"""Folders and zips of encoded images as image sets (section 5).

Files are sorted by their POSIX relative path; hidden ones (a name starting with a dot) are left
out, and so is everything that is not named .png, .jpg, .jpeg, .webp or .bmp. Linked files are read,
linked folders are not entered.
"""

import os
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from pgbench.metrics.decoding import BrokenImageError, decode_image
from pgbench.metrics.imageset import ImageSet, Indices, Pixels, Progress, map_ahead
from pgbench.metrics.messages import reason, shown

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
_MAX_FILE_BYTES = 2**28  # one encoded image
_TRIED_AT_ONCE = 16  # files of one task of `skip_broken`

_Load = Callable[[str], bytes]  # a name within the set to the bytes of the file
_Decode = Callable[[str], Pixels]  # a name within the set to (3, H, W)


def open_folder(path: Path, *, skip_broken: bool, progress: Progress | None) -> ImageSet:
    """The images below a folder."""
    names = sorted(filter(is_image_name, files_below(path)))

    def load(name: str) -> bytes:
        return file_bytes(f"{path}/{name}")

    return _encoded_set(path, names, load, skip_broken=skip_broken, progress=progress)


def open_zip(path: Path, *, skip_broken: bool, progress: Progress | None) -> ImageSet:
    """The images in a zip, which stays open and is never unpacked to disk."""
    archive = open_archive(path)
    found = members(path, archive)
    lock = threading.Lock()  # zipfile counts its readers without one

    def load(name: str) -> bytes:
        with lock:
            return member_bytes(path, archive, found[name])

    return _encoded_set(path, sorted(found), load, skip_broken=skip_broken, progress=progress)


def files_below(root: Path) -> Iterator[str]:
    """Relative POSIX paths of everything that is no folder, hidden folders left out."""

    def refuse(error: OSError) -> None:
        raise ValueError(f"{shown(str(error.filename))} cannot be read ({reason(error)}).")

    for folder, folders, files in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inner = os.path.relpath(folder, root).replace(os.sep, "/")
        yield from files if inner == "." else (f"{inner}/{name}" for name in files)


def is_image_name(name: str) -> bool:
    inner = PurePosixPath(name)
    hidden = any(part.startswith(".") for part in inner.parts)
    return not hidden and inner.suffix.lower() in SUFFIXES


def file_bytes(file: str) -> bytes:
    try:
        info = os.stat(file)
        if not stat.S_ISREG(info.st_mode):  # opening a pipe would wait for ever
            raise BrokenImageError(shown(file), "is no regular file")
        _check_bytes(file, info.st_size)
        with open(file, "rb", buffering=0) as stream:
            return stream.read(info.st_size)
    except OSError as error:
        raise BrokenImageError(shown(file), f"cannot be read ({reason(error)})") from error


def _check_bytes(file: str, num_bytes: int) -> None:
    if num_bytes > _MAX_FILE_BYTES:
        raise BrokenImageError(
            shown(file), f"is refused, {num_bytes} bytes are too many for one image"
        )


def open_archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # on damaged files zipfile raises nearly anything
        raise ValueError(f"{shown(path)} cannot be read as a zip ({reason(error)}).") from error


def members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The images of a zip by their path in it."""
    members = {}
    for info in archive.infolist():
        inner = PurePosixPath(info.filename.replace("\\", "/"))
        drive = inner.parts[0].endswith(":") if inner.parts else False
        if drive or inner.is_absolute() or ".." in inner.parts:
            raise ValueError(
                f"{shown(path)} is refused: its member {info.filename!r} leaves the archive; "
                "pack it again with relative paths."
            )
        if not info.is_dir() and is_image_name(inner.as_posix()):
            members[inner.as_posix()] = info
    return members


def member_bytes(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    file = f"{path}/{info.filename}"
    _check_bytes(file, info.file_size)  # no more than this size is ever unpacked
    if info.flag_bits & 1:
        raise BrokenImageError(shown(file), "is encrypted, pack it again without a password")
    try:
        return archive.read(info)
    except Exception as error:  # on damaged files zipfile raises nearly anything
        why = f"cannot be read from the zip ({reason(error)})"
        raise BrokenImageError(shown(file), why) from error


def _encoded_set(
    path: Path, names: list[str], load: _Load, *, skip_broken: bool, progress: Progress | None
) -> ImageSet:
    if not names:
        kinds = ", ".join(sorted(SUFFIXES))
        raise ValueError(f"{shown(path)} holds no image; files named {kinds} count.")

    def decode(name: str) -> Pixels:
        return decode_image(load(name), shown(f"{path}/{name}"))

    skipped: tuple[str, ...] = ()
    if skip_broken:
        names, skipped = _sorted_out(path, names, decode, progress)
    channels, height, width = decode(names[0]).shape
    shape = (channels, height, width)

    def read(indices: Indices) -> Pixels:
        pixels = np.empty((len(indices), *shape), np.uint8)
        for place, index in enumerate(indices):
            image = decode(names[index])
            _check_size(path, names[index], image.shape, names[0], shape)
            pixels[place] = image
        return pixels

    return ImageSet(shown(path), len(names), shape, read, parallel=True, skipped=skipped)


def _sorted_out(
    path: Path, names: list[str], decode: _Decode, progress: Progress | None
) -> tuple[list[str], tuple[str, ...]]:
    """The names of the files that can be decoded, which all have one size, and of the others."""
    tasks = [names[i : i + _TRIED_AT_ONCE] for i in range(0, len(names), _TRIED_AT_ONCE)]
    shapes: dict[str, tuple[int, ...] | None] = {}
    with closing(map_ahead(partial(_shapes, decode), tasks, ahead=len(tasks))) as tried:
        for found in tried:
            shapes |= found
            if progress is not None:
                progress(len(shapes) / len(names))
    good = {name: shape for name, shape in shapes.items() if shape is not None}
    if not good:
        raise ValueError(f"{shown(path)} holds no image that can be decoded: all are broken.")
    first = next(iter(good))
    for name, shape in good.items():
        _check_size(path, name, shape, first, good[first])
    return list(good), tuple(name for name in names if name not in good)


def _shapes(decode: _Decode, names: list[str]) -> dict[str, tuple[int, ...] | None]:
    """(3, H, W) of each file, None for a broken one."""
    shapes: dict[str, tuple[int, ...] | None] = {}
    for name in names:
        try:
            shapes[name] = decode(name).shape
        except BrokenImageError:
            shapes[name] = None
    return shapes


def _check_size(
    path: Path, name: str, shape: tuple[int, ...], first: str, expected: tuple[int, ...]
) -> None:
    if shape != expected:
        raise ValueError(
            f"{shown(f'{path}/{name}')} is {shape[2]}x{shape[1]}, but the first image of the set, "
            f"{shown(first)}, is {expected[2]}x{expected[1]}; bring all images to one size."
        )
