"""Images of one size that are read when they are asked for (paper section 5 compares such sets)."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # NCHW, [0, 255]
Indices = NDArray[np.intp]
Progress = Callable[[float], None]  # called with the fraction done, in [0, 1]

# Pillow holds the lock of the interpreter for a part of every file: many more threads gain nothing.
WORKERS = min(8, os.cpu_count() or 1)
_TASK_PIXELS = 2**18  # decoded by one task: with fewer, handing over shows
_HASHED_BYTES = 2**22  # hashed at once

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class ImageSet:
    """Images of one size that are read when they are asked for.

    Attributes
    ----------
    name : str
        Where the images come from, for error messages.
    num_images : int
    shape : tuple of int
        (C, H, W) of one image, C = 3.
    read : callable
        Indices of shape (K,) to uint8 pixels of shape (K, C, H, W).
    cheap : bool
        Reading is no more than copying, as from an array, so that nothing is gained by keeping
        what was read.
    parallel : bool
        `read` may be called in threads, and is worth it: `batches` then reads ahead.
    skipped : tuple of str
        Files that were left out because they are broken, sorted, named within the set.
    """

    name: str
    num_images: int
    shape: tuple[int, int, int]
    read: Callable[[Indices], Pixels] = field(repr=False, compare=False)
    cheap: bool = False
    parallel: bool = False
    skipped: tuple[str, ...] = ()

    def batches(self, size: int) -> Iterator[Pixels]:
        """All images in order: uint8 NCHW arrays of `size` images, the last one maybe smaller."""
        if size < 1:
            raise ValueError(f"A batch holds at least 1 image, not {size}.")
        if not self.parallel:
            yield from map(self.read, _ranges(self.num_images, size, size))
            return
        task = min(size, max(1, _TASK_PIXELS // (self.shape[1] * self.shape[2])))
        tasks_per_batch = -(-size // task)
        tasks = _ranges(self.num_images, size, task)
        ahead = max(tasks_per_batch, 2 * WORKERS)
        with closing(map_ahead(self.read, tasks, ahead=ahead)) as parts:
            while batch := list(islice(parts, tasks_per_batch)):
                yield np.concatenate(batch) if len(batch) > 1 else batch[0]

    def select(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> "ImageSet":
        """The set of the images at `indices` (each in [0, num_images)), in that order."""
        chosen = np.asarray(indices, dtype=np.intp)
        if chosen.ndim != 1 or not np.all((chosen >= 0) & (chosen < self.num_images)):
            raise ValueError(
                f"Images of {self.name} are selected by a list of numbers from 0 to "
                f"{self.num_images - 1}."
            )
        return replace(self, num_images=len(chosen), read=lambda where: self.read(chosen[where]))

    def first(self, num_images: int) -> "ImageSet":
        """The set of the first `num_images` images."""
        if not 1 <= num_images <= self.num_images:
            raise ValueError(
                f"{num_images} images were asked for, but {self.name} holds {self.num_images}."
            )
        return replace(self, num_images=num_images)

    def fingerprint(self, progress: Progress | None = None) -> str:
        """SHA-256, in hexadecimal, of (N, C, H, W) and the pixels in order.

        It depends on the decoded pixels alone: a folder, zip, array file and image store of the
        same images have the same, which is also the one that a store's `dataset.json` records.
        """
        digest = hashlib.sha256(repr((self.num_images, *self.shape)).encode())
        done = 0
        for batch in self.batches(max(1, _HASHED_BYTES // prod(self.shape))):
            digest.update(batch.data)
            done += len(batch)
            if progress is not None:
                progress(done / self.num_images)
        return digest.hexdigest()


def array_set(name: str, pixels: Pixels) -> ImageSet:
    """The images of a uint8 NCHW array, memory-mapped or not."""
    count, channels, height, width = pixels.shape
    shape = (channels, height, width)
    return ImageSet(
        name, count, shape, lambda where: np.ascontiguousarray(pixels[where]), cheap=True
    )


def map_ahead(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, ahead: int
) -> Generator[_Result]:
    """function(item) for each item, in order, done in threads up to `ahead` items ahead.

    Close it to drop the work that nobody waits for.
    """
    pool = ThreadPoolExecutor(WORKERS)
    pending: deque[Future[_Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _ranges(count: int, size: int, part: int) -> Iterator[Indices]:
    """The numbers below `count` in batches of `size`, each batch in parts of at most `part`."""
    for start in range(0, count, size):
        stop = min(start + size, count)
        for first in range(start, stop, part):
            yield np.arange(first, min(first + part, stop))
