"""Winograd's convolutions and oneDNN's products beside torch's own: time and rounding errors.

`python benchmarks/products.py`

One thread. Each ratio is torch's time over ours; errors are relative to float64, in the norm.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pgbench.environment import keep_memory
from pgbench.products import differentiable_product
from pgbench.winograd import winograd_conv

CASES = [(16, 64, 8), (16, 128, 8), (16, 256, 8), (16, 512, 8), (16, 256, 16), (64, 512, 8)]
SECONDS = 0.5


def direct(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, padding=1)


def winograd(x: Tensor, weight: Tensor) -> Tensor:
    return winograd_conv(x, weight, scale=1.0)


def times(functions: list[Callable[[], object]]) -> list[float]:
    """Median seconds of each, called in turn."""
    found: list[list[float]] = [[] for _ in functions]
    while sum(map(sum, found)) < SECONDS * len(functions) or len(found[0]) < 4:
        for function, seconds in zip(functions, found, strict=True):
            started = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - started)
    return [float(np.median(seconds[1:])) for seconds in found]


def both_ways(function: Callable, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The values, and the derivatives of their sum of squares by x and the weights."""
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    out = function(x, weight)
    return out.detach(), *torch.autograd.grad(out.square().sum(), [x, weight])


def error(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).norm() / exact.norm())


def compare(name: str, plain: Callable, ours: Callable, x: Tensor, weight: Tensor) -> None:
    exact = both_ways(plain, x.double(), weight.double())
    found = [both_ways(function, x, weight) for function in (plain, ours)]
    worst = [max(map(error, each, exact)) for each in found]
    with torch.no_grad():
        forward = times([lambda: plain(x, weight), lambda: ours(x, weight)])
    whole = times([lambda: both_ways(plain, x, weight), lambda: both_ways(ours, x, weight)])
    print(
        f"{name:38} forward {forward[0] / forward[1]:5.2f}  with derivatives "
        f"{whole[0] / whole[1]:5.2f}  errors {worst[0]:.1e} {worst[1]:.1e}",
        flush=True,
    )


def main() -> None:
    """Print a line for each case: torch's time over ours, torch's error and ours."""
    torch.set_num_threads(1)
    keep_memory(large=True)
    rng = torch.Generator().manual_seed(0)
    for count, maps, side in CASES:
        x = torch.randn(count, maps, side, side, generator=rng)
        weight = 0.05 * torch.randn(maps, maps, 3, 3, generator=rng)
        name = f"{count} x {maps} maps of {side}x{side}"
        compare(name, direct, winograd, x, weight)
    for rows, inner, columns in [(16, 512, 1024), (16, 512, 8192), (64, 8192, 512)]:
        a = torch.randn(rows, inner, generator=rng)
        b = torch.randn(columns, inner, generator=rng)
        name = f"product {rows} x {inner} x {columns}"
        compare(name, F.linear, differentiable_product, a, b)


if __name__ == "__main__":
    main()
