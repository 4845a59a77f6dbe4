"""The training loop: D and G in turn by the schedule, a tick now and then (paper, section 2).

The clock is nimg, the number of reals shown to D. Everything random comes from generators
whose state is saved, so that a resumed run equals an uninterrupted one.
"""

import copy
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from pgbench.checkpoint import load_state, save_snapshot, save_state
from pgbench.config import RunConfig
from pgbench.data import Sampler
from pgbench.environment import peak_memory_mb, seeded
from pgbench.grids import save_sheets
from pgbench.layers import InputNoise, fade_reals
from pgbench.losses import LsganNoise, d_loss, g_loss
from pgbench.networks import Discriminator, Generator
from pgbench.results import RunFolder, RunStatus
from pgbench.sampling import generate
from pgbench.schedule import TrainingPoint, training_point

log = logging.getLogger(__name__)

_INIT_G, _INIT_D, _STEPS = 4, 5, 6  # purposes of the random streams
_INIT_REALS = 500  # for the data-dependent initialisation of minibatch discrimination
_GRID_IMAGES = 36
_TICK_LINE = (
    "kimg {kimg:<8.1f} lod {lod:.2f} {resolution}x{resolution}  D {D_loss:.3f} G {G_loss:.3f}  "
    "{images_per_sec:.0f} images/s  {train_sec:.0f} s  {peak_memory_mb:.0f} MB"
)


