"""Launch one configuration: lock its folder, train, evaluate, keep its status; resumes itself."""

import logging
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal

import numpy as np
import torch
from pydantic import JsonValue
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pgbench.compiling import Choice, compiled_resolutions, is_of_the_compiler, told
from pgbench.config import RunConfig
from pgbench.data import ImageStore, Sampler
from pgbench.distributed import ALONE, LostRank, World
from pgbench.environment import choose_device, memory_peaks, note_session
from pgbench.errors import out_of_memory
from pgbench.evaluate import assist, check_store, evaluate_missing
from pgbench.results import RunFolder, RunStatus
from pgbench.schedule import TrainingPoint
from pgbench.sources import lasting_name, open_dataset
from pgbench.training import Trainer, train
from pgbench.work import work_done

log = logging.getLogger("pgbench")
console = Console(stderr=True)


class Interrupted(Exception):
    """The user or the system asked the run to stop."""


def run(
    config: RunConfig,
    *,
    data: str,
    out: Path,
    device: str,
    compiling: Choice = "off",
    world: World = ALONE,
) -> RunStatus:
    """Train and evaluate one configuration in `out`, from where it stands; returns its status.

    `data` is what `--data` named. Of several processes the first one writes. ValueError when the
    folder is another's or the data do not fit.
    """
    if world.rank:
        return _follow(config, data=data, out=out, device=device, compiling=compiling, world=world)
    folder = RunFolder.open(out, config.run_id, config.to_json())
    with folder.lock(), _logging(folder):
        status = folder.read_status()
        if status is not None and status.status == "done":
            log.info("%s is done already", folder.path)
            world.share(status.model_dump_json())
            return status
        store = _open_store(config, data)
        _sweep(folder)
        world.share()
        chosen = choose_device(device, tf32=config.numerics.precision == "tf32")
        note_session(
            folder.environment_path,
            chosen,
            data=lasting_name(data),
            processes=world.size,
            compiled=list[JsonValue](compiled_resolutions(compiling, config, chosen)),
        )
        status = _Session(config, store, folder, chosen, compiling, world).run()
        _tell(folder, status)
        return status


def _follow(
    config: RunConfig, *, data: str, out: Path, device: str, compiling: Choice, world: World
) -> RunStatus:
    """Do what the first process does, write nothing and say nothing."""
    log.addHandler(logging.NullHandler())
    ended = world.share()
    if ended is not None:
        return RunStatus.model_validate_json(ended)
    folder = RunFolder(out / config.run_id)  # may lie on another machine
    chosen = choose_device(device, tf32=config.numerics.precision == "tf32")
    return _Session(config, _open_store(config, data), folder, chosen, compiling, world).run()


def _open_store(config: RunConfig, data: str) -> ImageStore:
    store = open_dataset(data, resolution=config.data.resolution, num_images=config.data.num_images)
    check_store(config, store)
    return store


def _sweep(folder: RunFolder) -> None:
    """Remove what a kill left half-written."""
    for left in folder.path.rglob(".*.tmp"):
        if left.is_dir():  # of a video
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)


class _Session:
    """One go at a run, from the last state to its end or to an interruption."""

    def __init__(
        self,
        config: RunConfig,
        store: ImageStore,
        folder: RunFolder,
        device: torch.device,
        compiling: Choice,
        world: World,
    ) -> None:
        self.config = config
        self.store = store
        self.folder = folder
        self.device = device
        self.compiling = compiling
        self.world = world

    def run(self) -> RunStatus:
        with _stop_signals(self.world) as should_stop:
            try:
                with _Bar(self.config, self.device, self.world, should_stop) as bar:
                    finished = self._train_and_evaluate(bar, should_stop)
                ended = self._conclude("done" if finished else "interrupted")
                # Asked to stop after the last step: the run is done, but no other is to begin.
                return ended.model_copy(update={"status": "interrupted"} if should_stop() else {})
            except (Interrupted, KeyboardInterrupt):  # the second Ctrl-C
                return self._conclude("interrupted")
            except LostRank as error:
                return self._conclude("interrupted", str(error))
            except FloatingPointError as error:
                return self._conclude("failed", f"diverged: {error}")
            except (RuntimeError, MemoryError) as error:
                if out_of_memory(error):
                    self._conclude("interrupted", "out of memory")
                    raise ValueError(
                        f"{self.device} has too little memory for this profile; take a smaller one"
                    ) from error
                if is_of_the_compiler(error):
                    self._conclude("interrupted", "the steps could not be compiled")
                    raise ValueError(
                        f"the steps could not be compiled ({told(error)}); the same command "
                        "without --compile goes on"
                    ) from error
                raise

    def _train_and_evaluate(self, bar: "_Bar", should_stop: Callable[[], bool]) -> bool:
        def evaluate() -> None:
            if self.world.rank:
                assist(self.world, self.device)
                return
            evaluate_missing(
                self.folder,
                self.config,
                self.store,
                device=self.device,
                on_progress=bar.measure,
                world=self.world,
            )

        data = self.config.data
        sampler = Sampler(
            self.store, num_images=data.num_images, mirror=data.mirror, seed=self.config.seed
        )
        trainer = Trainer(
            self.config, sampler, self.device, world=self.world, compiling=self.compiling
        )
        finished = train(
            trainer, self.folder, on_step=bar.step, on_snapshot=evaluate, should_stop=should_stop
        )
        if finished:
            evaluate()  # what a kill after the last snapshot left out
        return finished

    def _conclude(
        self, status: Literal["done", "failed", "interrupted"], error: str | None = None
    ) -> RunStatus:
        writes = self.world.rank == 0
        last = self.folder.read_status() if writes else None
        ended = RunStatus(
            status=status,
            kimg=last.kimg if last else 0.0,
            total_kimg=self.config.schedule.total_kimg,
            wall_sec=last.wall_sec if last else 0.0,
            error=error,
        )
        if writes:
            self.folder.write_status(ended)
        return ended


