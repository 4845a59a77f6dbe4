"""Table 4's training next to a plain eager loop, and several seeds at once: images/s.

`python benchmarks/modes.py [--rows "K/4 norm" …] [--seconds S] [--seeds 2 8]`

The plain loop is what the definitions say, op by op, on the same weights, images and latents; it is
checked to take the same first steps. Several seeds are a process each, of one thread. Each
measurement is made in fresh processes; rates are by the clock and, for busy machines, by the
processor's time, which is that of all threads.
"""

import argparse
import copy
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgbench.environment import choose_device
from pgbench.layers import Conv
from pgbench.networks import Generator
from pgbench.reproductions.table4 import ROWS, row_config
from pgbench.training import Trainer

STEPS = 3  # that both are compared over


def plain_conv(conv: Conv, x: Tensor) -> Tensor:
    x = F.interpolate(x, scale_factor=2.0) if conv.upscale else x
    return F.conv2d(x, conv.weight * conv.scale, conv.bias, padding=conv.padding)


def plain_pixelnorm(x: Tensor) -> Tensor:
    return x / torch.sqrt(torch.mean(x**2, dim=1, keepdim=True) + 1e-8)


def plain_norm(norm: nn.Module | None, x: Tensor) -> Tensor:
    if norm is None:
        return x
    return F.batch_norm(x, None, None, norm.gain, norm.bias, training=True, eps=1e-4)


def plain_images(G: Generator, z: Tensor) -> Tensor:
    """What G computes at full resolution, straight from the definition."""
    x = plain_pixelnorm(z)
    for (layer,) in G.blocks:
        conv = layer.conv
        if isinstance(conv, Conv):
            x = plain_conv(conv, x)
        else:
            x = torch.einsum("nl,lchw->nchw", x, conv.weight * conv.scale)
            x = x if conv.bias is None else x + conv.bias[:, None, None]
        x = F.leaky_relu(plain_norm(layer.norm, x), 0.3)
        x = plain_pixelnorm(x) if G.config.pixelnorm else x
    return torch.tanh(plain_conv(G.to_rgb[-1], x))


def plain_scores(D: nn.Module, x: Tensor) -> Tensor:
    """What D computes at full resolution, straight from the definition."""
    if D.from_rgb:
        x = F.leaky_relu(plain_conv(D.from_rgb[-1], x), 0.2)
    for block in reversed(D.blocks):
        x = F.avg_pool2d(F.leaky_relu(plain_norm(block.norm, plain_conv(block.conv, x)), 0.2), 2)
    if D.config.minibatch_layer == "stddev":
        deviation = torch.sqrt(x.var(dim=0, unbiased=False) + 1e-8).mean()
        x = torch.cat([x, deviation.expand(len(x), 1, 4, 4)], dim=1)
    return F.linear(x.flatten(1), D.score.weight * D.score.scale, D.score.bias).squeeze(1)


