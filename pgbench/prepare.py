"""Multi-resolution image store, write side: rendered or read in parallel, whole or absent.

The store is built in a folder beside its place and renamed at the end. The images are written in
shards, and a journal in the folder lists the finished ones, so that the same call after a kill does
what is left. Level k+1 is the 2x2 mean of the unrounded level k, rounded once.
"""

import glob
import hashlib
import os
import pickle
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from pgbench import __version__
from pgbench.atomic import sync_folder, write_atomically, write_text_atomically
from pgbench.data import (
    CHECKSUMS,
    INDEX,
    LABELS,
    MAX_LISTED,
    Images,
    ImageStore,
    StoreInfo,
    fingerprint,
    first_line,
    labels_fingerprint,
    to_json,
)
from pgbench.journal import run_tasks
from pgbench.jsonlines import read_lines

SHARD = 256  # images of one task, and the least worth starting processes for
_SHARD_PIXELS = 2**23  # of one task at most: a worker holds them as float32, too
_JOURNAL = "finished-shards"

ReadImage = Callable[[int], Images]  # index -> CHW uint8


@dataclass(frozen=True)
class StoreDraft:
    """What is known of a store before its pixels are."""

    name: str
    source: str
    crop: str
    resolution: int
    num_images: int
    mirror: bool


@dataclass(frozen=True)
class Pictures:
    """Pictures that can become a store: decoded, cropped, of one size, read in any order.

    `read` and `levels` must be picklable: they run in worker processes that are spawned.
    """

    draft: StoreDraft
    read: ReadImage
    levels: Mapping[int, ReadImage] = field(default_factory=dict)  # taken as stored, not computed
    labels: NDArray[Any] | None = None  # (num_images, ...)
    skipped: tuple[str, ...] = ()  # entries left out because unreadable
    note: str = ""  # what a reader of numbers should know


def build_store(out: Path, draft: StoreDraft, *, read: ReadImage) -> ImageStore:
    """`build_pictures` of images that have no labels and no levels of their own."""
    return build_pictures(out, Pictures(draft, read))


def build_pictures(out: Path, pictures: Pictures) -> ImageStore:
    """Write the pictures into a store at `out`, or open the one made from their draft.

    When it was killed or interrupted, the next call with the same pictures goes on from there.
    """
    info = _info(pictures.draft, pictures)
    with _place(out) as vacant:
        if vacant:
            _build(out, pictures, info)
    return _opened(out, pictures.draft)


def build_composed(
    out: Path,
    draft: StoreDraft,
    glyphs: Images,
    index: NDArray[np.integer[Any]],
    *,
    labels: NDArray[Any] | None = None,
    note: str = "",
    beside: Mapping[str, NDArray[Any]] | None = None,
) -> ImageStore:
    """A store whose image i has the grey glyphs (M, R, R) of numbers index[i] as R, G and B.

    `beside` are other arrays for its folder, by the name of their file.
    """
    _check_composed(draft, glyphs, index)
    info = _info(draft, Pictures(draft, _no_picture, labels=labels, note=note), composed=True)
    with _place(out) as vacant:
        if vacant:
            with _folder_beside(out, "composed") as building:
                _write_glyphs(building, glyphs, index)
                for name, array in (beside or {}).items():
                    _save(building / name, array)
                _finish(building, out, info, labels)
    return _opened(out, draft)


def _no_picture(index: int) -> Images:
    raise AssertionError(f"picture {index} of a composed store")


def levels(resolution: int) -> list[int]:
    """Resolutions of a store, from full down to 4."""
    return [resolution >> k for k in range(resolution.bit_length()) if resolution >> k >= 4]


def downscaled(images: Images) -> Iterator[tuple[int, Images]]:
    """(resolution, NCHW uint8) of each level: 2x2 means of the unrounded level above."""
    exact: NDArray[np.float32] = images.astype(np.float32)  # sums of 4**8 bytes stay exact
    full, *lower = levels(images.shape[2])
    yield full, images
    for resolution in lower:
        rows = exact[:, :, ::2] + exact[:, :, 1::2]
        exact = (rows[..., ::2] + rows[..., 1::2]) * np.float32(0.25)
        yield resolution, np.rint(exact).astype(np.uint8)


