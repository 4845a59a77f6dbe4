"""What a run writes at its ticks: statistics, sample sheets, snapshots and at last its state."""

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import JsonValue
from torch.utils.tensorboard import SummaryWriter

from pgbench.checkpoint import load_state, save_snapshot, save_state
from pgbench.data import Images
from pgbench.environment import memory_peaks
from pgbench.grids import save_sheets, sheet
from pgbench.jsonlines import read_lines
from pgbench.results import RunFolder, RunStatus
from pgbench.sampling import generate
from pgbench.stopwatch import Stopwatch
from pgbench.watch import Watch

if TYPE_CHECKING:
    from pgbench.training import Trainer

log = logging.getLogger(__name__)

_GRID_IMAGES = 36
_TICK_LINE = (
    "kimg {kimg:<8.1f} lod {lod:.2f} {resolution}x{resolution}  D {D_loss:.3f} G {G_loss:.3f}  "
    "{images_per_sec:.0f} images/s  {train_sec:.0f} s  {peak_memory_mb:.0f} MB"
)


class Journal:
    """What a run writes at its ticks, and its clock.

    Of several processes the first one alone writes; the others keep step with it.
    """

    def __init__(self, trainer: "Trainer", folder: RunFolder, stopwatch: Stopwatch) -> None:
        self.trainer = trainer
        self.stopwatch = stopwatch
        self.folder = folder
        self.writes = trainer.world.rank == 0
        self.schedule = trainer.config.schedule
        self.train_sec = self._resume()
        self.last_nimg = trainer.nimg  # of the last tick

    def __enter__(self) -> "Journal":
        if self.writes:
            self.excepthook = threading.excepthook
            threading.excepthook = partial(_tell_once, self.excepthook)
            self.board = SummaryWriter(str(self.folder.path), purge_step=self.trainer.nimg + 1)
            self.watch = Watch(
                read_lines(self.folder.stats_path), first_phase_kimg=self.schedule.train_kimg
            )
            if self.trainer.nimg == 0:
                self._save_grid(*self._samples())
            self._write_status()
        return self

    def __exit__(self, *_: object) -> None:
        if self.writes:
            try:
                self.board.close()
            finally:
                threading.excepthook = self.excepthook

    @property
    def finished(self) -> bool:
        return self.trainer.nimg >= self.schedule.total_kimg * 1000

    def due(self, ticks: int) -> bool:
        """Whether a multiple of so many ticks was crossed since the last one."""
        images = self.schedule.tick_kimg * 1000 * ticks
        return self.trainer.nimg // images > self.last_nimg // images

    def tick(self, *, snapshot: bool) -> None:
        """Write statistics, grid, snapshot and at last the state; nothing when not finite."""
        stats = self._stats()
        if self.writes:
            fakes, reals = self._samples()
            stats |= {"fake_spread": _spread(fakes), "real_spread": _spread(reals)}
            self._save_stats(stats)
            self._save_grid(fakes, reals)
            if snapshot:
                self._save_snapshot(fakes)
            state = self.trainer.state() | {"train_sec": self.train_sec}
            save_state(self.folder.state_path, state)
            self._write_status()
            log.info(_TICK_LINE.format_map(stats))

    def _save_stats(self, stats: Mapping[str, float]) -> None:
        warnings = self.watch.warnings(stats)
        noted: dict[str, JsonValue] = {"warnings": list(warnings)} if warnings else {}
        self.folder.append_stats(dict(stats) | noted)
        for name, value in stats.items():
            self.board.add_scalar(name, value, self.trainer.nimg)
        for warning in warnings:
            log.warning(warning)
        self.board.flush()  # before the state: a kill must not lose what is not repeated

    def _resume(self) -> float:
        """Go on from the state in the folder, which the first process tells the others."""
        trainer, path = self.trainer, self.folder.state_path
        state = trainer.world.share(load_state(path) if self.writes else None)
        if state is None:
            if self.writes:
                self.folder.rewind(0)
            return 0.0
        try:
            trainer.load(state)
            train_sec = float(state["train_sec"])
        except (LookupError, TypeError, RuntimeError, AttributeError) as error:
            raise ValueError(f"{path} is no state of this run; remove it") from error
        if self.writes:
            self.folder.rewind(trainer.nimg / 1000)
        return train_sec

    def _write_status(self) -> None:
        self.folder.write_status(
            RunStatus(
                status="running",
                kimg=self.trainer.nimg / 1000,
                total_kimg=self.schedule.total_kimg,
                wall_sec=self.train_sec,
            )
        )

    def _stats(self) -> dict[str, float]:
        trainer, seconds = self.trainer, self.stopwatch.seconds()
        point = trainer.point()
        means = trainer.means.take()
        trainer.check_weights()  # the means are of the scores before the last step
        images = trainer.nimg - self.last_nimg
        self.train_sec += seconds
        self.last_nimg = trainer.nimg
        return {
            "kimg": trainer.nimg / 1000,
            "lod": point.lod,
            "resolution": point.resolution,
            "minibatch": point.minibatch,
            "lr": trainer.config.optimiser.lr * point.lr_factor,
            **means,
            "images_per_sec": images / seconds,
            "train_sec": self.train_sec,
            **memory_peaks(trainer.device),
        }

    def _samples(self) -> tuple[Images, Images]:
        """The same fakes and reals at every tick, NCHW uint8 at full resolution."""
        trainer = self.trainer
        fakes = list(generate(trainer.G_ema, range(_GRID_IMAGES), lod=trainer.point().lod))
        reals = trainer.sampler.store.level(trainer.config.data.resolution)[:_GRID_IMAGES]
        return np.concatenate(fakes), reals

    def _save_grid(self, fakes: Images, reals: Images) -> None:
        path = self.folder.samples / f"fakes-reals-{self.trainer.nimg / 1000:08.1f}.png"
        save_sheets(path, fakes, reals)

    def _save_snapshot(self, fakes: Images) -> None:
        trainer = self.trainer
        self.board.add_image("fakes", sheet(fakes), trainer.nimg, dataformats="HWC")
        path = self.folder.snapshot_path(trainer.nimg / 1000)
        save_snapshot(path, trainer.G_ema, nimg=trainer.nimg, lod=trainer.point().lod)


def _tell_once(usual: Callable[[Any], object], failed: threading.ExceptHookArgs) -> None:
    """What TensorBoard's thread cannot write, `flush` raises, too: not also as a traceback."""
    if not isinstance(failed.exc_value, OSError):
        usual(failed)


def _spread(images: Images) -> float:
    """Mean over the pixels of the standard deviation over the images, in units of [-1, 1]."""
    return float((images / 127.5).std(axis=0).mean())
