"""IS, FID, KID and precision, recall, density and coverage of image sets (section 7).

Each takes the features of an extractor (see `extractors`) and a pure function of features: this
module puts them together, checks that the sets can be compared, and says what the number means.
With EfficientNet-Lite0 the metrics are called is-effnetlite0, fd-effnetlite0, kd-effnetlite0 and
prdc-effnetlite0, and so are their keys: nobody should take them for IS, FID and KID.

The noise floor is the metric between two disjoint random halves of the reals: what it would say of
perfect fakes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pgbench.metrics.extractors import EFFICIENTNET, Extractor, Floats
from pgbench.metrics.features import Features, features
from pgbench.metrics.frechet import (
    Statistics,
    frechet_distance,
    frechet_stderr,
    is_singular,
    statistics,
)
from pgbench.metrics.images import Images, ImageSet, as_image_set
from pgbench.metrics.imageset import Progress
from pgbench.metrics.kernel import kernel_distance
from pgbench.metrics.manifold import (
    BALL_NEIGHBOURS,
    REGION_NEIGHBOURS,
    precision_recall_density_coverage,
)
from pgbench.metrics.registry import (
    FID_VERSION,
    IS_VERSION,
    KID_VERSION,
    PRDC_VERSION,
    MetricResult,
)
from pgbench.metrics.repeats import disjoint_halves
from pgbench.metrics.scoring import inception_score as score_of_logits

_APART = {"fid": "fd", "kid": "kd"}  # their names without the I of Inception

Measured = tuple[dict[str, float], dict[str, float | None]]  # values, standard errors


@dataclass(frozen=True)
class _Metric:
    """One metric of two sets, by its plain name."""

    name: str
    version: int
    least: int  # images that each set needs
    protocol: dict[str, Any]
    compare: Callable[[Floats, Floats], Measured]  # of the pooled features of reals and fakes


@dataclass(frozen=True)
class _Call:
    """What every metric is asked; without an image count a set is used whole."""

    extractor: Extractor
    seed: int
    num_images: int | None
    cache: Path | bool
    progress: Progress | None
    mirror: bool = False
    noise_floor: bool = False
    started: float = field(default_factory=time.perf_counter)


def inception_score(
    fake: Images,
    *,
    extractor: Extractor,
    splits: int = 10,
    seed: int = 0,
    num_images: int | None = None,
    cache: Path | bool = True,
    progress: Progress | None = None,
) -> MetricResult:
    """Inception score (Salimans et al. 2016), higher is better.

    Parameters
    ----------
    fake : ImageSet, array or iterable of batches
        uint8 NCHW, [0, 255], C = 3.
    extractor : Extractor
        The published scores are those of `open_inception`.
    splits : int
        Parts of the shuffled set, each scored by itself.
    seed : int
        Of the shuffling.
    num_images : int, optional
        Use the first so many.
    cache, progress
        As for `features`.

    Returns
    -------
    MetricResult
        Keys `is_mean` and `is_std`, over the splits.

    Raises
    ------
    ValueError
        Fewer than two images per split, or whatever is wrong with the images.
    """
    call = _Call(extractor, seed, num_images, cache, progress)
    _require(num_images or _known(fake)[0], 2 * splits, f"An inception score of {splits} splits")
    seen = _features(fake, call, num_images, progress)
    found = score_of_logits(seen.logits, seed=seed, splits=splits)
    values = {"is_mean": found.mean, "is_std": found.std}
    errors = {"is_mean": found.stderr, "is_std": None}
    protocol = {"splits": splits, "image_size": list(seen.image_size)}
    return _result("is", IS_VERSION, call, len(seen), (values, errors), protocol)


def fid(
    real: Images | Statistics,
    fake: Images,
    *,
    extractor: Extractor,
    seed: int = 0,
    num_images: int | None = None,
    mirror: bool = False,
    noise_floor: bool = False,
    cache: Path | bool = True,
    progress: Progress | None = None,
) -> MetricResult:
    """Fréchet inception distance (Heusel et al. 2017), lower is better.

    Parameters
    ----------
    real : ImageSet, array, iterable of batches or Statistics
        uint8 NCHW, [0, 255], C = 3, or mean and covariance of features of the same extractor.
    fake : ImageSet, array or iterable of batches
    extractor : Extractor
        The published distances are those of `open_inception`.
    seed : int
        Of the flips and of the halves.
    num_images : int, optional
        Use the first so many of each set; by default all.
    mirror : bool
        Flip each real image left to right with probability 1/2, as training did.
    noise_floor : bool
        Also compare two disjoint halves of the reals: of as many images as the fakes where there
        are twice as many reals, else of all (`protocol["noise_floor_images"]`).
    cache, progress
        As for `features`.

    Returns
    -------
    MetricResult
        Key `fid`; no standard error with Statistics. `protocol["singular"]` is true where a set
        has no more images than there are features: the distance is then far too large.

    Raises
    ------
    ValueError
        Fewer than two images, images of different sizes, or whatever is wrong with them.
    """
    call = _Call(extractor, seed, num_images, cache, progress, mirror, noise_floor)
    if isinstance(real, Statistics):
        return _fid_of_statistics(real, fake, call)
    result = _compare(_Metric("fid", FID_VERSION, 2, {}, _frechet), real, fake, call)
    singular = min(result.num_images, result.protocol["num_reals"]) <= extractor.num_features
    return replace(result, protocol=result.protocol | {"singular": singular})


def kid(
    real: Images,
    fake: Images,
    *,
    extractor: Extractor,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
    num_images: int | None = None,
    mirror: bool = False,
    noise_floor: bool = False,
    cache: Path | bool = True,
    progress: Progress | None = None,
) -> MetricResult:
    """Kernel inception distance (Bińkowski et al. 2018), lower is better; perfect fakes average 0.

    Parameters
    ----------
    real, fake, extractor, num_images, mirror, noise_floor, cache, progress
        As for `fid`, without Statistics.
    subsets, subset_size : int
        How many random subsets are compared, and how many images of each set are in one.
    seed : int
        Of the flips, halves and subsets.

    Returns
    -------
    MetricResult
        Keys `kid_mean` and `kid_std`, over the subsets.

    Raises
    ------
    ValueError
        A set, or half of the reals, smaller than a subset; otherwise as for `fid`.
    """

    def compare(reals: Floats, fakes: Floats) -> Measured:
        found = kernel_distance(reals, fakes, seed=seed, subsets=subsets, subset_size=subset_size)
        errors = {"kid_mean": found.stderr, "kid_std": None}
        return {"kid_mean": found.mean, "kid_std": found.std}, errors

    protocol = {"subsets": subsets, "subset_size": subset_size}
    metric = _Metric("kid", KID_VERSION, max(2, subset_size), protocol, compare)
    call = _Call(extractor, seed, num_images, cache, progress, mirror, noise_floor)
    return _compare(metric, real, fake, call)


def prdc(
    real: Images,
    fake: Images,
    *,
    extractor: Extractor,
    seed: int = 0,
    num_images: int | None = None,
    mirror: bool = False,
    noise_floor: bool = False,
    cache: Path | bool = True,
    progress: Progress | None = None,
) -> MetricResult:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Parameters
    ----------
    real, fake, extractor, seed, num_images, mirror, noise_floor, cache, progress
        As for `fid`, without Statistics.

    Returns
    -------
    MetricResult
        Keys `precision`, `recall`, `density` and `coverage`, higher is better. They depend on the
        number of images in both sets.

    Raises
    ------
    ValueError
        Fewer than 6 images in a set, or half of the reals; otherwise as for `fid`.
    """

    def compare(reals: Floats, fakes: Floats) -> Measured:
        values, errors = precision_recall_density_coverage(reals, fakes)
        return values, {**errors}

    protocol = {"region_neighbours": REGION_NEIGHBOURS, "ball_neighbours": BALL_NEIGHBOURS}
    metric = _Metric("prdc", PRDC_VERSION, BALL_NEIGHBOURS + 1, protocol, compare)
    call = _Call(extractor, seed, num_images, cache, progress, mirror, noise_floor)
    return _compare(metric, real, fake, call)


