"""3x3 convolutions of many maps on a CPU by Winograd's products: 16 instead of 36.

`winograd_loops.py` has the transforms. Between them lie sixteen matrix products. The cores share
the channels and the products, so that values do not depend on how many there are.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pgbench.products import product
from pgbench.small_conv import array
from pgbench.small_loops import Floats
from pgbench.winograd_loops import (
    gather,
    scatter,
    spread,
    transform,
    transform_back,
    transform_turned,
)

_TILES = 1024  # at a time: they take 32 kB a channel


def winograd_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, scale: float) -> Tensor:
    """`F.conv2d` with padding 1 of x by `scale` times `weight` (maps_out, maps_in, 3, 3).

    x is NCHW float32 on the CPU, of even height and width; differentiable as often as you like.
    """
    convolved: Tensor = _Convolution.apply(x, weight, bias, scale, False)
    return convolved


class _Convolution(torch.autograd.Function):
    """`turned` weights (O, C, 3, 3) take a gradient (N, O, H, W) back to the input."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, scale: float, turned: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.scale, ctx.turned = scale, turned
        return _convolved(x, _transformed(weight, scale, turned=turned), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias, *_ = ctx.needs_input_grad
        pair = (gradient, x) if ctx.turned else (x, gradient)
        return (
            _Convolution.apply(gradient, weight, None, ctx.scale, not ctx.turned) if to_x else None,
            _WeightGradient.apply(*pair, ctx.scale) if to_weight else None,
            gradient.sum((0, 2, 3)) if to_bias else None,
            None,
            None,
        )


class _WeightGradient(torch.autograd.Function):
    """(N, C, H, W) and a gradient (N, O, H, W) -> (O, C, 3, 3)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gradient: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(x, gradient)
        ctx.scale = scale
        return _correlated(x, gradient, scale)

    @staticmethod
    def backward(ctx: Any, again: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, gradient = ctx.saved_tensors
        to_x, to_gradient, _ = ctx.needs_input_grad
        return (
            _Convolution.apply(gradient, again, None, ctx.scale, True) if to_x else None,
            _Convolution.apply(x, again, None, ctx.scale, False) if to_gradient else None,
            None,
        )


def _transformed(weight: Tensor, scale: float, *, turned: bool) -> Tensor:
    """Weights (O, C, 3, 3) -> (16, O, C), or (16, C, O) if turned."""
    maps_out, maps_in = weight.shape[:2]
    out = torch.empty((16, maps_in, maps_out) if turned else (16, maps_out, maps_in))
    nine = array(weight).reshape(maps_out, maps_in, 9)
    _share(out.shape[1], transform_turned if turned else transform, nine, scale, out.numpy())
    return out


def _convolved(x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    """(N, C, H, W) and transformed weights (16, O, C) -> (N, O, H, W)."""
    maps = weights.shape[1]
    out = torch.empty((len(x), maps, *x.shape[2:]))
    start = np.zeros(maps, np.float32) if bias is None else array(bias)
    for part in _parts(out):
        tiles = _gathered(x[part])
        products = _products(weights, tiles.transpose(1, 2))
        _share(maps, scatter, _arrays(products), start, out[part].numpy())
    return out


def _correlated(x: Tensor, gradient: Tensor, scale: float) -> Tensor:
    """(N, C, H, W) and a gradient (N, O, H, W) -> (O, C, 3, 3)."""
    maps_in, maps_out = x.shape[1], gradient.shape[1]
    sums: list[Tensor] = []
    for part in _parts(gradient):
        tiles = _gathered(x[part])
        spreading = torch.empty((16, maps_out, tiles.shape[2]))
        _share(maps_out, spread, array(gradient[part]), spreading.numpy())
        found = _products(spreading, tiles)
        sums = [a.add_(b) for a, b in zip(sums, found, strict=True)] if sums else found
    out = torch.empty((maps_out, maps_in, 3, 3))
    nine = out.numpy().reshape(maps_out, maps_in, 9)
    _share(maps_out, transform_back, _arrays(sums), scale, nine)
    return out


def _parts(images: Tensor) -> Iterator[slice]:
    """As many of the images (N, C, H, W) as have `_TILES`."""
    together = max(1, 4 * _TILES // images[0, 0].numel())
    for start in range(0, len(images), together):
        yield slice(start, start + together)


def _gathered(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (16, C, tiles)."""
    out = torch.empty((16, x.shape[1], x[:, 0].numel() // 4))
    _share(x.shape[1], gather, array(x), out.numpy())
    return out


def _products(left: Tensor, right: Tensor) -> list[Tensor]:
    """Sixteen matrices left (R, K) times right (S, K) transposed, (R, S)."""
    found = [torch.empty(0)] * 16

    def multiply(first: int, last: int) -> None:
        for k in range(first, last):
            found[k] = product(left[k], right[k])

    _share(16, multiply)
    return found


def _arrays(tensors: list[Tensor]) -> tuple[Floats, ...]:
    return tuple(map(array, tensors))


def _share(count: int, work: Callable[..., None], *given: object) -> None:
    """Call `work` with what is given and the first and last of each core's part of `count`."""
    cores = min(torch.get_num_threads(), count)
    if cores == 1:
        work(*given, 0, count)
        return
    bounds = [count * i // cores for i in range(cores + 1)]
    parts = [_cores().submit(work, *given, *bound) for bound in pairwise(bounds)]
    for part in parts:
        part.result()


@cache
def _cores() -> ThreadPoolExecutor:
    """Threads for whom torch has one core each."""
    return ThreadPoolExecutor(os.cpu_count(), "winograd", torch.set_num_threads, (1,))
