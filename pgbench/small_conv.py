"""Layers on a CPU: convolutions of a few maps (table 4), and the 2x2 means of any D.

General kernels are far too large for the former and several passes over the values for the latter.
The derivatives of a convolution are convolutions, those of a leaky ReLU and a mean are linear:
those that D needs can be differentiated again, for the gradient penalty.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pgbench.small_loops import (
    Floats,
    convolve,
    correlate,
    enlarge,
    halve,
    spread,
)

_TAPS = torch.tensor([[3, 1], [2, 0]])  # weights of the two pixels that even, and odd, ones see


def small_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.conv2d` with padding 1 of NCHW float32 on the CPU, weights (maps_out, maps_in, 3, 3)."""
    convolved: Tensor = _Convolution.apply(x, weight, bias)
    return convolved


def small_enlarging_conv(x: Tensor, weight: Tensor) -> Tensor:
    """`F.conv_transpose2d` with stride 2 and padding 1 of NCHW float32, weights (C, O, 4, 4)."""
    enlarged: Tensor = _Enlarging.apply(x, weight)
    return enlarged


def halved_lrelu(x: Tensor, slope: float) -> Tensor:
    """The 2x2 mean of `F.leaky_relu(x, slope)`, NCHW float32 on the CPU."""
    means: Tensor = _Halving.apply(x, x.detach(), slope)
    return means


class _Convolution(torch.autograd.Function):
    """(N, C, H, W), (O, C, 3, 3) and perhaps a bias (O,) -> (N, O, H, W)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        out = torch.empty((len(x), len(weight), *x.shape[2:]))
        start = torch.zeros(len(weight)) if bias is None else bias
        convolve(array(x), array(weight), array(start), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        return (
            small_conv(gradient, _turned(weight)) if to_x else None,
            _weight_gradient(x, gradient) if to_weight else None,
            gradient.sum((0, 2, 3)) if to_bias else None,
        )


class _WeightGradient(torch.autograd.Function):
    """(N, C, H, W) and a gradient (N, O, H, W) -> (O, C, 3, 3)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(x, gradient)
        out = np.zeros((gradient.shape[1], x.shape[1], 3, 3))
        correlate(array(x), array(gradient), out)
        return torch.from_numpy(out.astype(np.float32))

    @staticmethod
    def backward(ctx: Any, again: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, gradient = ctx.saved_tensors
        to_x, to_gradient = ctx.needs_input_grad
        return (
            small_conv(gradient, _turned(again)) if to_x else None,
            small_conv(x, again) if to_gradient else None,
        )


class _Enlarging(torch.autograd.Function):
    """(N, C, H, W) and (C, O, 4, 4) -> (N, O, 2H, 2W): each pixel sees four, by 2x2 weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        count, _, height, width = x.shape
        each = weight.detach()[:, :, _TAPS][..., _TAPS].permute(1, 0, 2, 4, 3, 5)
        out = torch.empty((count, weight.shape[1], 2 * height, 2 * width))
        enlarge(array(x), array(each), out.numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        ones, twos, zeros = [1, 1], [2, 2], [0, 0]
        to_x, to_weight, _ = torch.ops.aten.convolution_backward(
            *(gradient, x, weight, None, twos, ones, ones, True, zeros, 1, [True, True, False])
        )
        return to_x, to_weight


class _Halving(torch.autograd.Function):
    """The 2x2 mean of h times the slope of a leaky ReLU at x, both (N, C, H, W).

    The slope has no derivative: this is linear in h, and so is what it is transposed to.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, x: Tensor, slope: float) -> Tensor:
        ctx.slope = slope
        ctx.save_for_backward(x)
        count, maps, height, width = x.shape
        out = torch.empty((count, maps, height // 2, width // 2))
        halve(array(h), array(x), slope, out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return _Spreading.apply(gradient, x, ctx.slope), None, None


class _Spreading(torch.autograd.Function):
    """`_Halving` transposed: a quarter of h (N, C, H/2, W/2) to each pixel, times its slope."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, x: Tensor, slope: float) -> Tensor:
        ctx.slope = slope
        ctx.save_for_backward(x)
        out = torch.empty(x.shape)
        spread(array(h), array(x), slope, out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return _Halving.apply(gradient, x, ctx.slope), None, None


def _weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    found: Tensor = _WeightGradient.apply(x, gradient)
    return found


def _turned(weight: Tensor) -> Tensor:
    """The weights that take a gradient back to the input."""
    return weight.flip(2, 3).transpose(0, 1)


def array(x: Tensor) -> Floats:
    """Its values, contiguous."""
    values: Floats = x.detach().contiguous().numpy()
    return values
