"""LSUN: an LMDB or pictures of one category, as centre squares at 256x256 (section 6).

Entries that cannot be read are left out and named, as the first so many *readable* images are
taken: all entries up to there are decoded once, in parallel, before the store is begun.
"""

import os
from bisect import bisect_right
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pgbench.crops import Fit, check_side
from pgbench.journal import follow_parent
from pgbench.metrics.messages import reason, shown
from pgbench.pictures_folder import (
    Encoded,
    PictureFiles,
    ReadFitted,
    UnreadableError,
    check_resolution,
    count_note,
    decoded,
    first_of,
    named,
    source_of,
)
from pgbench.prepare import Pictures, StoreDraft, preparing_bar

SCENES = (
    *("bedroom", "bridge", "church_outdoor", "classroom", "conference_room", "dining_room"),
    *("kitchen", "living_room", "restaurant", "tower"),
)
OBJECTS = (
    *("airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("dining_table", "dog", "horse", "motorbike", "person", "potted_plant", "sheep", "sofa"),
    *("train", "tv-monitor"),
)
CATEGORIES = SCENES + OBJECTS
_WHOLE = ("bedroom", "dog")  # all of it, not mirrored
_FIRST = 100_000  # of the other categories, mirrored

_STRIDE = 256  # of the keys of an LMDB one in so many is remembered: bedroom has three million
_TRIED_AT_ONCE = 256
_MAX_BYTES = 2**28  # one encoded image


def open_lsun(
    path: Path,
    category: str,
    *,
    resolution: int = 256,
    allow_upscale: bool = False,
    max_images: int | None = None,
) -> Pictures:
    """One category: bedroom and dog whole, of the others 100,000 images to be mirrored."""
    if category not in CATEGORIES:
        raise ValueError(
            f"LSUN has no category {category!r}; its scenes are {', '.join(SCENES)} and its "
            f"objects {', '.join(OBJECTS)}"
        )
    check_resolution(resolution)
    is_lmdb = (path / "data.mdb").is_file()
    entries = LmdbEntries.open(path) if is_lmdb else PictureFiles.open(path)
    fit = Fit(resolution, "centre", "lanczos", allow_upscale)
    most = _FIRST if max_images is None and is_mirrored(category) else max_images
    broken, count = _try(entries, fit, first_of(len(entries), most), f"lsun-{category}")
    if count == 0:
        raise ValueError(f"{shown(path)} holds no picture that can be read; download it again")
    source = f"LMDB {shown(path.resolve().name)}" if is_lmdb else source_of(path)
    draft = StoreDraft(
        name=f"lsun-{category}",
        source=f"LSUN {category}, {source}",
        crop=str(fit),
        resolution=resolution,
        num_images=count,
        mirror=is_mirrored(category),
    )
    skipped = tuple(entries.name(position) for position in broken)
    note = count_note(count, _FIRST) if is_mirrored(category) else ""
    read = ReadFitted(Readable.of(entries, broken), fit)
    return Pictures(draft, read, skipped=skipped, note=note)


def is_mirrored(category: str) -> bool:
    """Whether section 6 mirrors the images of a category."""
    return category not in _WHOLE


@dataclass(frozen=True)
class LmdbEntries:
    """The values of an LMDB in the order of its keys; each process opens it for itself."""

    path: Path
    num_entries: int
    anchors: tuple[bytes, ...]  # keys 0, _STRIDE, 2 * _STRIDE, ...

    @classmethod
    def open(cls, path: Path) -> "LmdbEntries":
        """The LMDB in a folder; ValueError when it is none, empty or truncated."""
        _environment.cache_clear()  # a process may have a file open but once
        _keys.cache_clear()
        anchors, num_entries = [], 0
        try:
            with _connect(path) as env, env.begin() as transaction:
                _check_complete(path, env)
                for key in transaction.cursor().iternext(values=False):
                    if num_entries % _STRIDE == 0:
                        anchors.append(key)
                    num_entries += 1
        except _lmdb().Error as error:
            raise ValueError(
                f"{shown(path)} cannot be read as an LMDB ({reason(error)}); download it again"
            ) from error
        if num_entries == 0:
            raise ValueError(f"{shown(path)} is an LMDB without entries; download it again")
        return cls(path, num_entries, tuple(anchors))

    def __len__(self) -> int:
        return self.num_entries

    def name(self, index: int, /) -> str:
        """The key, which is forty hexadecimal digits as published."""
        return shown(self._key(index).decode("ascii", "backslashreplace"))

    def label(self, index: int, /) -> str:
        return f"{shown(self.path)}/{self.name(index)}"

    def load(self, index: int, /) -> bytes:
        try:
            with _environment(self.path).begin(buffers=True) as transaction:
                value = transaction.get(self._key(index))
                if value is None or len(value) > _MAX_BYTES:
                    raise UnreadableError(f"{self.label(index)} is missing or larger than 256 MiB")
                return bytes(value)
        except _lmdb().Error as error:
            raise UnreadableError(f"{self.label(index)} is damaged ({reason(error)})") from error

    def _key(self, index: int) -> bytes:
        block, place = divmod(index, _STRIDE)
        try:
            return _keys(self.path, self.anchors[block])[place]
        except (_lmdb().Error, IndexError) as error:
            raise ValueError(f"{shown(self.path)} changed while it was read; try again") from error


@dataclass(frozen=True)
class Readable:
    """Entries without the broken ones."""

    entries: Encoded
    shifts: tuple[int, ...]  # from image shifts[k] on, k + 1 broken entries lie before

    @classmethod
    def of(cls, entries: Encoded, broken: list[int]) -> "Readable":
        """The entries but those at the positions `broken`, which ascend."""
        return cls(entries, tuple(position - k for k, position in enumerate(broken)))

    def __len__(self) -> int:
        return len(self.entries) - len(self.shifts)

    def label(self, index: int, /) -> str:
        return self.entries.label(self._position(index))

    def load(self, index: int, /) -> bytes:
        return self.entries.load(self._position(index))

    def _position(self, index: int) -> int:
        return index + bisect_right(self.shifts, index)


def _try(entries: Encoded, fit: Fit, most: int, name: str) -> tuple[list[int], int]:
    """Positions of broken entries before image number `most`, and how many images there are."""
    broken: list[int] = []
    count = 0
    with preparing_bar() as progress, closing(_tried(entries, fit)) as results:
        task = progress.add_task(f"{name}: looking for broken entries", total=most)
        for position, is_broken in results:
            if is_broken:
                broken.append(position)
            else:
                count += 1
            if position % _TRIED_AT_ONCE == 0:
                progress.update(task, completed=count)
            if count == most:
                break
    return broken, count


def _tried(entries: Encoded, fit: Fit) -> Generator[tuple[int, bool]]:
    """(position, whether it is broken) of all entries in order, decoded in processes ahead."""
    workers = os.cpu_count() or 1
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_start_worker, initargs=(entries, fit)
    )
    pending: deque[Future[list[tuple[int, bool]]]] = deque()
    try:
        for start in range(0, len(entries), _TRIED_AT_ONCE):
            pending.append(pool.submit(_try_some, start))
            if len(pending) > 2 * workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    except BrokenProcessPool as error:
        raise ValueError(
            "a process that read the pictures was killed, for want of memory or by a damaged file; "
            "try again, or download it again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_tries: tuple[Encoded, Fit]  # of a worker process: sent once, for it may list millions of files


def _start_worker(entries: Encoded, fit: Fit) -> None:
    global _tries
    follow_parent()
    _tries = entries, fit


def _try_some(start: int) -> list[tuple[int, bool]]:
    entries, fit = _tries
    stop = min(start + _TRIED_AT_ONCE, len(entries))
    return [(position, _is_broken(entries, fit, position)) for position in range(start, stop)]


def _is_broken(entries: Encoded, fit: Fit, position: int) -> bool:
    """Whether an entry cannot be decoded; ValueError when it is sound but too small."""
    try:
        with named(entries, position):
            image = decoded(entries, position)
            check_side(image, fit.resolution, allow_upscale=fit.allow_upscale)
    except UnreadableError:
        return True
    return False


def _lmdb() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise ValueError(
            'LSUN\'s LMDBs are read with the package lmdb; install it: pip install "pgbench[lsun]"'
        ) from error
    return lmdb


def _connect(path: Path) -> Any:
    if (path / "data.mdb").stat().st_size < 2**13:
        raise ValueError(f"{shown(path / 'data.mdb')} is truncated; download it again")
    return _lmdb().open(str(path), readonly=True, lock=False, create=False, readahead=False)


def _check_complete(path: Path, env: Any) -> None:
    """ValueError when pages lie behind the end of the file: touching them ends the process."""
    needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if (path / "data.mdb").stat().st_size < needed:
        raise ValueError(
            f"{shown(path / 'data.mdb')} is truncated, it should have {needed} bytes; download it "
            "again"
        )


@lru_cache(maxsize=1)
def _environment(path: Path) -> Any:
    return _connect(path)


@lru_cache(maxsize=2)
def _keys(path: Path, anchor: bytes) -> list[bytes]:
    """The keys from `anchor` on, as many as one block has."""
    with _environment(path).begin() as transaction:
        cursor = transaction.cursor()
        cursor.set_range(anchor)
        return list(islice(cursor.iternext(values=False), _STRIDE))
