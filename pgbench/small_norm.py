"""Batch and layer normalisation on a CPU as machine code (numba), with second derivatives.

The gradient penalty differentiates the layer twice, which elsewhere is dozens of passes over the
values. With x̂ = (x - mean) scale, scale = 1 / sqrt(variance + eps), y = gain x̂ + bias, and means
over a channel's n values of one group of images:

    dx    = gain scale (dy - mean(dy) - x̂ mean(dy x̂))
    dgain = sum(dy x̂)
    dbias = sum(dy)
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pgbench.small_conv import array
from pgbench.small_loops import Floats, compiled, inlined


def small_batch_norm(
    x: Tensor, gain: Tensor, bias: Tensor, *, eps: float, groups: int = 1
) -> Tensor:
    """x normalised in each of so many groups of images, one after the other, by their statistics.

    x is NCHW float32 on the CPU, gain and bias are (C,).
    """
    normalised: Tensor = _Normalising.apply(x, gain, bias, eps, groups)
    return normalised


class _Normalising(torch.autograd.Function):
    """-> y (N, C, H, W); mean and scale (groups, C, 2) are kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, bias: Tensor, eps: float, groups: int) -> Tensor:
        out, stats = torch.empty(x.shape), torch.empty((groups, x.shape[1], 2))
        normalise(_planes(x), array(gain), array(bias), eps, stats.numpy(), _planes(out))
        ctx.save_for_backward(x, gain, stats)
        return out

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return *_Back.apply(dy, *ctx.saved_tensors), None, None


class _Back(torch.autograd.Function):
    """dy, x, gain and what was kept -> the gradients by x, gain and bias."""

    @staticmethod
    def forward(
        ctx: Any, dy: Tensor, x: Tensor, gain: Tensor, stats: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        dx, dgain, dbias = torch.empty(x.shape), torch.empty(gain.shape), torch.empty(gain.shape)
        given = _planes(dy), _planes(x), array(gain), stats.numpy()
        normalise_back(*given, _planes(dx), dgain.numpy(), dbias.numpy())
        ctx.save_for_backward(dy, x, gain, stats)
        return dx, dgain, dbias

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor | None, ...]:
        dy, x, gain, stats = ctx.saved_tensors
        to_dy, to_x, to_gain = torch.empty(x.shape), torch.empty(x.shape), torch.empty(gain.shape)
        given = _planes(v), array(a), array(b), _planes(dy), _planes(x), array(gain), stats.numpy()
        normalise_again(*given, _planes(to_dy), _planes(to_x), to_gain.numpy())
        return to_dy, to_x, to_gain, None


def _planes(x: Tensor) -> Floats:
    """(N, C, H, W) -> (N, C, pixels)."""
    return array(x).reshape(*x.shape[:2], -1)


@compiled
def normalise(
    x: Floats, gain: Floats, bias: Floats, eps: float, stats: Floats, out: Floats
) -> None:
    """Fill `stats` (groups, C, 2) with mean and scale, and `out` (N, C, P)."""
    groups, maps, _ = stats.shape
    size = len(x) // groups
    for g in range(groups):
        for c in range(maps):
            images = x[g * size : (g + 1) * size]
            mean = np.float32(_mean(images, c))
            scale = np.float32(1 / np.sqrt(_mean_square(images, c, mean) + eps))
            stats[g, c, 0], stats[g, c, 1] = mean, scale
            slope = scale * gain[c]
            for n in range(g * size, (g + 1) * size):
                row, normal = x[n, c], out[n, c]
                for p in range(len(row)):
                    normal[p] = (row[p] - mean) * slope + bias[c]


@compiled
def normalise_back(
    dy: Floats,
    x: Floats,
    gain: Floats,
    stats: Floats,
    dx: Floats,
    dgain: Floats,
    dbias: Floats,
) -> None:
    """Fill `dx` (N, C, P), `dgain` and `dbias` (C,)."""
    groups, maps, _ = stats.shape
    size = len(x) // groups
    dgain[:] = 0
    dbias[:] = 0
    for g in range(groups):
        images = slice(g * size, (g + 1) * size)
        for c in range(maps):
            mean, scale = stats[g, c]
            plain, along = _means(dy[images], x[images], c, mean, scale)
            dbias[c] += plain * _count(x[images])
            dgain[c] += along * _count(x[images])
            m, k, slope = np.float32(plain), np.float32(along), gain[c] * scale
            for n in range(g * size, (g + 1) * size):
                row, seen, back = dy[n, c], x[n, c], dx[n, c]
                for p in range(len(row)):
                    back[p] = slope * (row[p] - m - (seen[p] - mean) * scale * k)


