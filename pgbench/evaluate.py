"""Snapshot x metric names -> records: the only place of the core that knows the metrics.

Fakes are those of seeds 0, 1, …; reals a random choice of the data set, drawn from the metric's
seed 0: the same for every run that is compared. Of several processes the first one measures; all
of them make its fakes and see through its networks.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace as with_changes
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from pgbench.checkpoint import load_snapshot
from pgbench.config import GeneratorConfig, RunConfig, replace
from pgbench.crew import Crew
from pgbench.data import Images, ImageStore
from pgbench.distributed import ALONE, World
from pgbench.environment import last_data
from pgbench.metrics.digits import DigitReader, open_digit_reader
from pgbench.metrics.extractors import Extractor, open_efficientnet, open_inception
from pgbench.metrics.fidelity import fid, inception_score, kid, prdc
from pgbench.metrics.images import ImageSet, open_images
from pgbench.metrics.modes import modes
from pgbench.metrics.msssim import msssim
from pgbench.metrics.precision import full_float32
from pgbench.metrics.registry import MODE_SETS, MetricResult, MetricSpec, parse
from pgbench.metrics.swd import swd
from pgbench.mode_networks import make_generator
from pgbench.networks import Generator
from pgbench.pictures_mnist import open_digits
from pgbench.results import Record, RunFolder
from pgbench.sampling import GROUP, generate
from pgbench.sources import open_dataset

log = logging.getLogger(__name__)
Progress = Callable[[str, float], None]  # metric name, fraction done

_METRIC_SEED = 0
_LAST_KEYS = (  # of each metric; recorded last: without it a kill tore the metric apart
    *("avg", "msssim", "is_std", "fid", "kid_std", "coverage", "kl_std"),
    *("is-effnetlite0_std", "fd-effnetlite0", "kd-effnetlite0_std", "coverage-effnetlite0"),
)
_Measure = Callable[..., MetricResult]
_Features = tuple[NDArray[np.float32], NDArray[np.float32]]
_ALONE: dict[str, _Measure] = {"msssim": msssim, "is": inception_score, "modes": modes}
_COMPARED: dict[str, _Measure] = {"swd": swd, "fid": fid, "kid": kid, "prdc": prdc}


def evaluate_run(
    path: Path,
    names: tuple[str, ...] | None,
    *,
    data: str | None,
    device: torch.device,
    on_progress: Progress = lambda *_: None,
    world: World = ALONE,
) -> None:
    """Measure every snapshot of a run by `names`, or by what its configuration asks for.

    Of several processes this is for the first one; the others `assist`.
    """
    folder = RunFolder.at(path)
    config = _config(folder)
    if names is not None:
        config = replace(config, evaluation={"snapshot": names, "final": ()})
    for name in config.evaluation.snapshot + config.evaluation.final:
        parse(name)
    if not folder.snapshots_done():
        raise ValueError(f"{path} has no snapshot yet; let it train further")
    store = open_dataset(
        data or last_data(folder.environment_path),
        resolution=config.data.resolution,
        num_images=config.data.num_images,
    )
    check_store(config, store)
    with folder.lock():
        evaluate_missing(folder, config, store, device=device, on_progress=on_progress, world=world)


def _config(folder: RunFolder) -> RunConfig:
    try:
        return RunConfig.model_validate(folder.config())
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise ValueError(
            f"{folder.config_path} is of another version of pgbench ({where}: "
            f"{error.errors()[0]['msg']}); evaluate the run with that one"
        ) from error


def check_store(config: RunConfig, store: ImageStore) -> None:
    """ValueError when a run's metrics could not be measured with `store`."""
    if store.info.name != config.data.name:
        raise ValueError(
            f"{store.path} holds {store.info.name} and the run is of {config.data.name}; "
            "give --data that one"
        )
    store.level(config.data.resolution)
    for spec in map(parse, config.evaluation.snapshot + config.evaluation.final):
        if spec.needs_reals:
            real_images(store, config.data.resolution, spec.num_images)
        if spec.kind == "modes":
            open_digits(store.path)


