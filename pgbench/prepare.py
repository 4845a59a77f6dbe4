"""Multi-resolution image store, write side: rendered or read in parallel, whole or absent.

The store is built in a folder beside its place and renamed at the end.
"""

import glob
import hashlib
import os
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pgbench.atomic import sync_folder, write_text_atomically
from pgbench.data import Images, ImageStore, StoreInfo, to_json

SHARD = 256  # images of one task, and the least worth starting processes for

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


def build_store(out: Path, draft: StoreDraft, *, read: ReadImage) -> ImageStore:
    """Write images `read(0)` … into a store at `out`, or open the one made from this draft.

    `read` must be picklable: it runs in worker processes.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out.parent / f".{out.name}.lock"):
        if not out.exists():
            _build(out, draft, read)
    store = ImageStore.open(out)
    if any(getattr(store.info, name) != value for name, value in vars(draft).items()):
        raise ValueError(f"{out} holds another data set ({store.info.name}); choose another --out")
    return store


def _build(out: Path, draft: StoreDraft, read: ReadImage) -> None:
    with _folder_beside(out) as building:
        files = {r: building / f"{r}.npy" for r in levels(draft.resolution)}
        for resolution, file in files.items():
            _write_header(file, (draft.num_images, 3, resolution, resolution))
        _write_all(files, draft, read)
        fingerprint = {resolution: _fingerprint(file) for resolution, file in files.items()}
        info = StoreInfo(**vars(draft), fingerprint=fingerprint)
        write_text_atomically(building / "dataset.json", to_json(info))
        building.rename(out)
    sync_folder(out.parent)


def levels(resolution: int) -> list[int]:
    """Resolutions of a store, from full down to 4."""
    return [resolution >> k for k in range(resolution.bit_length()) if resolution >> k >= 4]


def downscaled(images: Images) -> Iterator[tuple[int, Images]]:
    """(resolution, NCHW uint8) of each level: 2x2 means of the unrounded level above."""
    exact: NDArray[np.float32] = images.astype(np.float32)  # sums of 4**8 bytes stay exact
    for resolution in levels(images.shape[2]):
        yield resolution, np.rint(exact).astype(np.uint8)
        n, c, h, w = exact.shape
        exact = exact.reshape(n, c, h // 2, 2, w // 2, 2).mean(axis=(3, 5))


@contextmanager
def _folder_beside(out: Path) -> Iterator[Path]:
    for left in out.parent.glob(f".{glob.escape(out.name)}.*.partial"):
        shutil.rmtree(left, ignore_errors=True)  # by a kill: we hold the lock
    building = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}.partial"  # no late worker knows it
    building.mkdir()
    try:
        yield building
    finally:
        shutil.rmtree(building, ignore_errors=True)  # after the rename there is nothing left


def _write_header(path: Path, shape: tuple[int, ...]) -> None:
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)


def _write_all(files: dict[int, Path], draft: StoreDraft, read: ReadImage) -> None:
    starts = range(0, draft.num_images, SHARD)
    write = partial(_write_shard, files, draft, read)
    with _progress() as progress:
        task = progress.add_task(f"{draft.name} {draft.resolution}²", total=draft.num_images)
        if len(starts) == 1:
            progress.advance(task, write(0))
            return
        with _worker_pool() as pool:
            for shard in as_completed([pool.submit(write, start) for start in starts]):
                progress.advance(task, shard.result())


@contextmanager
def _worker_pool() -> Iterator[ProcessPoolExecutor]:
    """Processes that drop what is left to do when something goes wrong."""
    pool = ProcessPoolExecutor(
        os.cpu_count(), mp_context=get_context("spawn"), initializer=_follow_parent
    )
    try:
        yield pool
    except BrokenProcessPool as error:
        raise ValueError(
            "a process that prepared images was killed, perhaps for want of memory; try again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it was killed: a worker waits for ever else."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def end_with_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()


def _write_shard(files: dict[int, Path], draft: StoreDraft, read: ReadImage, start: int) -> int:
    """Write images `start` … of every level at their place; returns how many."""
    stop = min(start + SHARD, draft.num_images)
    images = np.stack([_checked(read(i), i, draft.resolution) for i in range(start, stop)])
    for resolution, level in downscaled(images):
        with files[resolution].open("r+b") as file:  # no memory map: a full disk would be a crash
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            file.seek(start * 3 * resolution**2, os.SEEK_CUR)
            file.write(level.tobytes())
    return stop - start


def _checked(image: Images, index: int, resolution: int) -> Images:
    if image.shape != (3, resolution, resolution):
        raise ValueError(f"image {index} is {image.shape}, not (3, {resolution}, {resolution})")
    return image


def _fingerprint(path: Path) -> str:
    """SHA-256 of the shape and of the pixels in C order; puts the file on the disk first."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    digest = hashlib.sha256(repr(images.shape).encode())
    for start in range(0, len(images), SHARD):
        digest.update(images[start : start + SHARD].tobytes())
    return digest.hexdigest()


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("preparing {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
