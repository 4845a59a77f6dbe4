"""Keep what was read of an expensive image set, for metrics that read it more than once.

The sliced Wasserstein distance (paper, section 5) reads a set once per pyramid level. Small sets
are kept in memory; larger ones in a temporary file without a name, which takes no memory of its own
and is gone with the process; the largest are read again.
"""

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from typing import IO

import numpy as np

from pgbench.metrics.imageset import ImageSet, Indices, Pixels

LIMIT_BYTES = 2**33
_MEMORY_BYTES = 2**28
_FREE_SPACE = 2  # the temporary folder must hold so many times the pixels

_Put = Callable[[int, Pixels], bool]  # keep an image, if there is room
_Get = Callable[[int, Pixels], None]  # fill in an image that was kept


@contextmanager
def spooled(images: ImageSet, *, limit_bytes: int = LIMIT_BYTES) -> Iterator[ImageSet]:
    """The same set for use inside a `with`, each of its images read once.

    Parameters
    ----------
    images : ImageSet
        A cheap one is given back as it is.
    limit_bytes : int
        Sets whose pixels take more are given back as they are. Up to 256 MiB are kept in memory,
        more in a temporary file if its folder has twice that free.

    Yields
    ------
    ImageSet
        It may be read in threads where `images` may. An image is kept when it is first asked for.
    """
    num_bytes = images.num_images * prod(images.shape)
    if images.cheap or num_bytes > limit_bytes:
        yield images
    elif num_bytes <= _MEMORY_BYTES:
        yield _in_memory(images)
    elif _FREE_SPACE * num_bytes > _free_bytes():
        yield images
    else:
        with tempfile.TemporaryFile(buffering=0) as file:
            yield _in_file(images, file)


def _free_bytes() -> int:
    try:
        return shutil.disk_usage(tempfile.gettempdir()).free
    except OSError:  # no folder for temporary files
        return 0


def _in_memory(images: ImageSet) -> ImageSet:
    kept = np.empty((images.num_images, *images.shape), np.uint8)

    def put(index: int, pixels: Pixels) -> bool:
        kept[index] = pixels
        return True

    def get(index: int, pixels: Pixels) -> None:
        pixels[:] = kept[index]

    return _kept(images, put, get)


def _in_file(images: ImageSet, file: IO[bytes]) -> ImageSet:
    """Plain reads and writes: what is read through a memory map counts as memory of the process."""
    num_bytes = prod(images.shape)
    lock = threading.Lock()  # a file has one position

    def put(index: int, pixels: Pixels) -> bool:
        with lock:
            file.seek(index * num_bytes)
            try:
                written: int = file.write(pixels.data)
            except OSError:  # the disk is full
                written = 0
        return written == num_bytes

    def get(index: int, pixels: Pixels) -> None:
        with lock:
            file.seek(index * num_bytes)
            pixels[:] = np.frombuffer(file.read(num_bytes), np.uint8).reshape(images.shape)

    return _kept(images, put, get)


def _kept(images: ImageSet, put: _Put, get: _Get) -> ImageSet:
    have = np.zeros(images.num_images, bool)

    def read(indices: Indices) -> Pixels:
        pixels = np.empty((len(indices), *images.shape), np.uint8)
        known = have[indices]
        if not known.all():
            pixels[~known] = images.read(indices[~known])
        for place, index in enumerate(indices.tolist()):
            if known[place]:
                get(index, pixels[place])
            else:
                have[index] = put(index, pixels[place])
        return pixels

    return replace(images, read=read, cheap=True)