class Trainer:
    """Networks, optimisers and random state of one run, and one step of each kind."""

    def __init__(self, config: RunConfig, sampler: Sampler, device: torch.device) -> None:
        self.config = config
        self.sampler = sampler
        self.device = device
        self.nimg = 0
        self.rng = seeded(config.seed, _STEPS)
        self.noise = LsganNoise()
        self.G = Generator(config.generator, seeded(config.seed, _INIT_G)).to(device)
        self.D = Discriminator(config.discriminator, seeded(config.seed, _INIT_D)).to(device)
        self.G_ema = copy.deepcopy(self.G).requires_grad_(False)
        self.optimisers = {"G": self._adam(self.G), "D": self._adam(self.D)}
        self.active_lods = self.point().active_lods
        self.means = _Means()
        self._initialise_from_reals()

    def point(self) -> TrainingPoint:
        """Where the schedule stands now."""
        return training_point(
            self.nimg,
            self.config.schedule,
            resolution=self.config.data.resolution,
            rampup_kimg=self.config.optimiser.rampup_kimg,
        )

    def step(self) -> TrainingPoint:
        """One G step with its D steps; returns the point it was made at."""
        point = self.point()
        self._follow(point)
        if self.config.optimiser.shared_step:
            self._shared_step(point)
        else:
            for _ in range(self.config.optimiser.n_critic):
                with torch.no_grad():
                    fakes = self._fakes(point)
                self._d_step(point, fakes)
            self._g_step(point)
        return point

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on."""
        return {
            "config": self.config.hash8,
            "fingerprint": self.sampler.store.info.fingerprint,
            "nimg": self.nimg,
            "active_lods": self.active_lods,
            "networks": {name: net.state_dict() for name, net in self._networks().items()},
            "optimisers": {name: adam.state_dict() for name, adam in self.optimisers.items()},
            "rng": self.rng.get_state(),
            "noise": self.noise.average,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Become what `state` was; ValueError when it is of another run or other data."""
        if state["config"] != self.config.hash8:
            raise ValueError(f"the training state is of configuration {state['config']}; remove it")
        if state["fingerprint"] != self.sampler.store.info.fingerprint:
            raise ValueError(
                f"{self.sampler.store.path} holds other pixels than the run began with; "
                "restore them or choose another --out"
            )
        self.nimg, self.active_lods = state["nimg"], tuple(state["active_lods"])
        for name, network in self._networks().items():
            network.load_state_dict(state["networks"][name])
        for name, adam in self.optimisers.items():
            adam.load_state_dict(state["optimisers"][name])
        self.rng.set_state(state["rng"])
        self.noise.average = state["noise"]

    def check_weights(self) -> None:
        """FloatingPointError when a weight is not finite."""
        for name, network in self._networks().items():
            if not all(weight.isfinite().all() for weight in network.parameters()):
                raise FloatingPointError(f"{name} has weights that are not finite")

    def _networks(self) -> dict[str, nn.Module]:
        return {"G": self.G, "D": self.D, "G_ema": self.G_ema}

    def _adam(self, network: nn.Module) -> torch.optim.Adam:
        opt = self.config.optimiser
        betas = (opt.beta1, opt.beta2)
        return torch.optim.Adam(network.parameters(), opt.lr, betas, opt.eps, fused=True)

    def _follow(self, point: TrainingPoint) -> None:
        """Set the learning rate; start Adam afresh when the active resolutions change."""
        for adam in self.optimisers.values():
            if point.active_lods != self.active_lods:
                adam.state.clear()
            for group in adam.param_groups:
                group["lr"] = self.config.optimiser.lr * point.lr_factor
        self.active_lods = point.active_lods

    def _initialise_from_reals(self) -> None:
        point = self.point()
        count = min(_INIT_REALS, self.sampler.num_images)
        self.D.initialise_from_reals(self._reals(point, count), point.lod)

    def _reals(self, point: TrainingPoint, count: int) -> Tensor:
        """The next `count` reals, faded, NCHW float32 in [-1, 1]."""
        images = self.sampler.batch(self.nimg, count, resolution=point.resolution)
        reals = torch.from_numpy(images).to(self.device).float() / 127.5 - 1
        return fade_reals(reals, point.lod)

    def _fakes(self, point: TrainingPoint) -> Tensor:
        shape = (point.minibatch, self.config.generator.latent_size)
        z = torch.randn(shape, generator=self.rng).to(self.device)
        fakes: Tensor = self.G(z, point.lod)
        return fakes

    def _score(self, point: TrainingPoint) -> Callable[[Tensor], Tensor]:
        lsgan = self.config.loss.kind == "lsgan"
        noise = InputNoise(self.noise.strength, self.rng) if lsgan else None
        return lambda images: self.D(images, point.lod, noise)

    def _shared_step(self, point: TrainingPoint) -> None:
        """Both networks learn from one batch of fakes and from each other as they were."""
        fakes = self._fakes(point)
        self._g_step(point, fakes)
        self._d_step(point, fakes.detach())

    def _d_step(self, point: TrainingPoint, fakes: Tensor) -> None:
        reals = self._reals(point, point.minibatch)
        mix = torch.rand(point.minibatch, generator=self.rng).to(self.device)
        loss = d_loss(self._score(point), reals, fakes, mix=mix, config=self.config.loss)
        self._update("D", self.D, loss.total)
        self.nimg += point.minibatch
        self.means.add(real_score=loss.real_score, fake_score=loss.fake_score, penalty=loss.penalty)
        if self.config.loss.kind == "lsgan":
            self.noise.update(loss.total.item())

    def _g_step(self, point: TrainingPoint, fakes: Tensor | None = None) -> None:
        """Update G on `fakes` that carry its graph, or on fresh ones."""
        self.D.requires_grad_(False)  # no weight gradients that nobody uses
        fakes = self._fakes(point) if fakes is None else fakes
        self._update("G", self.G, g_loss(self._score(point)(fakes), self.config.loss))
        self.D.requires_grad_(True)
        self._average()

    @torch.no_grad()
    def _average(self) -> None:
        weight = 1 - self.config.optimiser.ema
        torch._foreach_lerp_(list(self.G_ema.parameters()), list(self.G.parameters()), weight)

    def _update(self, name: str, network: nn.Module, loss: Tensor) -> None:
        adam = self.optimisers[name]
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        adam.step()
        self.means.add(**{f"{name}_loss": loss, f"{name}_grad_norm": norm})