class _Bar:
    """Progress on a terminal: kimg, resolution, rate, memory, and the metric being measured.

    The bar counts multiplications, so that the time left is that to the end of the run although
    images become dearer.
    """

    def __init__(
        self,
        config: RunConfig,
        device: torch.device,
        world: World,
        should_stop: Callable[[], bool],
    ) -> None:
        self.config = config
        self.device = device
        self.should_stop = should_stop
        self.work = work_done(config)
        self.recent: deque[tuple[float, int]] = deque(maxlen=50)  # seconds and nimg of steps
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal or world.rank > 0,
            speed_estimate_period=600,  # seconds: at 1024x1024 a step on a CPU takes a minute
        )
        self.training = self.progress.add_task(f"row {config.row}", total=1.0, detail="")
        self.measuring = self.progress.add_task("", total=1.0, detail="", visible=False)

    def __enter__(self) -> "_Bar":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def step(self, point: TrainingPoint) -> None:
        if self.progress.disable:
            return
        where = f"{point.nimg / 1000:.1f}/{self.config.schedule.total_kimg:g} kimg"
        where += f"  {point.resolution}² lod {point.lod:.2f}{self._rate(point.nimg)}"
        self.progress.update(
            self.training,
            completed=float(np.interp(point.nimg, *self.work)),
            detail=f"{where}  {list(memory_peaks(self.device).values())[-1]:.0f} MB",
        )

    def measure(self, metric: str, fraction: float) -> None:
        self.recent.clear()  # measuring is not training
        self.progress.update(
            self.measuring, description=metric, completed=fraction, visible=fraction < 1
        )
        if self.should_stop():
            raise Interrupted

    def _rate(self, nimg: int) -> str:
        self.recent.append((time.monotonic(), nimg))
        (first, start), (last, end) = self.recent[0], self.recent[-1]
        return f"  {(end - start) / (last - first):.0f} images/s" if last > first else ""


@contextmanager
def _stop_signals(world: World) -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C or SIGTERM asks to stop at the next step; the second one is served."""
    asked: list[int] = []
    saved = ", with everything saved" if world.size == 1 else ""  # torchrun also asks after a loss

    def ask(number: int, _: FrameType | None) -> None:
        asked.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)
        log.warning("stopping at the next step%s", saved)

    before = {each: signal.signal(each, ask) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _logging(folder: RunFolder) -> Iterator[None]:
    """Log to log.txt of the run and to stderr."""
    to_file = logging.FileHandler(folder.log_path, encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_screen: logging.Handler = logging.StreamHandler(sys.stderr)
    if console.is_terminal or console.quiet:
        to_screen = RichHandler(console=console, show_path=False, show_level=False, markup=False)
    for handler in (to_file, to_screen):
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        for handler in (to_file, to_screen):
            log.removeHandler(handler)
            handler.close()


def _tell(folder: RunFolder, status: RunStatus) -> None:
    where = f"{folder.path} at {status.kimg:.1f} of {status.total_kimg:g} kimg"
    if status.status == "failed":
        log.error("%s failed: %s; the last good state is kept", where, status.error)
    if status.status == "interrupted":
        why = f": {status.error}" if status.error else ""
        log.warning("%s was interrupted%s; the same command goes on from there", where, why)
