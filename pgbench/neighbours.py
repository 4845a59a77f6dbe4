"""Whether G memorised: the training images nearest to samples, by exact search.

Distances are root mean square differences of 8-bit values (L2 over the square root of the number
of values) at a pooled level, where a shift by a pixel counts little. As a scale stand the
distances of reals that G never saw to their nearest training image or, where it saw all, of
training images to their nearest other one.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue, ValidationError

from pgbench.atomic import write_text_atomically
from pgbench.checkpoint import load_snapshot
from pgbench.config import RunConfig
from pgbench.data import Images, ImageStore, Level
from pgbench.grids import save_picture
from pgbench.prepare import downscaled
from pgbench.results import RunFolder
from pgbench.sampling import generate
from pgbench.schedule import START_RESOLUTION
from pgbench.sources import open_dataset
from pgbench.walks import STEPS, walk_strips

NEAREST = 5
FINEST_LEVEL = 32  # of the search
MOST_SAMPLES = 64
_REALS = 64  # as a scale
_BLOCK_BYTES = 2**25  # of training images at once, as float64
_HELD_OUT = 8  # purpose of the random stream
_SHOWN = 128  # pixels: the largest images of the picture
_CELL, _GAP = 64, 8  # small images are enlarged until they are about this large
_MEANING = "root mean square difference of 8-bit values"

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Nearest:
    """Of each query the nearest training images, the nearest first, all (queries, nearest).

    `mirrored` says that the mirror image of the training image is the nearer one.
    """

    distances: NDArray[np.float64]
    indices: Integers
    mirrored: NDArray[np.bool_]


@dataclass(frozen=True)
class _Reals:
    """Images of the store that stand as a scale: their numbers, and whether G never saw them."""

    indices: Integers
    held_out: bool


def training_store(folder: RunFolder, data: str) -> ImageStore:
    """The images a run was trained on; `data` is what `--data` named."""
    wanted = _config(folder).data
    return open_dataset(data, resolution=wanted.resolution, num_images=wanted.num_images)


def nearest_training_images(
    folder: RunFolder,
    store: ImageStore,
    *,
    device: torch.device,
    count: int = 8,
    on_progress: Callable[[float], None] = lambda _: None,
) -> list[Path]:
    """Write neighbours.png, neighbours.json and walk.png of the last snapshot; their paths.

    Samples are those of the seeds 0 to `count`. ValueError when there is no snapshot, or the store
    is not that of the run.
    """
    if not 1 <= count <= MOST_SAMPLES:
        raise ValueError(f"{count} samples cannot be shown; ask for 1 to {MOST_SAMPLES}")
    config = _config(folder)
    _check(config, store)
    snapshots = folder.snapshots_done()
    if not snapshots:
        raise ValueError(f"{folder.path} has no snapshot yet; let it train further")
    with folder.lock():
        kimg, snapshot = snapshots[-1]
        generator, info = load_snapshot(snapshot, device)
        fakes = np.concatenate(list(generate(generator, range(count), lod=info.lod)))
        trained = config.data.num_images or store.info.num_images
        reals = _reals(store, trained)
        found = _search(fakes, reals, config=config, store=store, on_progress=on_progress)
        told: dict[str, JsonValue] = {
            "run_id": folder.run_id,
            "kimg": kimg,
            "dataset": store.info.name,
        }
        told |= {"num_training_images": trained} | _told(found, reals, config)
        paths = [folder.path / name for name in ("neighbours.png", "neighbours.json", "walk.png")]
        save_picture(paths[0], _picture(fakes, found, store))
        write_text_atomically(paths[1], json.dumps(told, indent=2, allow_nan=False) + "\n")
        save_picture(paths[2], _grid(walk_strips(generator, lod=info.lod), STEPS))
    return paths


def search(
    queries: Images,
    training: Level,
    *,
    num_images: int,
    mirror: bool,
    own: Integers,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Nearest:
    """The nearest of the first `num_images` of `training` to each query, all NCHW uint8.

    A training image counts once, as it is or as its mirror image, whichever is nearer; `own` (N,)
    is the number of the training image that a query may not find, or -1. Exact: squares are sums
    of integers; of equal distances the first image wins.
    """
    values = int(np.prod(queries.shape[1:]))
    best = Nearest(*(np.empty((len(queries), 0), kind) for kind in (float, np.int64, bool)))
    step = max(1, _BLOCK_BYTES // (8 * values))
    for start in range(0, num_images, step):
        block = _flat(training[start : min(start + step, num_images)])
        numbers = np.arange(start, start + len(block))
        best = _merged(best, _compared(queries, block, numbers, mirror=mirror, own=own))
        on_progress(numbers[-1] / num_images)
    on_progress(1.0)
    return Nearest(np.sqrt(best.distances / values), best.indices, best.mirrored)


def _flat(images: Images) -> NDArray[np.float64]:
    return images.reshape(len(images), -1).astype(np.float64)


def _compared(
    queries: Images,
    block: NDArray[np.float64],
    numbers: Integers,
    *,
    mirror: bool,
    own: Integers,
) -> Nearest:
    """Squared distances of every query to every image of a block."""
    squares = _squares(_flat(queries), block)
    mirrored = np.zeros(squares.shape, dtype=bool)
    if mirror:  # a mirrored query is as far from an image as the query from the mirrored image
        reflected = _squares(_flat(queries[..., ::-1]), block)
        mirrored = reflected < squares
        squares = np.minimum(squares, reflected)
    indices = np.broadcast_to(numbers, squares.shape)
    return Nearest(np.where(indices == own[:, None], np.inf, squares), indices, mirrored)


def _squares(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances (len(a), len(b)), exact for whole numbers."""
    lengths = np.sum(a * a, axis=1)[:, None] + np.sum(b * b, axis=1)
    squares: NDArray[np.float64] = lengths - 2 * (a @ b.T)
    return squares