class PlainTrainer:
    """One G step with its D steps, plainly, on the random numbers of a trainer."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.config = trainer, trainer.config
        self.G, self.D, self.G_ema = map(copy.deepcopy, (trainer.G, trainer.D, trainer.G_ema))
        opt = self.config.optimiser
        self.adams = [
            torch.optim.Adam(each.parameters(), opt.lr, (opt.beta1, opt.beta2), opt.eps)
            for each in (self.G, self.D)
        ]

    def step(self) -> None:
        point = self.trainer.point()
        for adam in self.adams:
            adam.param_groups[0]["lr"] = self.config.optimiser.lr * point.lr_factor
        for _ in range(self.config.optimiser.n_critic):
            z = torch.randn(point.minibatch, 64, generator=self.trainer.rng)
            pixels = self.trainer.sampler.batch(self.trainer.nimg, point.minibatch, resolution=32)
            mix = torch.rand(point.minibatch, generator=self.trainer.rng)
            self.d_step(torch.from_numpy(pixels).float() / 127.5 - 1, z, mix)
            self.trainer.nimg += point.minibatch
        self.g_step(torch.randn(point.minibatch, 64, generator=self.trainer.rng))

    def d_step(self, reals: Tensor, z: Tensor, mix: Tensor) -> None:
        with torch.no_grad():
            fakes = plain_images(self.G, z)
        real_scores, fake_scores = plain_scores(self.D, reals), plain_scores(self.D, fakes)
        mixed = torch.lerp(reals, fakes, mix[:, None, None, None]).requires_grad_()
        scores = plain_scores(self.D, mixed)
        (gradient,) = torch.autograd.grad(scores.sum(), mixed, create_graph=True)
        penalty = ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
        self.adams[1].zero_grad()
        (fake_scores.mean() - real_scores.mean() + 10 * penalty).backward()
        self.adams[1].step()

    def g_step(self, z: Tensor) -> None:
        self.adams[0].zero_grad()
        (-plain_scores(self.D, plain_images(self.G, z)).mean()).backward()
        self.adams[0].step()
        decay = self.config.optimiser.ema
        with torch.no_grad():
            for ema, weight in zip(self.G_ema.parameters(), self.G.parameters(), strict=True):
                ema.mul_(decay).add_(weight, alpha=1 - decay)


class Noise:
    """Stands for a sampler: its images are drawn once and shown again and again."""

    num_images = 500
    pixels = np.random.default_rng(0).integers(0, 256, (64, 3, 32, 32), np.uint8)

    def batch(self, _: int, count: int, *, resolution: int) -> np.ndarray:
        size = 32 // resolution
        return self.pixels[:count, :, ::size, ::size].copy()


def trainer_of(row: str, seed: int = 0) -> Trainer:
    """At full resolution, after the ramp-up where the row grows."""
    config = row_config(
        row, profile="desktop", dataset="noise", mirror=False, num_images=None, seed=seed
    )
    trainer = Trainer(config, Noise(), choose_device("cpu"))
    if config.schedule.growing:
        trainer.nimg = round(3000 * (config.schedule.train_kimg + config.schedule.fade_kimg))
    return trainer


def rates(step: Callable[[], object], trainer: Trainer, seconds: float) -> tuple[float, float]:
    """Images per second of the clock, and of the processor's time."""
    for _ in range(2):
        step()
    shown, began, used = trainer.nimg, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        step()
    images = trainer.nimg - shown
    return images / (time.perf_counter() - began), images / (time.process_time() - used)


def measure(row: str, kind: str, seconds: float, seed: int) -> tuple[float, float]:
    if kind == "thread":
        torch.set_num_threads(1)
    trainer = trainer_of(row, seed)
    if kind != "plain":
        return rates(trainer.step, trainer, seconds)
    torch.use_deterministic_algorithms(False)
    return rates(PlainTrainer(trainer).step, trainer, seconds)


def difference(row: str) -> float:
    """Relative distance of all weights after a few steps of both.

    Adam's first steps are signs: where a gradient is nothing but rounding, so is its step.
    """
    ours, plain = trainer_of(row), PlainTrainer(trainer_of(row))
    for _ in range(STEPS):
        ours.step()
        plain.step()
    a, b = (
        torch.cat([w.detach().flatten() for net in (each.G, each.D) for w in net.parameters()])
        for each in (ours, plain)
    )
    return float((a - b).norm() / b.norm())


def apart(function: Callable, arguments: list) -> list:
    """function(*each) for each of the arguments, in as many fresh processes at once."""
    with multiprocessing.get_context("spawn").Pool(len(arguments)) as pool:
        return pool.starmap(function, arguments, chunksize=1)


def main() -> None:
    """Print a line for each row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS)[:4])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seeds", nargs="*", type=int, default=[2, 8])
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, {os.cpu_count()} cores; images/s (of CPU time)")
    for row in options.rows:
        run = partial(apart, measure)
        ((plain, plain_cpu),) = run([(row, "plain", options.seconds, 0)])
        ((ours, ours_cpu),) = run([(row, "ours", options.seconds, 0)])
        line = f"{row:16} plain {plain:.0f} ({plain_cpu:.0f})  ours {ours:.0f} ({ours_cpu:.0f}), "
        line += f"x {ours / plain:.2f} ({ours_cpu / plain_cpu:.2f})"
        for count in options.seeds:
            found = run([(row, "thread", options.seconds, seed) for seed in range(count)])
            total = sum(rate for rate, _ in found)
            line += f"  {count} seeds {total:.0f}, x {total / plain:.2f}"
        (apart_by,) = apart(difference, [(row,)])
        print(f"{line}  weights differ by {apart_by:.1e} after {STEPS} steps", flush=True)


if __name__ == "__main__":
    main()