def evaluate_missing(
    folder: RunFolder,
    config: RunConfig,
    store: ImageStore,
    *,
    device: torch.device,
    on_progress: Progress,
    world: World = ALONE,
) -> None:
    """Measure every snapshot by what the configuration asks for and is not yet recorded."""
    with Crew(world, Worker(device)).led() as crew:
        for kimg, path in folder.snapshots_done():
            final = kimg >= round(config.schedule.total_kimg, 1)  # names hold tenths
            names = config.evaluation.snapshot + (config.evaluation.final if final else ())
            evaluate_snapshot(
                folder, path, names, config=config, store=store, crew=crew, on_progress=on_progress
            )


def assist(world: World, device: torch.device) -> None:
    """Do what the first process deals out while it measures, until it has done."""
    Crew(world, Worker(device)).serve()


def evaluate_snapshot(
    folder: RunFolder,
    path: Path,
    names: tuple[str, ...],
    *,
    config: RunConfig,
    store: ImageStore,
    crew: "Crew[Worker]",
    on_progress: Progress,
) -> None:
    """Record the metrics `names` of one snapshot that have no record of this version yet."""
    kimg = dict((p, k) for k, p in folder.snapshots_done())[path]
    records, _ = folder.records()
    here = [r for r in records if r.kimg == kimg and r.status == "ok" and r.key in _LAST_KEYS]
    done = {(r.metric, r.metric_version) for r in here}
    wanted = map(parse, dict.fromkeys(names))
    specs = [spec for spec in wanted if (spec.name, spec.version) not in done]
    if not specs:
        return
    generator, info = load_snapshot(path, torch.device("cpu"))
    given = ("generator", info.generator.model_dump_json(), info.lod, generator.state_dict())
    crew.work([given] * crew.size)
    for spec in specs:
        result = measure(spec, config=config, store=store, crew=crew, on_progress=on_progress)
        for record in _records(folder.run_id, kimg, spec, result, config=config, store=store):
            folder.append_record(record)
        log.info("kimg %-8.1f %s", kimg, _summary(spec, result))


def measure(
    spec: MetricSpec,
    *,
    config: RunConfig,
    store: ImageStore,
    crew: "Crew[Worker]",
    on_progress: Progress,
) -> MetricResult:
    """One metric of the generator that the crew was given."""
    resolution = config.data.resolution
    fakes = fake_images(crew, spec.num_images, resolution=resolution)
    how: dict[str, Any] = {"seed": _METRIC_SEED, "progress": partial(on_progress, spec.name)}
    if spec.needs_features:
        how["extractor"] = _shared_extractor(spec.efficientnet, crew)
    if spec.kind == "modes":
        how["set_size"] = spec.num_images // MODE_SETS
        learning = partial(on_progress, "digit classifier")
        how["reader"] = _digit_reader(store.path, str(crew.worker.device), learning)
    if not spec.needs_reals:
        return _ALONE[spec.kind](fakes, **how)
    reals = real_images(store, resolution, spec.num_images)
    return _COMPARED[spec.kind](reals, fakes, mirror=config.data.mirror, **how)


class Worker:
    """What each process does while a snapshot is measured: images of seeds, features of images."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.lod = 0.0
        self.generator: Generator | None = None

    def __call__(self, task: tuple[Any, ...]) -> Any:
        match task:
            case "generator", config, lod, weights:
                self.lod = lod
                self.generator = make_generator(GeneratorConfig.model_validate_json(config))
                self.generator.load_state_dict(weights)
                self.generator.to(self.device).eval().requires_grad_(False)
            case "images", group:
                return self._images(group)
            case "extractor", efficientnet:
                _extractor(efficientnet, str(self.device))
            case "features", efficientnet, pixels:
                found = _extractor(efficientnet, str(self.device))(pixels.numpy())
                return tuple(map(torch.from_numpy, found))
        return None

    def _images(self, group: int) -> torch.Tensor:
        """The images of one group of seeds, NCHW uint8, in float32 whatever the run trains in."""
        assert self.generator is not None
        seeds = range(group * GROUP, (group + 1) * GROUP)
        with full_float32():
            (images,) = generate(self.generator, seeds, lod=self.lod)
        return torch.from_numpy(images)


@cache
def _extractor(efficientnet: bool, device: str) -> Extractor:
    return open_efficientnet(device) if efficientnet else open_inception(None, device=device)


_readers: dict[tuple[Path, str], DigitReader] = {}


def _digit_reader(path: Path, device: str, progress: Callable[[float], None]) -> DigitReader:
    """The classifier of a store's digits, opened or trained once."""
    if (path, device) not in _readers:
        digits = open_digits(path)
        _readers[path, device] = open_digit_reader(digits, device=device, progress=progress)
    return _readers[path, device]


