"""Features of image sets, which are taken once and then kept on this machine (section 7).

Those of iterables of batches are streamed and not kept. The key of what is kept is a hash of the
pixels and of everything else that changes the features.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from pgbench.metrics.cache import cache_folder, whole_file
from pgbench.metrics.extractors import (
    BATCH_SIZE,
    Extractor,
    Floats,
    open_efficientnet,
    open_inception,
)
from pgbench.metrics.images import Images, ImageSet, Pixels, as_image_set, rebatch
from pgbench.metrics.imageset import Progress
from pgbench.metrics.messages import reason, shown
from pgbench.metrics.spool import spooled

__all__ = ["Extractor", "Features", "features", "open_efficientnet", "open_inception"]

_CACHE_VERSION = 1
_FLIPS = 7  # what the random stream is for

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """What a network sees in a set of images.

    Attributes
    ----------
    pool : (N, D) float32
        Averages over the image of the last layer before the classifier.
    logits : (N, K) float32
    image_size : tuple of int
        (H, W) of the images.
    fingerprint : str or None
        Of the pixels, without mirroring; None for an iterable of batches.
    """

    pool: Floats = field(repr=False)
    logits: Floats = field(repr=False)
    image_size: tuple[int, int]
    fingerprint: str | None

    def __len__(self) -> int:
        """The number of images."""
        return len(self.pool)


def features(
    images: Images,
    extractor: Extractor,
    *,
    num_images: int | None = None,
    mirror: bool = False,
    seed: int = 0,
    cache: Path | bool = True,
    progress: Progress | None = None,
) -> Features:
    """Features of the first `num_images` images (default: all).

    Parameters
    ----------
    images : ImageSet, array or iterable of batches
        uint8 NCHW, [0, 255], C = 3. An iterable is streamed, and its features are never cached.
    extractor : Extractor
    num_images : int, optional
    mirror : bool
        Flip each image left to right with probability 1/2.
    seed : int
        Of the flips: that of image i depends on (seed, i) alone.
    cache : Path or bool
        Folder of the cache; True is the user's, False (or None) is no cache.
    progress : callable, optional
        Called with the fraction done, where the number of images is known.

    Raises
    ------
    ValueError
        Too few images, or features that are not finite.
    """
    if seed < 0:
        raise ValueError(f"A seed is a whole number from 0, not {seed}.")
    flips = np.random.default_rng((seed, _FLIPS)) if mirror else None
    if not isinstance(images, np.ndarray | ImageSet):
        return _extract(images, extractor, num_images, flips, progress)
    chosen = as_image_set(images, num_images)
    if not cache:
        return _extract(chosen, extractor, None, flips, progress)
    folder = cache_folder("features") if cache is True else Path(cache)
    with spooled(chosen) as chosen:  # read for the fingerprint, and maybe once more
        fingerprint = chosen.fingerprint()
        place = folder / f"{_key(fingerprint, extractor, seed if mirror else None)}.npz"
        held = _load(place, extractor, chosen, fingerprint)
        if held is None:
            held = _extract(chosen, extractor, None, flips, progress, fingerprint)
            _store(place, held)
    if progress is not None:
        progress(1.0)
    return held


def _extract(
    images: Images,
    extractor: Extractor,
    num_images: int | None,
    flips: np.random.Generator | None,
    progress: Progress | None,
    fingerprint: str | None = None,
) -> Features:
    pools: list[Floats] = []
    logits: list[Floats] = []
    total = images.num_images if isinstance(images, ImageSet) else num_images
    count, size = 0, (0, 0)

    def batches() -> Iterator[Pixels]:
        nonlocal size
        for batch in rebatch(images, BATCH_SIZE, num_images):
            size = batch.shape[2], batch.shape[3]
            yield _flipped(batch, flips)

    for seen in extractor.spread(extractor, batches()):
        for found, gathered in zip(seen, (pools, logits), strict=True):
            _check_finite(found, count, extractor)
            gathered.append(found)
        count += len(seen[0])
        if progress is not None and total:
            progress(count / total)
    if not count:
        raise ValueError("There are no images to take features of.")
    return Features(np.concatenate(pools), np.concatenate(logits), size, fingerprint)


def _flipped(batch: Pixels, flips: np.random.Generator | None) -> Pixels:
    if flips is None:
        return batch
    mirrored = flips.random(len(batch)) < 0.5
    return np.where(mirrored[:, None, None, None], batch[..., ::-1], batch)


def _check_finite(found: Floats, start: int, extractor: Extractor) -> None:
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"The {extractor.name} features of image {start + int(finite.argmin())} are not "
            f"finite; the weights (SHA-256 {extractor.weights_sha256}) are unusable."
        )


def _key(fingerprint: str, extractor: Extractor, flip_seed: int | None) -> str:
    parts = {
        "version": _CACHE_VERSION,
        "images": fingerprint,
        "flip_seed": flip_seed,
        "torch": torch.__version__,
        **extractor.protocol,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _load(place: Path, extractor: Extractor, images: ImageSet, fingerprint: str) -> Features | None:
    """The features at `place`; None where there are none or they are damaged."""
    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            pool, logits = arrays["pool"], arrays["logits"]
    except Exception:  # damaged in whatever way: they are computed anew
        return None
    if pool.shape != (images.num_images, extractor.num_features):
        return None
    if logits.ndim != 2 or len(logits) != images.num_images:
        return None
    if not all(found.dtype == np.float32 and np.isfinite(found).all() for found in (pool, logits)):
        return None
    return Features(pool, logits, images.shape[1:], fingerprint)


def _store(place: Path, found: Features) -> None:
    try:
        with whole_file(place) as file:
            np.savez(file, pool=found.pool, logits=found.logits)
    except OSError as error:  # a full disk costs time the next time, not this result
        _log.warning("features were not kept in %s: %s", shown(place.parent), reason(error))