class _Means:
    """Running means of scalars between two ticks, summed on the device."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def add(self, **values: Tensor) -> None:
        for name, value in values.items():
            total, count = self._sums.get(name, (torch.zeros_like(value), 0))
            self._sums[name] = total + value.detach(), count + 1

    def take(self) -> dict[str, float]:
        """The means since the last call; FloatingPointError when one is not finite."""
        means = {name: total.item() / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        for name, mean in means.items():
            if not math.isfinite(mean):
                raise FloatingPointError(f"{name} is {mean}")
        return means


def train(
    trainer: Trainer,
    folder: RunFolder,
    *,
    on_step: Callable[[TrainingPoint], None],
    on_snapshot: Callable[[], None],
    should_stop: Callable[[], bool],
) -> bool:
    """Train to the end of the schedule, going on from the state in `folder`; True when finished.

    A tick saves everything; `should_stop` makes one early. FloatingPointError when the run
    diverged: the last good state stays.
    """
    with _Journal(trainer, folder) as journal:
        stop = journal.finished
        while not stop:
            on_step(trainer.step())
            stop = journal.finished or should_stop()
            if stop or journal.due(1):
                snapshot = journal.finished or journal.due(trainer.config.schedule.snapshot_ticks)
                journal.tick(snapshot=snapshot)
                if snapshot:
                    on_snapshot()
        return journal.finished


class _Journal:
    """What a run writes at its ticks, and its clock."""

    def __init__(self, trainer: Trainer, folder: RunFolder) -> None:
        self.trainer = trainer
        self.folder = folder
        self.schedule = trainer.config.schedule
        self.train_sec = self._resume()
        self.last_nimg = trainer.nimg  # of the last tick
        self.started = time.monotonic()

    def __enter__(self) -> "_Journal":
        self.board = SummaryWriter(str(self.folder.path), purge_step=self.trainer.nimg + 1)
        if self.trainer.nimg == 0:
            self._save_grid()
        self._write_status()
        return self

    def __exit__(self, *_: object) -> None:
        self.board.close()

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
        self.folder.append_stats(stats)
        for name, value in stats.items():
            self.board.add_scalar(name, value, self.trainer.nimg)
        self.board.flush()  # before the state: a kill must not lose what is not repeated
        self._save_grid()
        if snapshot:
            self._save_snapshot()
        save_state(self.folder.state_path, self.trainer.state() | {"train_sec": self.train_sec})
        self._write_status()
        log.info(_TICK_LINE.format_map(stats))
        self.started = time.monotonic()  # evaluation and writing are not training

    def _resume(self) -> float:
        path = self.folder.state_path
        state = load_state(path)
        if state is None:
            self.folder.rewind(0)
            return 0.0
        try:
            self.trainer.load(state)
            train_sec = float(state["train_sec"])
        except (LookupError, TypeError, RuntimeError, AttributeError) as error:
            raise ValueError(f"{path} is no state of this run; remove it") from error
        self.folder.rewind(self.trainer.nimg / 1000)
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
        trainer, seconds = self.trainer, time.monotonic() - self.started
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
            "peak_memory_mb": peak_memory_mb(),
        }

    def _save_grid(self) -> None:
        trainer = self.trainer
        fakes = list(generate(trainer.G_ema, range(_GRID_IMAGES), lod=trainer.point().lod))
        reals = trainer.sampler.store.level(trainer.config.data.resolution)[:_GRID_IMAGES]
        path = self.folder.samples / f"fakes-reals-{trainer.nimg / 1000:08.1f}.png"
        save_sheets(path, np.concatenate(fakes), reals)

    def _save_snapshot(self) -> None:
        trainer = self.trainer
        path = self.folder.snapshot_path(trainer.nimg / 1000)
        save_snapshot(path, trainer.G_ema, nimg=trainer.nimg, lod=trainer.point().lod)