def _compare(metric: _Metric, real: Images, fake: Images, call: _Call) -> MetricResult:
    """The metric between two sets and, if asked, between two halves of the reals."""
    what = _named(metric.name, call.extractor)
    _check_sizes(_known(real)[1], _known(fake)[1])
    for images in (real, fake):
        _require(call.num_images or _known(images)[0], metric.least, what)
    seen = _features(real, call, _wanted_reals(real, call), _part(call.progress, 0), call.mirror)
    fakes = _features(fake, call, call.num_images, _part(call.progress, 1))
    _check_sizes(seen.image_size, fakes.image_size)
    reals = seen.pool[: call.num_images]
    _require(min(len(reals), len(fakes)), metric.least, what)
    protocol = metric.protocol | {
        "num_reals": len(reals),
        "num_fakes": len(fakes),
        "image_size": list(fakes.image_size),
        "mirror": call.mirror,
    }
    floor = None
    if call.noise_floor:
        a, b = disjoint_halves(len(seen.pool), len(fakes), seed=call.seed)
        _require(len(a), metric.least, f"Each half of the reals, for the noise floor of {what},")
        protocol["noise_floor_images"] = len(a)
        floor = metric.compare(seen.pool[a], seen.pool[b])[0]
    measured = metric.compare(reals, fakes.pool)
    count = min(len(reals), len(fakes))
    return _result(metric.name, metric.version, call, count, measured, protocol, floor)