@compiled
def normalise_again(
    v: Floats,
    a: Floats,
    b: Floats,
    dy: Floats,
    x: Floats,
    gain: Floats,
    stats: Floats,
    to_dy: Floats,
    to_x: Floats,
    to_gain: Floats,
) -> None:
    """Fill the gradients of sum(v dx) + sum(a dgain) + sum(b dbias) by dy, x and gain.

    With P(h) = h - mean(h) - x̂ mean(h x̂) and Q = mean(v P(dy)) they are

        by dy    gain scale P(v) + a x̂ + b
        by x     a scale P(dy) - gain scale² (x̂ Q + mean(v x̂) P(dy) + mean(dy x̂) P(v))
        by gain  n scale Q
    """
    groups, maps, _ = stats.shape
    size = len(x) // groups
    to_gain[:] = 0
    for g in range(groups):
        images = slice(g * size, (g + 1) * size)
        for c in range(maps):
            mean, scale = stats[g, c]
            m, k = _means(dy[images], x[images], c, mean, scale)
            m_v, k_v = _means(v[images], x[images], c, mean, scale)
            q = _mean_product(v[images], dy[images], c) - m_v * m - k_v * k
            to_gain[c] += _count(x[images]) * scale * q
            slope, steep = gain[c] * scale, gain[c] * scale * scale
            by_dy = np.float32(a[c] * scale - steep * k_v)
            by_v, by_x = np.float32(-steep * k), np.float32(-steep * q)
            means = np.float32(m), np.float32(k), np.float32(m_v), np.float32(k_v)
            for n in range(g * size, (g + 1) * size):
                row, other, seen = dy[n, c], v[n, c], x[n, c]
                of_row, of_seen = to_dy[n, c], to_x[n, c]
                for p in range(len(row)):
                    x_hat = (seen[p] - mean) * scale
                    p_dy = row[p] - means[0] - x_hat * means[1]
                    p_v = other[p] - means[2] - x_hat * means[3]
                    of_row[p] = slope * p_v + a[c] * x_hat + b[c]
                    of_seen[p] = by_dy * p_dy + by_v * p_v + by_x * x_hat


@inlined
def _count(x: Floats) -> int:
    """Values of a channel."""
    images, _, pixels = x.shape
    return int(images * pixels)


@inlined
def _mean(x: Floats, c: int) -> float:
    """Of a channel."""
    total = 0.0
    for n in range(len(x)):
        part, row = np.float32(0), x[n, c]
        for p in range(len(row)):
            part += row[p]
        total += float(part)
    return total / _count(x)


@inlined
def _mean_square(x: Floats, c: int, mean: np.float32) -> float:
    """Of what a channel's values are away from `mean`."""
    total = 0.0
    for n in range(len(x)):
        part, row = np.float32(0), x[n, c]
        for p in range(len(row)):
            part += (row[p] - mean) * (row[p] - mean)
        total += float(part)
    return total / _count(x)


@inlined
def _mean_product(h: Floats, other: Floats, c: int) -> float:
    total = 0.0
    for n in range(len(h)):
        part, row, beside = np.float32(0), h[n, c], other[n, c]
        for p in range(len(row)):
            part += row[p] * beside[p]
        total += float(part)
    return total / _count(h)


@inlined
def _means(
    h: Floats, x: Floats, c: int, mean: np.float32, scale: np.float32
) -> tuple[float, float]:
    """Of a channel's h, and of h x̂."""
    plain = along = 0.0
    for n in range(len(h)):
        row, seen = h[n, c], x[n, c]
        part = product = np.float32(0)
        for p in range(len(row)):
            part += row[p]
            product += row[p] * ((seen[p] - mean) * scale)
        plain += float(part)
        along += float(product)
    return plain / _count(h), along / _count(h)