def _shared_extractor(efficientnet: bool, crew: Crew[Worker]) -> Extractor:
    """The network of which every process has a copy; whole batches are dealt out."""

    def spread(_: object, batches: Iterable[Images]) -> Iterator[_Features]:
        remaining = iter(batches)
        while some := list(islice(remaining, crew.size)):
            given = [("features", efficientnet, torch.from_numpy(batch)) for batch in some]
            for pool, logits in crew.work(given):
                yield pool.numpy(), logits.numpy()

    crew.worker(("extractor", efficientnet))  # first, so that what it downloads is there for all
    crew.work([("extractor", efficientnet)] * crew.size)
    return with_changes(_extractor(efficientnet, str(crew.worker.device)), spread=spread)


def fake_images(crew: Crew[Worker], count: int, *, resolution: int) -> ImageSet:
    """The images of seeds 0 to `count`, made when they are read.

    Each process makes a group of seeds, and the groups that follow what is asked for are kept.
    """
    held: dict[int, Images] = {}

    def group(index: int) -> Images:
        if index not in held:
            block = range(index, min(index + crew.size, -(-count // GROUP)))
            made = crew.work([("images", each) for each in block])
            held.clear()
            held.update(zip(block, (images.numpy() for images in made), strict=True))
        return held[index]

    def read(indices: NDArray[np.intp]) -> Images:
        return np.stack([group(int(seed) // GROUP)[int(seed) % GROUP] for seed in indices])

    return ImageSet("the fakes", count, (3, resolution, resolution), read)


def real_images(store: ImageStore, resolution: int, count: int) -> ImageSet:
    """`count` different images of the store in a random order."""
    if count > store.info.num_images:
        raise ValueError(
            f"{store.path} holds {store.info.num_images} images and a metric needs {count}; "
            "take a smaller profile, a metric of fewer images or a larger data set"
        )
    order = np.random.default_rng(_METRIC_SEED).permutation(store.info.num_images)
    return open_images(store.path, resolution=resolution).select(order[:count])


def _records(
    run_id: str,
    kimg: float,
    spec: MetricSpec,
    result: MetricResult,
    *,
    config: RunConfig,
    store: ImageStore,
) -> list[Record]:
    schedule = config.schedule
    protocol = result.protocol | {
        "metric_seed": _METRIC_SEED,
        "fake_seeds": f"0-{result.num_images - 1}",
        "phase_kimg": f"{schedule.train_kimg:g}/{schedule.fade_kimg:g}",
        "precision": config.numerics.precision,
    }
    return [
        Record(
            run_id=run_id,
            artefact=config.artefact,
            row=config.row,
            dataset=store.info.name,
            dataset_fingerprint=store.info.fingerprint[config.data.resolution],
            resolution=config.data.resolution,
            profile=config.profile,
            seed=config.seed,
            kimg=kimg,
            metric=spec.name,
            key=key,
            value=value,
            stderr=result.stderr[key],
            num_images=result.num_images,
            metric_version=result.metric_version,
            protocol=protocol,
            wall_sec=result.wall_sec,
            status="ok",
            error=None,
        )
        for key, value in result.values.items()
    ]


def _summary(spec: MetricSpec, result: MetricResult) -> str:
    values = "  ".join(f"{key} {value:.4g}" for key, value in result.values.items())
    return f"{spec.name}  {values}"