def _merged(one: Nearest, other: Nearest) -> Nearest:
    """The nearest of both; of equals those of `one`."""
    distances = np.hstack([one.distances, other.distances])
    order = np.argsort(distances, axis=1, kind="stable")[:, :NEAREST]
    indices = np.hstack([one.indices, other.indices])
    mirrored = np.hstack([one.mirrored, other.mirrored])
    return Nearest(
        np.take_along_axis(distances, order, axis=1),
        np.take_along_axis(indices, order, axis=1),
        np.take_along_axis(mirrored, order, axis=1),
    )


def _config(folder: RunFolder) -> RunConfig:
    try:
        return RunConfig.model_validate(folder.config())
    except ValidationError as error:
        raise ValueError(
            f"{folder.config_path} is of another version of pgbench; search with that one"
        ) from error


def _check(config: RunConfig, store: ImageStore) -> None:
    """ValueError when a run of `config` was not trained on `store`."""
    trained = config.data.num_images or store.info.num_images
    if store.info.name != config.data.name or store.info.num_images < trained:
        raise ValueError(
            f"{store.path} holds {store.info.num_images} images of {store.info.name} and the run "
            f"is of {trained} of {config.data.name}; give --data that one"
        )
    store.level(config.data.resolution)


def _reals(store: ImageStore, trained: int) -> _Reals:
    """A random choice of what G never saw or, where it saw all, of what it did."""
    unseen = store.info.num_images - trained
    first, count = (trained, unseen) if unseen else (0, trained)
    rng = np.random.default_rng([0, _HELD_OUT])
    return _Reals(first + rng.permutation(count)[:_REALS], held_out=unseen > 0)


def _search(
    fakes: Images,
    reals: _Reals,
    *,
    config: RunConfig,
    store: ImageStore,
    on_progress: Callable[[float], None],
) -> Nearest:
    """Of the fakes, then of the reals, at a level of the store."""
    training = store.level(_level(config))
    pooled = dict(downscaled(fakes))[_level(config)]
    return search(
        np.concatenate([pooled, training[reals.indices]]),
        training,
        num_images=config.data.num_images or store.info.num_images,
        mirror=config.data.mirror,
        own=np.concatenate([np.full(len(fakes), -1), reals.indices]),
        on_progress=on_progress,
    )


def _level(config: RunConfig) -> int:
    """Half the resolution, at most 32 and at least 4."""
    return min(FINEST_LEVEL, max(START_RESOLUTION, config.data.resolution // 2))


def _told(found: Nearest, reals: _Reals, config: RunConfig) -> dict[str, JsonValue]:
    """What neighbours.json says of the search: every sample's neighbours, every real's nearest."""
    told: list[JsonValue] = [
        [
            {"index": int(index), "mirrored": bool(mirrored), "distance": float(distance)}
            for distance, index, mirrored in zip(*row, strict=True)
            if np.isfinite(distance)
        ]
        for row in zip(found.distances, found.indices, found.mirrored, strict=True)
    ]
    count = len(told) - len(reals.indices)
    numbered = zip(reals.indices.tolist(), told[count:], strict=True)
    return {
        "level": _level(config),
        "mirror": config.data.mirror,
        "distance": _MEANING,
        "samples": [{"seed": seed, "nearest": told[seed]} for seed in range(count)],
        "reals_held_out": reals.held_out,
        "reals": [{"image": image, "nearest": nearest} for image, nearest in numbered],
    }


def _picture(fakes: Images, found: Nearest, store: ImageStore) -> Images:
    """CHW: every line a sample, a gap and its neighbours, mirrored where they are the nearer so."""
    size = min(_SHOWN, store.info.resolution)
    samples = dict(downscaled(fakes))[size] if size < fakes.shape[2] else fakes
    lines = []
    for number, sample in enumerate(samples):
        images = store.level(size)[found.indices[number]]
        flips = found.mirrored[number]
        images[flips] = images[flips, :, :, ::-1]
        lines += [sample[None], images]
    grid = _grid(np.concatenate(lines), 1 + found.indices.shape[1])
    edge = grid.shape[1] // len(samples)
    gap = np.full((3, grid.shape[1], _GAP), 255, np.uint8)
    return np.concatenate([grid[:, :, :edge], gap, grid[:, :, edge:]], axis=2)


def _grid(images: Images, columns: int) -> Images:
    """NCHW -> one CHW picture, row by row; small images are enlarged, large ones reduced."""
    count, channels, edge, _ = images.shape
    if edge > _SHOWN:
        images, edge = dict(downscaled(images))[_SHOWN], _SHOWN
    cells = images.reshape(count // columns, columns, channels, edge, edge)
    grid = cells.transpose(2, 0, 3, 1, 4).reshape(channels, -1, columns * edge)
    factor = max(1, _CELL // edge)
    return grid.repeat(factor, axis=1).repeat(factor, axis=2)
