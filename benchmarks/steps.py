"""Training steps next to a plain eager loop: images/s, share of the machine's rate, peak memory.

`python benchmarks/steps.py [--network desktop] [--rows a] [--resolutions 4 8] [--rounds 3]`

The plain loop is what the definitions say, op by op: each of D's passes alone, upsampling before
the convolution, default Adam, G_ema in a loop, and D's weight gradients also in G's step. Both
train the same networks from the same weights at a whole resolution. Each measurement is a process
of its own, so that its peak memory is its own; on quiet cores, where `--rounds` evens out how
their speed changes. "Products" is the share of the plain loop's time, on a CPU, inside
convolutions, their derivatives and matrix products: nothing but fewer or faster products takes less
than that.
"""

import argparse
import copy
import math
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgbench.cli import SPINNING
from pgbench.config import RunConfig
from pgbench.config import replace as changed
from pgbench.environment import choose_device, keep_memory
from pgbench.layers import Conv
from pgbench.networks import Discriminator, Generator
from pgbench.reproductions.table1 import row_config
from pgbench.training import Trainer
from pgbench.work import products_per_real

PRODUCTS = {"aten::mkldnn_convolution", "aten::convolution_backward"}
PRODUCTS |= {"aten::mm", "aten::addmm", "aten::bmm"}
FULL = {"desktop": 32, "table1": 128}
SECONDS = 3.0  # for each kind of step, after one to warm up


def plain_conv(conv: Conv, x: Tensor) -> Tensor:
    x = F.interpolate(x, scale_factor=2.0) if conv.upscale else x
    return F.conv2d(x, conv.weight * conv.scale, conv.bias, padding=conv.padding)


def plain_pixelnorm(x: Tensor) -> Tensor:
    return x / torch.sqrt(torch.mean(x**2, dim=1, keepdim=True) + 1e-8)


def plain_images(G: Generator, z: Tensor, level: int) -> Tensor:
    """What G.at computes, straight from the definition, without a fade."""
    x = plain_pixelnorm(z) if G.config.normalize_latents else z
    slope = 0.0 if G.config.activation == "relu" else 0.2
    for block in G.blocks[: len(G.blocks) - level]:
        for layer in block:
            conv = layer.conv
            if isinstance(conv, Conv):
                x = plain_conv(conv, x)
            else:
                x = torch.einsum("nl,lchw->nchw", x, conv.weight * conv.scale)
                x = x if conv.bias is None else x + conv.bias[:, None, None]
            x = F.leaky_relu(x if layer.norm is None else layer.norm(x), slope)
            x = plain_pixelnorm(x) if G.config.pixelnorm else x
    image = plain_conv(G.to_rgb[len(G.blocks) - 1 - level], x)
    return torch.tanh(image) if G.config.output == "tanh" else image


def plain_layer(layer: nn.Module, x: Tensor) -> Tensor:
    x = plain_conv(layer.conv, x)
    if layer.norm is not None:
        x = F.layer_norm(x, x.shape[1:], eps=1e-4)
        x = x * layer.norm.gain + layer.norm.bias[:, None, None]
    return F.leaky_relu(x, 0.2)


def plain_scores(D: Discriminator, x: Tensor, level: int) -> Tensor:
    """What D.at computes, straight from the definition, without a fade."""
    first = len(D.from_rgb) - 1 - level
    x = F.leaky_relu(plain_conv(D.from_rgb[first], x), 0.2)
    for i in range(first, 0, -1):
        for layer in D.blocks[i - 1]:
            x = plain_layer(layer, x)
        x = F.avg_pool2d(x, 2)
    if D.config.minibatch_layer == "stddev":
        deviation = torch.sqrt(x.var(dim=0, unbiased=False) + 1e-8).mean()
        x = torch.cat([x, deviation.expand(len(x), 1, 4, 4)], dim=1)
    x = plain_layer(D.dense, plain_layer(D.conv, x)).flatten(1)
    return F.linear(x, D.score.weight * D.score.scale, D.score.bias).squeeze(1)


