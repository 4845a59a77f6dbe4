"""Data sets shared as HDF5 files (section 4) as pictures, every level as it is stored.

A file holds `data{R}x{R}`, uint8 NCHW, for each level from full down to 1x1 (those below 4x4 are
left out), its labels lie beside it in `<name>-labels.npy`. Links and data kept in other files
are refused. Grey sets are replicated to RGB.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pgbench.data import Images
from pgbench.pictures_labels import read_labels
from pgbench.prepare import Pictures, StoreDraft, levels

_LARGEST = 1024
_BLOCK_BYTES = 2**23  # read at once and kept, at least a chunk
_MAX_CHUNK_BYTES = 2**28
_AGAIN = "fetch the file again"


class _Refused(ValueError):
    """A sound HDF5 file that is no data set of ours."""


def open_hdf5(path: Path, *, name: str, mirror: bool, max_images: int | None = None) -> Pictures:
    """The first `max_images` pictures of an HDF5 file, with the labels that lie beside it."""
    if not path.is_file():
        raise ValueError(f"{path} is no file; give --from the HDF5 file")
    with _opened(path) as file:
        stored = [_stored_level(path, file, r) for r in levels(_full_resolution(path, file))]
    full = stored[0]
    for level in stored:
        if level.num_images != full.num_images:
            raise ValueError(
                f"{path} holds {full.num_images} images in {full.dataset} and {level.num_images} "
                f"in {level.dataset}; {_AGAIN}"
            )
    labels = read_labels(path.with_name(f"{path.stem}-labels.npy"), full.num_images)
    draft = StoreDraft(
        name=name,
        source=f"HDF5 {path.name}",
        crop="as stored",
        resolution=full.resolution,
        num_images=min(full.num_images, max_images or full.num_images),
        mirror=mirror,
    )
    return Pictures(
        draft,
        full,
        levels={level.resolution: level for level in stored[1:]},
        labels=None if labels is None else labels[: draft.num_images],
    )


@dataclass(frozen=True)
class _StoredLevel:
    """One dataset of a file; called with a number it gives that picture, CHW uint8 RGB."""

    path: Path
    changed: int  # ns: a file put in its place later is another one
    resolution: int
    num_images: int
    block: int  # images read at once

    @property
    def dataset(self) -> str:
        return _dataset(self.resolution)

    def __call__(self, index: int) -> Images:
        number, place = divmod(index, self.block)
        return np.broadcast_to(_block(self, number)[place], (3, self.resolution, self.resolution))


@lru_cache(maxsize=len(levels(_LARGEST)))  # whichever order the levels are read in
def _block(level: _StoredLevel, number: int) -> Images:
    """The `number`-th block of a level, NCHW uint8: a chunk is decompressed once, not per image."""
    start = number * level.block
    stop = min(start + level.block, level.num_images)
    with _opened(level.path, f", images {start} to {stop - 1} of {level.dataset},") as file:
        images: Images = file[level.dataset][start:stop]
    return images


@contextmanager
def _opened(path: Path, part: str = "") -> Iterator[Any]:
    """The h5py file, opened anew for each use: it cannot be handed to other processes."""
    try:
        import h5py
    except ImportError as error:
        raise ValueError(
            "HDF5 files need the package h5py; install it with: pip install 'pgbench[official]'"
        ) from error
    try:
        with h5py.File(path, "r") as file:
            yield file
    except _Refused:
        raise
    except Exception as error:  # on damaged files h5py raises nearly anything
        raise ValueError(f"{path}{part} cannot be read as HDF5 ({error}); {_AGAIN}") from error


def _dataset(resolution: int) -> str:
    return f"data{resolution}x{resolution}"


def _full_resolution(path: Path, file: Any) -> int:
    named = (re.fullmatch(r"data([1-9][0-9]{0,4})x\1", key) for key in file)
    found = max((int(match[1]) for match in named if match), default=0)
    if found < 4 or found > _LARGEST or found & (found - 1):
        largest = f"the largest is {_dataset(found)}" if found else "there is no data{R}x{R}"
        raise _Refused(
            f"{path} holds no pictures of a power of two from 4 to {_LARGEST} ({largest}); give "
            "--from the HDF5 file of a data set"
        )
    return found


def _stored_level(path: Path, file: Any, resolution: int) -> _StoredLevel:
    import h5py

    name = _dataset(resolution)
    link = file.get(name, getlink=True)
    if link is None:
        raise _Refused(f"{path} has no {name}; a file needs all levels down to {_dataset(4)}")
    if not isinstance(link, h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        raise _Refused(f"{path} is refused: {name} is no dataset but a link or a group; {_AGAIN}")
    dataset = file[name]
    side, shape = resolution, dataset.shape or ()  # None where there is no space for data
    if dataset.dtype != np.uint8 or shape[1:] not in ((3, side, side), (1, side, side)):
        raise _Refused(
            f"{path} holds {dataset.dtype} {shape} in {name} instead of uint8 "
            f"(N, 3, {side}, {side}); give a file made for that"
        )
    _check_storage(path, name, dataset)
    chunk = dataset.chunks[0] if dataset.chunks else 1
    fitting = _BLOCK_BYTES // (chunk * math.prod(shape[1:]))
    return _StoredLevel(path, path.stat().st_mtime_ns, side, len(dataset), chunk * max(1, fitting))


def _check_storage(path: Path, name: str, dataset: Any) -> None:
    """All pixels must lie in the file itself, in chunks that fit in memory."""
    import h5py

    plain = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
    created = dataset.id.get_create_plist()
    filters = {created.get_filter(i)[0] for i in range(created.get_nfilters())}
    if dataset.is_virtual or dataset.external or not filters <= plain:
        raise _Refused(
            f"{path} is refused: {name} lies in other files or is packed by other means than gzip; "
            "store the pixels in the file itself, plain or gzipped"
        )
    if math.prod(dataset.chunks or ()) > _MAX_CHUNK_BYTES:
        raise _Refused(
            f"{path} is refused: {name} has chunks of {dataset.chunks}, more than "
            f"{_MAX_CHUNK_BYTES} bytes; store it in smaller ones"
        )
    if not _is_complete(dataset):
        raise _Refused(f"{path} is incomplete: {name} lacks some of {dataset.shape}; {_AGAIN}")


def _is_complete(dataset: Any) -> bool:
    """Whether every pixel was written; what was not would be read as zeros, and be endless."""
    if dataset.chunks is None:
        return len(dataset) > 0 and dataset.id.get_storage_size() == math.prod(dataset.shape)
    counts = (-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
    return len(dataset) > 0 and dataset.id.get_num_chunks() == math.prod(counts)
