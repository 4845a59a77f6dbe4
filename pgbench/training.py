"""The training loop: D and G in turn by the schedule, a tick now and then (paper, section 2).

The clock is nimg, the number of reals shown to D. Everything random comes from generators
whose state is saved, so that a resumed run equals an uninterrupted one.
"""

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from pgbench.adam import fused, update
from pgbench.compiling import Choice, compiled, compiles
from pgbench.config import RunConfig
from pgbench.data import Sampler
from pgbench.distributed import ALONE, Share, World, joined_parts
from pgbench.environment import keep_memory, seeded
from pgbench.errors import out_of_memory
from pgbench.layers import fade_reals
from pgbench.losses import DLoss, LsganNoise
from pgbench.means import Means
from pgbench.mode_networks import make_discriminator, make_generator
from pgbench.passes import Extra, Term, backward
from pgbench.results import RunFolder
from pgbench.schedule import TrainingPoint, minibatch_at, resolutions, training_point
from pgbench.steps import Place, Steps
from pgbench.stopwatch import Stopwatch
from pgbench.ticks import Journal

log = logging.getLogger(__name__)

_INIT_G, _INIT_D, _STEPS = 4, 5, 6  # purposes of the random streams
_INIT_REALS = 500  # for the data-dependent initialisation of minibatch discrimination


@dataclass(frozen=True)
class Fakes:
    """Latents of a minibatch, and what makes the images of a part of this process's share."""

    z: Tensor
    part: Callable[[int], Tensor]