class PlainTrainer:
    """The two steps, plainly."""

    def __init__(self, trainer: Trainer) -> None:
        self.config, self.level = trainer.config, trainer.point().active_lods[0]
        self.G, self.D, self.G_ema = (
            copy.deepcopy(each) for each in (trainer.G, trainer.D, trainer.G_ema)
        )
        opt = self.config.optimiser
        self.adams = [
            torch.optim.Adam(each.parameters(), opt.lr, (opt.beta1, opt.beta2), opt.eps)
            for each in (self.G, self.D)
        ]

    def d_step(self, reals: Tensor, z: Tensor, mix: Tensor) -> None:
        loss = self.config.loss
        with torch.no_grad():
            fakes = plain_images(self.G, z, self.level)
        real_scores = plain_scores(self.D, reals, self.level)
        fake_scores = plain_scores(self.D, fakes, self.level)
        mixed = torch.lerp(reals, fakes, mix[:, None, None, None]).requires_grad_()
        scores = plain_scores(self.D, mixed, self.level)
        (gradient,) = torch.autograd.grad(scores.sum(), mixed, create_graph=True)
        norm = gradient.flatten(1).norm(dim=1)
        total = fake_scores.mean() - real_scores.mean() + loss.eps_drift * (real_scores**2).mean()
        total = total + loss.gp_lambda * ((norm - loss.gamma) ** 2).mean() / loss.gamma**2
        self.adams[1].zero_grad()
        total.backward()
        self.adams[1].step()

    def g_step(self, z: Tensor) -> None:
        loss = -plain_scores(self.D, plain_images(self.G, z, self.level), self.level).mean()
        self.adams[0].zero_grad()
        loss.backward()
        self.adams[0].step()
        decay = self.config.optimiser.ema
        with torch.no_grad():
            for ema, weight in zip(self.G_ema.parameters(), self.G.parameters(), strict=True):
                ema.mul_(decay).add_(weight, alpha=1 - decay)


class Noise:
    """Stands for a sampler: its images are drawn once and shown again and again."""

    num_images = 500

    def batch(self, _: int, count: int, *, resolution: int) -> np.ndarray:
        rng = np.random.default_rng(0)
        return rng.integers(0, 256, (count, 3, resolution, resolution), np.uint8)


@dataclass(frozen=True)
class Case:
    """What is measured."""

    network: str
    row: str
    resolution: int
    kind: str  # plain, ours or compiled

    def config(self) -> RunConfig:
        profile = "paper" if self.network == "table1" else "desktop"
        config = row_config(
            self.row, profile=profile, dataset="noise", mirror=False, num_images=None, seed=0
        )
        phases = {"train_kimg": 600.0, "fade_kimg": 600.0}  # a measurement ends within one
        return changed(config, schedule={"growing": True, **phases})