def _frechet(reals: Floats, fakes: Floats) -> Measured:
    distance = frechet_distance(statistics(reals), statistics(fakes))
    return {"fid": distance}, {"fid": frechet_stderr(reals, fakes)}


def _fid_of_statistics(real: Statistics, fake: Images, call: _Call) -> MetricResult:
    if call.mirror or call.noise_floor:
        raise ValueError("Statistics can neither be mirrored nor halved; give the real images.")
    if len(real.mean) != call.extractor.num_features:
        raise ValueError(
            f"The statistics have {len(real.mean)} features, but {call.extractor.name} gives "
            f"{call.extractor.num_features}; take statistics of the same network."
        )
    _require(call.num_images or _known(fake)[0], 2, _named("fid", call.extractor))
    seen = _features(fake, call, call.num_images, call.progress)
    fakes = statistics(seen.pool)
    protocol = {
        "num_reals": real.num_images,
        "image_size": list(seen.image_size),
        "mirror": None,  # whatever the statistics were taken of
        "singular": is_singular(real) or is_singular(fakes),
    }
    measured: Measured = {"fid": frechet_distance(real, fakes)}, {"fid": None}
    return _result("fid", FID_VERSION, call, len(seen), measured, protocol)


def _features(
    images: Images, call: _Call, count: int | None, progress: Progress | None, mirror: bool = False
) -> Features:
    return features(
        images,
        call.extractor,
        num_images=count,
        mirror=mirror,
        seed=call.seed,
        cache=call.cache,
        progress=progress,
    )


def _wanted_reals(real: Images, call: _Call) -> int | None:
    """How many reals to look at: for a noise floor twice as many, where they are there."""
    known, _ = _known(real)
    if call.num_images is None or not call.noise_floor or known is None:
        return call.num_images
    return max(call.num_images, min(2 * call.num_images, known))


def _known(images: Images) -> tuple[int | None, tuple[int, int] | None]:
    """The number and (H, W) of the images, so far as they are known before these are read."""
    if isinstance(images, np.ndarray):
        images = as_image_set(images)
    return (images.num_images, images.shape[1:]) if isinstance(images, ImageSet) else (None, None)


def _check_sizes(real: tuple[int, int] | None, fake: tuple[int, int] | None) -> None:
    if real is not None and fake is not None and real != fake:
        raise ValueError(
            f"The reals are {real[-1]}x{real[0]}, the fakes {fake[-1]}x{fake[0]}; bring both to "
            "one size, because the network's resizing would tell them apart."
        )


def _require(count: int | None, least: int, what: str) -> None:
    if count is not None and count < least:
        raise ValueError(f"{what} needs at least {least} images, not {count}.")


def _part(progress: Progress | None, index: int) -> Progress | None:
    """The progress of set `index` of two, as progress of the whole."""
    return None if progress is None else lambda fraction: progress((index + fraction) / 2)


def _named(name: str, extractor: Extractor) -> str:
    """A metric or key by its own name: with EfficientNet-Lite0, fid is fd-effnetlite0."""
    if extractor.name != EFFICIENTNET:
        return name
    stem, underscore, rest = name.partition("_")
    return f"{_APART.get(stem, stem)}-effnetlite0{underscore}{rest}"


def _result(
    name: str,
    version: int,
    call: _Call,
    num_images: int,
    measured: Measured,
    protocol: dict[str, Any],
    noise_floor: dict[str, float] | None = None,
) -> MetricResult:
    values, errors = measured
    rename = {key: _named(key, call.extractor) for key in values}
    return MetricResult(
        metric=_named(name, call.extractor),
        metric_version=version,
        num_images=num_images,
        seed=call.seed,
        values={rename[key]: value for key, value in values.items()},
        stderr={rename[key]: error for key, error in errors.items()},
        protocol=protocol | call.extractor.protocol,
        wall_sec=round(time.perf_counter() - call.started, 3),
        noise_floor=noise_floor and {rename[key]: value for key, value in noise_floor.items()},
    )