@contextmanager
def _place(out: Path) -> Iterator[bool]:
    """Whether nothing is at `out` yet; others that prepare the same wait."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out.parent / f".{out.name}.lock"):
        yield not out.exists()


def _opened(out: Path, draft: StoreDraft) -> ImageStore:
    store = ImageStore.open(out)
    if any(getattr(store.info, name) != value for name, value in _fields(draft).items()):
        raise ValueError(f"{out} holds another data set ({store.info.name}); choose another --out")
    return store


def _info(draft: StoreDraft, pictures: Pictures, *, composed: bool = False) -> StoreInfo:
    """`dataset.json` but for its fingerprints: refused before hours of work, not after."""
    labels = pictures.labels
    if labels is not None:
        _check_labels(draft, labels)
    for level in pictures.levels.keys() - levels(draft.resolution):
        raise ValueError(f"{draft.name} of {draft.resolution}x{draft.resolution} has level {level}")
    try:
        return StoreInfo(
            **_fields(draft),
            labels=None if labels is None else LABELS,
            labels_fingerprint=None if labels is None else labels_fingerprint(labels),
            composed=composed,
            note=_storable(pictures.note),
            num_skipped=len(pictures.skipped),
            skipped=tuple(map(_storable, pictures.skipped[:MAX_LISTED])),
            fingerprint=dict.fromkeys(levels(draft.resolution), ""),
        )
    except ValidationError as error:
        raise ValueError(
            f"{draft.name!r} cannot become a store ({first_line(error)}); prepare other pictures"
        ) from error


def _check_labels(draft: StoreDraft, labels: NDArray[Any]) -> None:
    if labels.dtype.hasobject or labels.shape[:1] != (draft.num_images,) or not labels.size:
        raise ValueError(
            f"{draft.name} has labels {labels.dtype} {labels.shape} for {draft.num_images} images; "
            "give one plain number or row of numbers for each"
        )


def _check_composed(draft: StoreDraft, glyphs: Images, index: NDArray[np.integer[Any]]) -> None:
    side = draft.resolution
    if glyphs.shape[1:] != (side, side) or glyphs.dtype != np.uint8:
        raise ValueError(f"glyphs are {glyphs.dtype} {glyphs.shape}, not uint8 (M, {side}, {side})")
    if index.shape != (draft.num_images, 3) or index.dtype.kind not in "iu":
        raise ValueError(
            f"the index is {index.dtype} {index.shape}, not integers ({draft.num_images}, 3)"
        )
    if index.size and not 0 <= index.min() <= index.max() < len(glyphs):
        raise ValueError(f"the index names glyphs {index.min()} to {index.max()} of {len(glyphs)}")


def _fields(draft: StoreDraft) -> dict[str, Any]:
    texts = {"source": _storable(draft.source), "crop": _storable(draft.crop)}
    return vars(draft) | texts


def _storable(text: str) -> str:
    """File names may hold bytes that are no UTF-8, which JSON cannot."""
    return text.encode(errors="backslashreplace").decode()


def _identity(pictures: Pictures) -> str:
    """Sixteen digits that tell these pictures from others without reading any."""
    try:
        known = pickle.dumps((__version__, Path.cwd(), SHARD, pictures))
    except (pickle.PicklingError, AttributeError, TypeError):  # never leaves this process
        known = uuid.uuid4().bytes
    return hashlib.sha256(known).hexdigest()[:16]


def _build(out: Path, pictures: Pictures, info: StoreInfo) -> None:
    try:
        with _folder_beside(out, _identity(pictures)) as building:
            if not (building / _JOURNAL).exists():
                _lay_out(building, pictures.draft)
            _write_shards(building, pictures)
            _finish(building, out, info, pictures.labels)
    except BrokenProcessPool as error:
        raise ValueError(
            "a process that prepared images was killed, perhaps for want of memory; "
            "the same command goes on from there"
        ) from error


@contextmanager
def _folder_beside(out: Path, identity: str) -> Iterator[Path]:
    """Where to build: what a kill left of the same pictures, or a new folder.

    It is kept while it holds finished shards, unless a picture was refused.
    """
    building = out.parent / f".{out.name}.{identity}.partial"
    for left in out.parent.glob(f".{glob.escape(out.name)}.*.partial"):
        if left != building or not (left / _JOURNAL).exists():
            shutil.rmtree(left, ignore_errors=True)  # by a kill: we hold the lock
    building.mkdir(exist_ok=True)
    try:
        yield building
    except ValueError:
        shutil.rmtree(building, ignore_errors=True)
        raise
    finally:
        if not read_lines(building / _JOURNAL):
            shutil.rmtree(building, ignore_errors=True)


def _lay_out(building: Path, draft: StoreDraft) -> None:
    """The levels without their pixels, then the journal: from here on the folder can go on."""
    needed = sum(3 * draft.num_images * r * r for r in levels(draft.resolution))
    free = shutil.disk_usage(building).free
    if needed > free:
        raise ValueError(
            f"{draft.name} needs {needed / 1e9:.1f} GB and {building.parent} has "
            f"{free / 1e9:.1f} GB left; make room, choose another place or take fewer images"
        )
    for resolution in levels(draft.resolution):
        shape = (draft.num_images, 3, resolution, resolution)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        write = partial(np.lib.format.write_array_header_1_0, d=header)
        write_atomically(building / f"{resolution}.npy", write)
    write_text_atomically(building / _JOURNAL, "")


@dataclass(frozen=True)
class _Writer:
    """Writes the shard of images from `start` on, each level at its place."""

    building: Path
    pictures: Pictures
    size: int

    def __call__(self, start: int) -> None:
        draft, given = self.pictures.draft, self.pictures.levels
        indices = range(start, min(start + self.size, draft.num_images))
        images = _read(self.pictures.read, indices, draft.resolution)
        for resolution, computed in downscaled(images):
            stored = given.get(resolution)
            level = computed if stored is None else _read(stored, indices, resolution)
            with (self.building / f"{resolution}.npy").open("r+b") as file:
                # No memory map: on a full disk it would end the process.
                np.lib.format.read_magic(file)
                np.lib.format.read_array_header_1_0(file)
                file.seek(start * 3 * resolution**2, os.SEEK_CUR)
                file.write(level.tobytes())
                file.flush()
                os.fsync(file.fileno())


def _read(read: ReadImage, indices: range, resolution: int) -> Images:
    return np.stack([_checked(read(index), index, resolution) for index in indices])


def _checked(image: Images, index: int, resolution: int) -> Images:
    if image.shape != (3, resolution, resolution) or image.dtype != np.uint8:
        raise ValueError(
            f"image {index} is {image.dtype} {image.shape}, "
            f"not uint8 (3, {resolution}, {resolution})"
        )
    return image


def _write_shards(building: Path, pictures: Pictures) -> None:
    draft = pictures.draft
    size = max(1, min(SHARD, _SHARD_PIXELS // draft.resolution**2))
    write = _Writer(building, replace(pictures, labels=None, skipped=()), size)
    starts = range(0, draft.num_images, size)
    tasks = run_tasks(write, starts, journal=building / _JOURNAL)
    with preparing_bar() as progress, closing(tasks) as done:
        task = progress.add_task(f"{draft.name} {draft.resolution}²", total=len(starts))
        for _ in done:
            progress.advance(task)


def _write_glyphs(building: Path, glyphs: Images, index: NDArray[np.integer[Any]]) -> None:
    parts = [dict(downscaled(glyphs[i : i + SHARD, None])) for i in range(0, len(glyphs), SHARD)]
    for resolution in levels(glyphs.shape[1]):
        level = np.concatenate([part[resolution][:, 0] for part in parts])
        _save(building / f"{resolution}.npy", level)
    _save(building / INDEX, index.astype(np.uint16 if len(glyphs) <= 2**16 else np.uint32))


def _save(path: Path, array: NDArray[Any]) -> None:
    write_atomically(path, partial(np.save, arr=np.ascontiguousarray(array), allow_pickle=False))


def _finish(building: Path, out: Path, info: StoreInfo, labels: NDArray[Any] | None) -> None:
    """Add labels, checksums and `dataset.json`, and put the folder in its place."""
    if labels is not None:
        _save(building / LABELS, labels)
    store = ImageStore.mapped(building, info)
    size = sum(3 * info.num_images * r * r for r in info.fingerprint)
    with preparing_bar() as progress:
        advance = partial(progress.advance, progress.add_task("checksums", total=size))
        found = {r: fingerprint(store.level(r), advance) for r in info.fingerprint}
    _save(building / CHECKSUMS, np.stack([checksums for _, checksums in found.values()]))
    whole = info.model_copy(update={"fingerprint": {r: digest for r, (digest, _) in found.items()}})
    write_text_atomically(building / "dataset.json", to_json(whole))
    building.rename(out)
    sync_folder(out.parent)
    (out / _JOURNAL).unlink(missing_ok=True)  # only now: a kill before the rename costs no shard


def preparing_bar() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("preparing {task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