def measure(case: Case) -> tuple[float, float, float]:
    """Images shown to D per second, the peak memory in MB, and the share of products (plain)."""
    config = case.config()
    trainer = Trainer(
        config, Noise(), choose_device("auto"), compiling="on" if case.kind == "compiled" else "off"
    )
    level = int(math.log2(FULL[case.network] // case.resolution))
    phases = len(trainer.G.blocks) - 1 - level
    both = config.schedule.train_kimg + config.schedule.fade_kimg
    trainer.nimg = round(1000 * phases * both)
    trainer._follow(point := trainer.point())
    assert (point.resolution, point.lod) == (case.resolution, level)
    n_critic, share = config.optimiser.n_critic, math.nan
    if case.kind == "plain":
        d_step, g_step = plain_steps(trainer)
        seconds = n_critic * per_call(d_step, trainer) + per_call(g_step, trainer)
    else:
        seconds = per_call(our_step(trainer), trainer)
        assert trainer.point().lod == level, "the measurement left its phase"
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    if case.kind == "plain":
        share = in_products({d_step: n_critic, g_step: 1})
    return n_critic * point.minibatch / seconds, peak, share


def in_products(counts: dict[Callable[[], object], int]) -> float:
    """The share of the time of so many steps that the thread making them is inside products."""
    inside = total = 0.0
    for step, count in counts.items():
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            step()
        times = {each.key: each.self_cpu_time_total for each in profile.key_averages()}
        inside += count * sum(times.get(name, 0.0) for name in PRODUCTS)
        total += count * sum(times.values())
    return inside / total


def our_step(trainer: Trainer) -> Callable[[], object]:
    """D's and G's steps as the training makes them."""
    keep_memory(large=trainer.config.data.resolution >= 64)
    return trainer.step


def plain_steps(trainer: Trainer) -> tuple[Callable[[], object], Callable[[], object]]:
    """The same of the plain loop, on the same images and latents."""
    torch.use_deterministic_algorithms(False)
    point, plain = trainer.point(), PlainTrainer(trainer)
    shape = (point.minibatch, trainer.config.generator.latent_size)

    def d_step() -> None:
        pixels = trainer.sampler.batch(0, point.minibatch, resolution=point.resolution)
        reals = torch.from_numpy(pixels).to(trainer.device).float() / 127.5 - 1
        z, mix = torch.randn(shape), torch.rand(point.minibatch)
        plain.d_step(reals, z.to(trainer.device), mix.to(trainer.device))

    return d_step, lambda: plain.g_step(torch.randn(shape).to(trainer.device))


def per_call(step: Callable[[], object], trainer: Trainer) -> float:
    """Seconds of one step: the median of as many as fit, of at least three that are not long."""
    step()
    times: list[float] = []
    while sum(times) < SECONDS or (len(times) < 3 and sum(times) < 4 * SECONDS):
        started = time.perf_counter()
        step()
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def matrix_rate(_: int = 0) -> float:
    """Multiplications per second of a float32 matrix product of 2048 x 2048."""
    device = choose_device("auto")
    a, b = torch.randn(2, 2048, 2048, device=device)
    times = []
    for _ in range(8):
        started = time.perf_counter()
        (a @ b)[0, 0].item()
        times.append(time.perf_counter() - started)
    return 2048**3 / min(times)


def apart(function: Callable, argument: object, **environment: str) -> object:
    """In a fresh process."""
    os.environ.update(environment)  # before torch is imported there
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(function, (argument,))
    for name in environment:
        del os.environ[name]
    return found


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", nargs="+", choices=list(FULL), default=list(FULL))
    parser.add_argument("--rows", nargs="+", default=["a", "g"])
    parser.add_argument("--resolutions", nargs="+", type=int, default=[4, 8, 16, 32, 64, 128])
    parser.add_argument("--rounds", type=int, default=1, help="take medians of so many, in turn")
    parser.add_argument("--compile", action="store_true", help="measure compiled steps, too")
    options = parser.parse_args()
    rate = apart(matrix_rate, 0)
    if not torch.cuda.is_available():
        print("CUDA: not measured, there is no device")
    print(f"{torch.get_num_threads()} threads, {2 * rate / 1e9:.0f} GFLOP/s in matrix products")
    print("network row   res  plain/s   ours/s  ratio  products  of the rate  plain MB  ours MB")
    for network in options.network:
        for row in options.rows:
            for resolution in options.resolutions:
                if resolution <= FULL[network]:
                    case = Case(network, row, resolution, "ours")
                    report(case, rate, rounds=options.rounds, compiled=options.compile)


def report(case: Case, rate: float, *, rounds: int, compiled: bool) -> None:
    kinds = ["plain", "ours", "compiled"] if compiled else ["plain", "ours"]
    found = [[measured(replace(case, kind=kind)) for kind in kinds] for _ in range(rounds)]
    (plain, plain_mb, products), (ours, ours_mb, _), *_ = np.median(found, axis=0)
    ratios = [np.median([each[i][0] / each[0][0] for each in found]) for i in range(len(kinds))]
    share = ours * products_per_real(case.config(), case.resolution) / rate
    line = f"{case.network:7} {case.row:>3} {case.resolution:>4}²  {plain:7.1f}  {ours:7.1f}"
    line += f"  {ratios[1]:5.2f}  {products:8.0%}  {share:11.0%}  {plain_mb:8.0f}  {ours_mb:7.0f}"
    if compiled:
        line += f"  compiled {ratios[2]:.2f}"
    print(line, flush=True)


def measured(case: Case) -> tuple[float, float, float]:
    """In a fresh process, whose threads wait as the command's do unless it is the plain loop's."""
    return apart(measure, case, **({} if case.kind == "plain" else SPINNING))


if __name__ == "__main__":
    main()
