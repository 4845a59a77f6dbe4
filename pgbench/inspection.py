"""What is in an image store, and whether its files are still what was prepared."""

from collections.abc import Callable
from math import prod, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgbench import grids
from pgbench.data import (
    CHECKSUMS,
    LABELS,
    Images,
    ImageStore,
    Level,
    fingerprint,
    labels_fingerprint,
)

Progress = Callable[[float], None]  # called with the fraction done, in [0, 1]

_BATCH_BYTES = 2**22
_MAX_CLASSES = 1000  # counted one by one
_AGAIN = "prepare the data set again"


def inspect_store(path: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Everything known of the store at `path`, as plain JSON values."""
    store = ImageStore.open(path)
    info = store.info.model_dump(mode="json", by_alias=True, exclude={"labels_fingerprint"})
    mean, std = _moments(store.level(store.info.resolution), progress)
    return info | {
        "levels": sorted(store.info.fingerprint, reverse=True),
        "labels": None if store.labels is None else _described(store.labels),
        "mean": mean,
        "std": std,
        "bytes": sum(file.stat().st_size for file in path.iterdir() if file.is_file()),
    }


def sheet(store: ImageStore, count: int = 64) -> Images:
    """Up to `count` images spread evenly over the store, as one HWC picture."""
    total = store.info.num_images
    chosen = np.arange(min(count, total)) * total // min(count, total)
    return grids.sheet(store.level(store.info.resolution)[chosen])


def verify_store(path: Path, progress: Progress | None = None) -> str | None:
    """None, or a sentence that names the first level and image that changed since preparing."""
    store = ImageStore.open(path)
    advance = _advance(progress, sum(_num_bytes(store.level(r)) for r in store.info.fingerprint))
    kept = _checksums(store)
    for resolution, expected in store.info.fingerprint.items():
        found, checksums = fingerprint(store.level(resolution), advance)
        if found != expected:
            return _difference(store, resolution, checksums, kept.get(resolution))
    labels, expected_labels = store.labels, store.info.labels_fingerprint
    if labels is not None and expected_labels not in (None, labels_fingerprint(labels)):
        return f"{path / LABELS} differs from its fingerprint; {_AGAIN}"
    return None


def _moments(level: Level, progress: Progress | None) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, from exact sums."""
    advance = _advance(progress, _num_bytes(level))
    step = max(1, _BATCH_BYTES // (_num_bytes(level) // len(level)))
    first, second = [0, 0, 0], [0, 0, 0]
    for start in range(0, len(level), step):
        images = level[start : start + step]
        squares = np.square(images, dtype=np.uint16)  # 255² fits
        for channel in range(3):
            first[channel] += int(images[:, channel].sum(dtype=np.uint64))
            second[channel] += int(squares[:, channel].sum(dtype=np.uint64))
        advance(images.nbytes)
    count = _num_bytes(level) // 3
    std = [sqrt(count * b - a * a) / count for a, b in zip(first, second, strict=True)]
    return [total / count for total in first], std


def _described(labels: NDArray[Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"shape": list(labels.shape), "dtype": labels.dtype.name}
    numbers = _numbers(labels)
    if numbers is not None:
        classes, counts = np.unique(numbers, return_counts=True)
        described["classes"] = len(classes)
        if len(classes) <= _MAX_CLASSES:
            named = zip(classes.tolist(), counts.tolist(), strict=True)
            described["counts"] = {str(number): count for number, count in named}
    return described


def _numbers(labels: NDArray[Any]) -> NDArray[np.integer[Any]] | None:
    """The class of each image (N,) where labels are one-hot rows or integers, else None."""
    if labels.ndim == 1 and labels.dtype.kind in "iu":
        return np.asarray(labels)
    if labels.ndim == 2 and labels.dtype.kind in "biuf":
        ones = labels == 1
        if (ones | (labels == 0)).all() and (ones.sum(axis=1) == 1).all():
            return np.asarray(ones.argmax(axis=1))
    return None


def _checksums(store: ImageStore) -> dict[int, NDArray[np.uint32]]:
    """The checksums of each level's images, none where the store has no sound ones."""
    file, levels = store.path / CHECKSUMS, sorted(store.info.fingerprint, reverse=True)
    try:
        kept = np.lib.format.open_memmap(file, mode="r")  # never a pickle
    except (OSError, ValueError, OverflowError):  # made before checksums were, or damaged
        return {}
    if kept.dtype != np.uint32 or kept.shape != (len(levels), store.info.num_images):
        return {}
    return dict(zip(levels, kept, strict=True))


def _difference(
    store: ImageStore,
    resolution: int,
    found: NDArray[np.uint32],
    kept: NDArray[np.uint32] | None,
) -> str:
    file = store.path / f"{resolution}.npy"
    differing = [] if kept is None else np.flatnonzero(found != kept).tolist()
    if not differing:
        return f"{file} differs from its fingerprint in dataset.json; {_AGAIN}"
    return (
        f"{file} differs from what was prepared in {len(differing)} of {len(found)} images, "
        f"first in image {differing[0]}; {_AGAIN}"
    )


def _num_bytes(level: Level) -> int:
    return prod(level.shape)


def _advance(progress: Progress | None, total: int) -> Callable[[int], None]:
    """Turns bytes done since the last call into the fraction done of `total`."""
    done = 0

    def advance(num_bytes: int) -> None:
        nonlocal done
        done += num_bytes
        if progress is not None:
            progress(done / total)

    return advance