class Trainer:
    """Networks, optimisers and random state of one run, and one step of each kind."""

    def __init__(
        self,
        config: RunConfig,
        sampler: Sampler,
        device: torch.device,
        *,
        world: World = ALONE,
        compiling: Choice = "off",
    ) -> None:
        self.config = config
        self.sampler = sampler
        self.device = device
        self.world = world
        self.compiling = compiling
        self.splits = 1  # parts that this process works on in turn, where memory is short
        self._made: Tensor | None = None  # the next fakes, where they were made ahead
        self._read: tuple[tuple[int, int, int], Tensor] | None = None  # reals, perhaps the next
        self.minibatch = config.schedule.minibatch
        self.nimg = 0
        self.rng = seeded(config.seed, _STEPS)
        self.noise = LsganNoise()
        self.G = make_generator(config.generator, seeded(config.seed, _INIT_G)).to(device)
        self.D = make_discriminator(config.discriminator, seeded(config.seed, _INIT_D)).to(device)
        self.G_ema = copy.deepcopy(self.G).requires_grad_(False)
        networks = self._networks().items()
        self.weights = {name: list[Tensor](network.parameters()) for name, network in networks}
        self.optimisers = {name: fused(self.weights[name], config.optimiser) for name in ("G", "D")}
        self.means = Means(world)
        self._check_minibatches()
        point = self.point()
        self.active_lods = point.active_lods
        self.steps = self._steps_at(point)
        self._initialise_from_reals(point)

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
            parts = self._g_step(point, self._fakes(point, differentiable=True))
            joined = joined_parts(parts, group=self._group)
            self._d_step(point, lambda part: self._part(part).of(joined))
            return point
        fakes = self._fakes(point)
        for more in reversed(range(self.config.optimiser.n_critic)):
            following = cache(partial(self._fakes, point, differentiable=not more))
            self._d_step(point, fakes.part, following)
            fakes = following()
        self._g_step(point, fakes)
        return point

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on."""
        return {
            "config": self.config.hash8,
            "fingerprint": self.sampler.store.info.fingerprint,
            "nimg": self.nimg,
            "active_lods": self.active_lods,
            "splits": self.splits,
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
        self.splits = state["splits"]
        for name, network in self._networks().items():
            network.load_state_dict(state["networks"][name])
        for name, adam in self.optimisers.items():
            adam.load_state_dict(state["optimisers"][name])
        self.rng.set_state(state["rng"])
        self.noise.average = state["noise"]
        self.steps = self._steps_at(self.point())

    def check_weights(self) -> None:
        """FloatingPointError when a weight is not finite."""
        for name, weights in self.weights.items():
            if not all(weight.isfinite().all() for weight in weights):
                raise FloatingPointError(f"{name} has weights that are not finite")

    def _networks(self) -> dict[str, nn.Module]:
        return {"G": self.G, "D": self.D, "G_ema": self.G_ema}

    def _steps_at(self, point: TrainingPoint) -> Steps:
        steps = Steps(self.G, self.D, self.config)
        if compiles(self.compiling, self.config, point.resolution, self.device):
            compiled(steps, self.device)
        return steps

    def _follow(self, point: TrainingPoint) -> None:
        """Set the learning rate; start Adam afresh when the active resolutions change."""
        for adam in self.optimisers.values():
            if point.active_lods != self.active_lods:
                adam.state.clear()
            for group in adam.param_groups:
                group["lr"] = self.config.optimiser.lr * point.lr_factor
        if point.active_lods[0] != self.active_lods[0]:
            self.steps = self._steps_at(point)
        self.active_lods = point.active_lods
        self.minibatch = point.minibatch
        self.splits = self._splits_from(self.splits)

    def _initialise_from_reals(self, point: TrainingPoint) -> None:
        count = min(_INIT_REALS, self.sampler.num_images)
        reals = self._to_reals(self._pixels(0, count, point.resolution), point)
        self.D.initialise_from_reals(reals, point.lod)

    def _pixels(self, first: int, count: int, resolution: int) -> Tensor:
        """Reals `first` to `first + count`, NCHW uint8; those asked for last are kept."""
        asked = first, count, resolution
        if self._read is None or self._read[0] != asked:
            pixels = self.sampler.batch(first, count, resolution=resolution)
            self._read = asked, torch.from_numpy(pixels)
        return self._read[1]

    def _to_reals(self, pixels: Tensor, point: TrainingPoint) -> Tensor:
        """Faded reals, NCHW float32 in [-1, 1], of pixels."""
        return fade_reals(pixels.to(self.device).float() / 127.5 - 1, point.lod)

    def _latents(self, point: TrainingPoint) -> Tensor:
        shape = (point.minibatch, self.config.generator.latent_size)
        return torch.randn(shape, generator=self.rng).to(self.device)

    def _fakes(self, point: TrainingPoint, *, differentiable: bool = False) -> Fakes:
        """Latents of a minibatch, and what makes the images of a part of this process's share."""
        z = self._latents(point)

        def images(part: int) -> Tensor:
            made, self._made = self._made, None
            if made is not None:
                return made
            with torch.set_grad_enabled(differentiable):
                return self.steps.fakes(self._share(part).of(z), self._place(point))

        return Fakes(z, images)

    def _place(self, point: TrainingPoint) -> Place:
        """Where the networks stand; compiled, one graph serves with and without a fade."""
        fraction = point.lod % 1.0
        fading = torch.tensor(fraction, device=self.device)
        return Place(point.active_lods[0], fading if fraction or self.steps.is_compiled else None)

    def _noise(self, point: TrainingPoint) -> tuple[Tensor, ...]:
        """LSGAN's noise for one minibatch that D sees."""
        if self.config.loss.kind != "lsgan":
            return ()
        strength, level = self.noise.strength, point.active_lods[0]
        return self.D.draw_noise(point.minibatch, level, strength=strength, rng=self.rng)

    def _d_step(
        self,
        point: TrainingPoint,
        fakes: Callable[[int], Tensor],
        following: Callable[[], Fakes] | None = None,
    ) -> None:
        """Update D against the fakes of each part of this process's share.

        Where a core waits for another it makes the `following` ones, which do not depend on D, and
        reads the next reals.
        """
        minibatch, resolution = point.minibatch, point.resolution
        pixels = self._pixels(self.nimg, minibatch, resolution)
        mix = torch.rand(minibatch, generator=self.rng).to(self.device)
        noise = self._noise(point), self._noise(point)

        def terms(part: int) -> list[Term[DLoss]]:
            share = self._share(part)
            reals = self._to_reals(share.of(pixels), point)
            parts = [[share.of(tensor) for tensor in each] for each in noise]
            place = self._place(point)
            return self.steps.d_terms(reals, fakes(part), share.of(mix), parts, place)

        def ahead() -> None:
            if following is not None and self.splits == 1:
                self._made = following().part(0)
            self._pixels(self.nimg + minibatch, minibatch, resolution)

        found = self._update("D", terms, ahead)
        for name, values in zip(DLoss._fields[1:], list(zip(*found, strict=True))[1:], strict=True):
            self.means.add(**{name: _sum(values) / self.splits})
        self.nimg += minibatch

    def _g_step(self, point: TrainingPoint, fakes: Fakes) -> list[Tensor]:
        """Update G on its fakes; returns them, detached, part by part."""
        noise = self._noise(point)

        def terms(part: int) -> list[Term[Tensor]]:
            share = self._share(part)
            parts = [share.of(tensor) for tensor in noise]
            made = None if self.steps.is_compiled else fakes.part(part)
            return [lambda: self.steps.g(share.of(fakes.z), parts, self._place(point), made)]

        for weight in self.weights["D"]:
            weight.requires_grad = False  # no gradients that nobody uses
        images = self._update("G", terms)
        for weight in self.weights["D"]:
            weight.requires_grad = True
        self._average()
        return images

    @torch.no_grad()
    def _average(self) -> None:
        weight = 1 - self.config.optimiser.ema
        torch._foreach_lerp_(self.weights["G_ema"], self.weights["G"], weight)

    def _update(
        self,
        name: str,
        terms: Callable[[int], list[Term[Extra]]],
        meanwhile: Callable[[], object] = lambda: None,
    ) -> list[Extra]:
        """One Adam step on the mean of the parts' losses; returns what their terms told."""
        adam = self.optimisers[name]
        losses, extras = self._gradients(self.weights[name], terms, meanwhile)
        gradients = [weight.grad for weight in self.weights[name] if weight.grad is not None]
        self.world.average(gradients)
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        update(adam)
        self.means.add(**{f"{name}_loss": losses, f"{name}_grad_norm": norm})
        if name == "D" and self.config.loss.kind == "lsgan":
            self.world.average([losses])
            self.noise.update(losses.item())
        return extras

    def _gradients(
        self,
        weights: list[Tensor],
        terms: Callable[[int], list[Term[Extra]]],
        meanwhile: Callable[[], object],
    ) -> tuple[Tensor, list[Extra]]:
        """Gradients of the mean loss of this process's parts; in more parts if memory is short."""
        while True:
            for weight in weights:
                weight.grad = None
            found: list[tuple[Tensor, Extra]] = []
            try:
                for part in range(self.splits):
                    found += backward(terms(part), weights, 1 / self.splits, meanwhile)
                losses, extras = zip(*found, strict=True)
                return _sum(losses) / self.splits, list(extras)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or not self._split_further():
                    raise

    def _share(self, part: int) -> Share:
        """A part of this process's share of the minibatch."""
        index = self.world.rank * self.splits + part
        return Share(index, self.world.size * self.splits, self._group)

    def _part(self, part: int) -> Share:
        """The same part, of this process's share alone."""
        return Share(part, self.splits, self._group)

    @property
    def _group(self) -> int:
        """How many images D takes a statistic over, where it is not the whole minibatch."""
        discriminator = self.config.discriminator
        grouped = discriminator.minibatch_layer == "stddev" and discriminator.stddev_group
        return grouped or 1

    def _groups(self, minibatch: int) -> int:
        """How many groups a minibatch has; a smaller one is a group of its own."""
        return minibatch // min(self._group, minibatch)

    def _split_further(self) -> bool:
        """Work on more parts, if there are so many; not where that would change the result."""
        discriminator = self.config.discriminator
        alone = discriminator.minibatch_layer == "none" or discriminator.stddev_group
        if not alone or discriminator.batch_norm or self.config.generator.batch_norm:
            return False
        more = self._splits_from(self.splits + 1)
        if more <= self.splits:
            return False
        self.splits, self._made = more, None
        log.warning("memory is short: each minibatch is worked on in %d parts", self.splits)
        return True

    def _splits_from(self, least: int) -> int:
        """How many equal parts its share can be worked on in: the first number from `least`."""
        groups = self._groups(self.minibatch) // self.world.size
        even = [count for count in range(1, groups + 1) if groups % count == 0]
        return next((count for count in even if count >= least), even[-1])

    def _check_minibatches(self) -> None:
        """ValueError when a minibatch cannot be shared equally by groups and processes."""
        schedule, size = self.config.schedule, self.world.size
        for resolution in resolutions(schedule, full=self.config.data.resolution):
            minibatch = minibatch_at(resolution, schedule)
            if minibatch % min(self._group, minibatch):
                why = f"has no whole groups of {self._group} for the stddev"
                raise ValueError(f"a minibatch of {minibatch} {why}; give a multiple of it")
            if self._groups(minibatch) % size:
                why = f"in groups of {self._group} cannot be shared by {size} processes"
                raise ValueError(f"a minibatch of {minibatch} {why}; start another number of them")


def _sum(values: Sequence[Tensor]) -> Tensor:
    """Of a few scalars: faster than to stack them first."""
    return sum(values[1:], values[0])


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
    keep_memory(large=trainer.config.data.resolution >= 64)
    with Stopwatch() as stopwatch, Journal(trainer, folder, stopwatch) as journal:
        stop = journal.finished
        stopwatch.restart()
        while not stop:
            on_step(trainer.step())
            stopwatch.step()
            stop = journal.finished or trainer.world.any(should_stop())
            if stop or journal.due(1):
                snapshot = journal.finished or journal.due(trainer.config.schedule.snapshot_ticks)
                journal.tick(snapshot=snapshot)
                if snapshot:
                    on_snapshot()
                stopwatch.restart()  # writing and evaluation are no training
        return journal.finished
