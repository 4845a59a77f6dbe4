"""Array files and image stores as image sets (section 5). Nothing is ever unpickled."""

import json
import zipfile
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgbench.metrics.imageset import ImageSet, Pixels, array_set
from pgbench.metrics.messages import reason, shown

_MAX_NPZ_BYTES = 2**32  # an npz has to be decompressed into memory
_MAX_HEADER_BYTES = 2**28
_MAX_SIDE = 2**16
_LAYOUTS = "uint8, NHWC or NCHW"


def open_npy(path: Path) -> ImageSet:
    """A .npy, memory-mapped."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # never a pickle, never a zip
    except Exception as error:  # on damaged headers numpy raises nearly anything
        raise ValueError(
            f"{shown(path)} cannot be read as a plain .npy ({reason(error)}); save one array of "
            f"{_LAYOUTS}, with numpy.save."
        ) from error
    return array_set(shown(path), _as_nchw(array, path))


def open_npz(path: Path) -> ImageSet:
    """The one array of an .npz, or the one called `images` or `arr_0`, held in memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = _npz_member(archive.infolist())
            with archive.open(member) as stream:
                array = np.lib.format.read_array(stream, allow_pickle=False)
    except Exception as error:  # on damaged files zipfile and numpy raise nearly anything
        raise ValueError(
            f"{shown(path)} cannot be read as a plain .npz ({reason(error)}); save one array of "
            f"{_LAYOUTS}, with numpy.savez."
        ) from error
    return array_set(shown(path), _as_nchw(array, path))


def _npz_member(members: list[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    known = [info for info in members if info.filename in ("images.npy", "arr_0.npy")]
    if len(members) == 1:
        known = members
    if len(known) != 1:
        names = sorted(info.filename for info in members)
        raise ValueError(f"it holds {names}, not one array or one called images or arr_0")
    if known[0].file_size > _MAX_NPZ_BYTES:  # no more than this size is ever unpacked
        raise ValueError("more than 4 GiB; save a .npy instead, which need not fit in memory")
    return known[0]


def _as_nchw(array: NDArray[Any], path: Path) -> Pixels:
    """A uint8 NHWC or NCHW array as NCHW, told apart by the axis of length 3; no copy."""
    where = f"{shown(path)} holds {array.dtype} of shape {array.shape}"
    if array.dtype != np.uint8:
        raise ValueError(f"{where}; save the pixels as uint8, [0, 255].")
    if array.ndim != 4:
        raise ValueError(f"{where}; save all images in one array of four axes, NHWC or NCHW.")
    if 0 in array.shape:
        raise ValueError(f"{where}, which is no image; save at least one.")
    nchw, nhwc = array.shape[1] == 3, array.shape[3] == 3
    if nchw and nhwc:
        raise ValueError(
            f"{where}: both axis 1 and axis 3 have the length 3 of RGB channels; give images that "
            "are not 3 pixels wide or high."
        )
    if not nchw and not nhwc:
        raise ValueError(
            f"{where}: neither axis 1 nor axis 3 has the length 3 of RGB channels; save three, "
            "without alpha, grey ones repeated."
        )
    return array if nchw else array.transpose(0, 3, 1, 2)


def store_header(path: Path) -> dict[str, Any] | None:
    """The content of an image store's dataset.json, None where `path` is no image store."""
    file = path / "dataset.json"
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        text = stream.read(_MAX_HEADER_BYTES + 1)
    try:
        if len(text) > _MAX_HEADER_BYTES:
            raise ValueError(f"more than {_MAX_HEADER_BYTES} bytes")
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{shown(file)} is not valid JSON ({reason(error)}).") from error
    # Other tools write a dataset.json next to ordinary images: only ours carries a schema.
    return header if isinstance(header, dict) and "schema" in header else None


def open_store(path: Path, header: dict[str, Any], resolution: int | None) -> ImageSet:
    """One level of an image store, memory-mapped."""
    where = f"{shown(path)}/dataset.json"
    if header["schema"] != 1:
        schema = shorten(repr(header["schema"]), 40)
        raise ValueError(f"{where} has schema {schema}; schema 1 is known.")
    level = header.get("resolution") if resolution is None else resolution
    count = header.get("num_images")
    if type(level) is not int or type(count) is not int or not 0 < level <= _MAX_SIDE:
        raise ValueError(f"{where} lacks a whole number for resolution or num_images.")
    file = path / f"{level}.npy"
    if not file.is_file():
        held = sorted((int(f.stem) for f in path.glob("*.npy") if f.stem.isdecimal()), reverse=True)
        raise ValueError(f"{shown(path)} has no level {level}; its levels are {held}.")
    images = _open_composed(file) if header.get("composed") is True else open_npy(file)
    if images.num_images != count or images.shape != (3, level, level):
        raise ValueError(
            f"{shown(file)} holds {images.num_images} images of {images.shape}, but dataset.json "
            f"says {count} of (3, {level}, {level}); prepare the store again."
        )
    return images


def _open_composed(file: Path) -> ImageSet:
    """Images whose channels are three glyphs (M, r, r), numbered in `index.npy` (N, 3)."""
    where = file.with_name("index.npy")
    glyphs, index = _mapped(file), _mapped(where)
    if glyphs.dtype != np.uint8 or glyphs.ndim != 3:
        raise ValueError(
            f"{shown(file)} holds {glyphs.dtype} of shape {glyphs.shape}, but glyphs are uint8 "
            "(M, r, r); prepare the store again."
        )
    if index.dtype.kind != "u" or index.ndim != 2 or index.shape[1] != 3 or not len(index):
        raise ValueError(
            f"{shown(where)} holds {index.dtype} of shape {index.shape}, but an index is unsigned "
            "(N, 3); prepare the store again."
        )
    if index.max() >= len(glyphs):
        raise ValueError(
            f"{shown(where)} names glyph {index.max()}, but {shown(file)} holds {len(glyphs)}; "
            "prepare the store again."
        )
    shape = (3, *glyphs.shape[1:])
    return ImageSet(
        shown(file), len(index), shape, lambda wanted: glyphs[index[wanted]], cheap=True
    )


def _mapped(file: Path) -> NDArray[Any]:
    try:
        return np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # on damaged headers numpy raises nearly anything
        raise ValueError(
            f"{shown(file)} cannot be read as a plain .npy ({reason(error)}); prepare the store "
            "again."
        ) from error
