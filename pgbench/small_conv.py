"""3x3 convolutions of a few maps on a CPU, for which general kernels are far too large (table 4).

A channel with a border of zeros lies in one row, so that a neighbour is an offset and the nine
products of a weight are one loop over it. The derivatives of a convolution are convolutions: those
here can be differentiated again, as the gradient penalty needs.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., None])
_ORDER_IS_FREE = {"reassoc", "contract", "nsz"}  # of sums; NaN stays NaN


def _compiled(function: Function) -> Function:
    """Machine code, made at the first call and kept on disk where a folder can be written."""
    options = {"nogil": True, "fastmath": _ORDER_IS_FREE}
    try:
        fast: Function = njit(cache=True, **options)(function)
    except RuntimeError:
        fast = njit(**options)(function)
    return fast


def small_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.conv2d` with padding 1 of NCHW float32 on the CPU, weights (maps_out, maps_in, 3, 3)."""
    convolved: Tensor = _Convolution.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return convolved


def small_enlarging_conv(x: Tensor, weight: Tensor) -> Tensor:
    """`F.conv_transpose2d` of NCHW float32 on the CPU, stride 2, padding 1, weights (C, O, 4, 4)."""
    enlarged: Tensor = _Enlarging.apply(x, weight)  # type: ignore[no-untyped-call]
    return enlarged


def normalised_lrelu(x: Tensor, slope: float) -> Tensor:
    """`pixelnorm` of `F.leaky_relu(x, slope)`, NCHW float32 on the CPU, to differentiate once."""
    normal: Tensor
    normal, _ = _Normalising.apply(x, slope)  # type: ignore[no-untyped-call]
    return normal


def halved_lrelu(x: Tensor, slope: float) -> Tensor:
    """The 2x2 mean of `F.leaky_relu(x, slope)`, NCHW float32 on the CPU."""
    means: Tensor = _Halving.apply(x, x.detach(), slope)  # type: ignore[no-untyped-call]
    return means


class _Convolution(torch.autograd.Function):
    """(N, C, H, W), (O, C, 3, 3) and perhaps a bias (O,) -> (N, O, H, W)."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        out = torch.empty((len(x), len(weight), *x.shape[2:]))
        start = torch.zeros(len(weight)) if bias is None else bias
        _convolve(_array(x), _array(weight), _array(start), out.numpy())
        return out

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor
    ) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
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
    def forward(x: Tensor, gradient: Tensor) -> Tensor:
        out = np.zeros((gradient.shape[1], x.shape[1], 3, 3))
        _correlate(_array(x), _array(gradient), out)
        return torch.from_numpy(out.astype(np.float32))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, again: Tensor) -> tuple[Tensor | None, Tensor | None]:  # type: ignore[override]
        x, gradient = ctx.saved_tensors
        to_x, to_gradient = ctx.needs_input_grad
        return (
            small_conv(gradient, _turned(again)) if to_x else None,
            small_conv(x, again) if to_gradient else None,
        )


class _Enlarging(torch.autograd.Function):
    """(N, C, H, W) and (C, O, 4, 4) -> (N, O, 2H, 2W): each pixel sees four, by 2x2 weights."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        count, maps, height, width = x.shape
        each = weight.detach().reshape(maps, -1, 2, 2, 2, 2)  # of rows: which of two, then parity
        each = each.flip(2, 4).permute(1, 0, 3, 5, 2, 4)
        each = torch.stack([each[:, :, 1], each[:, :, 0]], 2)
        each = torch.stack([each[:, :, :, 1], each[:, :, :, 0]], 3)
        out = torch.empty((count, weight.shape[1], 2 * height, 2 * width))
        _enlarge(_array(x), _array(each), out.numpy())
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        ones, twos, zeros = [1, 1], [2, 2], [0, 0]
        to_x, to_weight, _ = torch.ops.aten.convolution_backward(
            *(gradient, x, weight, None, twos, ones, ones, True, zeros, 1, [True, True, False])
        )
        return to_x, to_weight


class _Normalising(torch.autograd.Function):
    """(N, C, H, W) -> the same, and the scale of each pixel (N, H W)."""

    @staticmethod
    def forward(x: Tensor, slope: float) -> tuple[Tensor, Tensor]:
        out, scales = torch.empty(x.shape), torch.empty((len(x), x.shape[2] * x.shape[3]))
        _normalise(_array(x.flatten(2)), slope, out.flatten(2).numpy(), scales.numpy())
        return out, scales

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, float], output: tuple[Tensor, Tensor]
    ) -> None:
        x, ctx.slope = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(x, *output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None]:
        x, y, scales = ctx.saved_tensors
        out = torch.empty(x.shape)
        planes = (_array(each.flatten(2)) for each in (gradient, x, y))
        _normalise_back(*planes, scales.numpy(), ctx.slope, out.flatten(2).numpy())
        return out, None


class _Halving(torch.autograd.Function):
    """The 2x2 mean of h times the slope of a leaky ReLU at x, both (N, C, H, W).

    The slope has no derivative: this is linear in h, and so is what it is transposed to.
    """

    @staticmethod
    def forward(h: Tensor, x: Tensor, slope: float) -> Tensor:
        count, maps, height, width = x.shape
        out = torch.empty((count, maps, height // 2, width // 2))
        _halve(_array(h), _array(x), slope, out.numpy())
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:
        _, x, ctx.slope = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return _Spreading.apply(gradient, x, ctx.slope), None, None  # type: ignore[no-untyped-call]


class _Spreading(torch.autograd.Function):
    """`_Halving` transposed: a quarter of h (N, C, H/2, W/2) to each pixel, times its slope."""

    @staticmethod
    def forward(h: Tensor, x: Tensor, slope: float) -> Tensor:
        out = torch.empty(x.shape)
        _spread(_array(h), _array(x), slope, out.numpy())
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:
        _, x, ctx.slope = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return _Halving.apply(gradient, x, ctx.slope), None, None  # type: ignore[no-untyped-call]


def _weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    found: Tensor = _WeightGradient.apply(x, gradient)  # type: ignore[no-untyped-call]
    return found


def _turned(weight: Tensor) -> Tensor:
    """The weights that take a gradient back to the input."""
    return weight.flip(2, 3).transpose(0, 1)


def _array(x: Tensor) -> Floats:
    array: Floats = x.detach().contiguous().numpy()
    return array


@_compiled
def _convolve(x: Floats, weight: Floats, bias: Floats, out: Floats) -> None:
    """Fill `out` (N, O, H, W)."""
    count, maps, height, width = x.shape
    pitch = width + 2
    rows = np.zeros((maps, (height + 2) * pitch + 2), np.float32)
    total = np.empty(height * pitch, np.float32)
    for n in range(count):
        _lay_out(x[n], rows)
        for o in range(len(weight)):
            total[:] = bias[o]
            for c in range(maps):
                _add_products(rows[c], weight[o, c], total, pitch)
            for y in range(height):
                for p in range(width):
                    out[n, o, y, p] = total[y * pitch + p]


@_compiled
def _correlate(x: Floats, gradient: Floats, out: Doubles) -> None:
    """Add to `out` (O, C, 3, 3)."""
    count, maps, height, width = x.shape
    pitch = width + 2
    rows = np.zeros((maps, (height + 2) * pitch + 2), np.float32)
    row = np.zeros(height * pitch, np.float32)
    for n in range(count):
        _lay_out(x[n], rows)
        for o in range(gradient.shape[1]):
            for y in range(height):
                for p in range(width):
                    row[y * pitch + p] = gradient[n, o, y, p]
            for c in range(maps):
                _add_sums(rows[c], row, out[o, c], pitch)


@_compiled
def _normalise(x: Floats, slope: float, out: Floats, scales: Floats) -> None:
    """Fill `out` (N, C, P) with normalised leaky ReLUs of x, and `scales` (N, P) with their scale."""
    count, maps, pixels = x.shape
    low, one, eps = np.float32(slope), np.float32(1), np.float32(1e-8)
    for n in range(count):
        scale = scales[n]
        scale[:] = 0
        for c in range(maps):
            row = x[n, c]
            for p in range(pixels):
                value = row[p] * (one if row[p] > 0 else low)
                scale[p] += value * value
        for p in range(pixels):
            scale[p] = one / np.sqrt(scale[p] / np.float32(maps) + eps)
        for c in range(maps):
            row, normal = x[n, c], out[n, c]
            for p in range(pixels):
                normal[p] = row[p] * (one if row[p] > 0 else low) * scale[p]


@_compiled
def _normalise_back(
    gradient: Floats, x: Floats, y: Floats, scales: Floats, slope: float, out: Floats
) -> None:
    """Fill `out` (N, C, P) with the gradient by x, where y are the normalised values."""
    count, maps, pixels = x.shape
    low, one = np.float32(slope), np.float32(1)
    along = np.empty(pixels, np.float32)
    for n in range(count):
        along[:] = 0
        for c in range(maps):
            row, normal = gradient[n, c], y[n, c]
            for p in range(pixels):
                along[p] += row[p] * normal[p]
        for p in range(pixels):
            along[p] /= np.float32(maps)
        for c in range(maps):
            row, normal, seen, back = gradient[n, c], y[n, c], x[n, c], out[n, c]
            for p in range(pixels):
                value = (row[p] - normal[p] * along[p]) * scales[n, p]
                back[p] = value * (one if seen[p] > 0 else low)


@_compiled
def _enlarge(x: Floats, weight: Floats, out: Floats) -> None:
    """Fill `out` (N, O, 2H, 2W); weights (O, C, 2, 2, 2, 2) of x's pixels for each of the four."""
    count, maps, height, width = x.shape
    pitch = width + 2
    rows = np.zeros((maps + 1, (height + 2) * pitch + 2), np.float32)  # the last stays zero
    totals = np.empty((2, height * pitch), np.float32)
    for n in range(count):
        _lay_out(x[n], rows)
        for o in range(len(weight)):
            for i in range(2):
                for j in range(2):
                    totals[j] = 0
                    start = i * pitch + j
                    for c in range(0, maps, 2):
                        second = min(c + 1, maps)
                        _add_fours(
                            rows[c, start:],
                            rows[second, start:],
                            weight[o, c, i, j],
                            weight[o, min(second, maps - 1), i, j],
                            totals[j],
                            pitch,
                        )
                for y in range(height):
                    line = out[n, o, 2 * y + i]
                    for p in range(width):
                        line[2 * p] = totals[0, y * pitch + p]
                        line[2 * p + 1] = totals[1, y * pitch + p]


@_compiled
def _add_fours(
    row: Floats, other: Floats, weight: Floats, more: Floats, total: Floats, pitch: int
) -> None:
    """Add two channels' four products each to all pixels."""
    a, b, c, d = weight[0, 0], weight[0, 1], weight[1, 0], weight[1, 1]
    e, f, g, h = more[0, 0], more[0, 1], more[1, 0], more[1, 1]
    below, beneath = row[pitch:], other[pitch:]
    for p in range(len(total)):
        total[p] += (a * row[p] + b * row[p + 1] + c * below[p] + d * below[p + 1]) + (
            e * other[p] + f * other[p + 1] + g * beneath[p] + h * beneath[p + 1]
        )


@_compiled
def _halve(h: Floats, x: Floats, slope: float, out: Floats) -> None:
    """Fill `out` (N, C, H/2, W/2) with means of h times the slope at x."""
    low, high = np.float32(0.25 * slope), np.float32(0.25)
    count, maps, height, width = out.shape
    for n in range(count):
        for c in range(maps):
            for y in range(height):
                means = out[n, c, y]
                for p in range(width):
                    total = np.float32(0)
                    for i in range(2):
                        for j in range(2):
                            above = x[n, c, 2 * y + i, 2 * p + j] > 0
                            total += h[n, c, 2 * y + i, 2 * p + j] * (high if above else low)
                    means[p] = total


@_compiled
def _spread(h: Floats, x: Floats, slope: float, out: Floats) -> None:
    """Fill `out` (N, C, H, W) with h (N, C, H/2, W/2) times the slope at x."""
    low, high = np.float32(0.25 * slope), np.float32(0.25)
    count, maps, height, width = h.shape
    for n in range(count):
        for c in range(maps):
            for y in range(2 * height):
                seen, spread, given = x[n, c, y], out[n, c, y], h[n, c, y // 2]
                for p in range(width):
                    for j in range(2):
                        above = seen[2 * p + j] > 0
                        spread[2 * p + j] = given[p] * (high if above else low)


@_compiled
def _lay_out(image: Floats, rows: Floats) -> None:
    """Write each channel (H, W) of an image into its row, inside a border of zeros."""
    maps, height, width = image.shape
    for c in range(maps):
        for y in range(height):
            start = (y + 1) * (width + 2) + 1
            for p in range(width):
                rows[c, start + p] = image[c, y, p]


@_compiled
def _add_products(row: Floats, weight: Floats, total: Floats, pitch: int) -> None:
    """Add a channel's nine products to all pixels; those of the border are nobody's."""
    a, b, c = weight[0, 0], weight[0, 1], weight[0, 2]
    d, e, f = weight[1, 0], weight[1, 1], weight[1, 2]
    g, h, i = weight[2, 0], weight[2, 1], weight[2, 2]
    below, last = row[pitch:], row[2 * pitch :]
    for p in range(len(total)):
        total[p] += (
            (a * row[p] + b * row[p + 1] + c * row[p + 2])
            + (d * below[p] + e * below[p + 1] + f * below[p + 2])
            + (g * last[p] + h * last[p + 1] + i * last[p + 2])
        )


@_compiled
def _add_sums(row: Floats, gradient: Floats, out: Doubles, pitch: int) -> None:
    """Add the nine sums over all pixels of a channel times a gradient."""
    a = b = c = d = e = f = g = h = i = np.float32(0)
    below, last = row[pitch:], row[2 * pitch :]
    for p in range(len(gradient)):
        value = gradient[p]
        a += value * row[p]
        b += value * row[p + 1]
        c += value * row[p + 2]
        d += value * below[p]
        e += value * below[p + 1]
        f += value * below[p + 2]
        g += value * last[p]
        h += value * last[p + 1]
        i += value * last[p + 2]
    sums = ((a, b, c), (d, e, f), (g, h, i))
    for y in range(3):
        for x in range(3):
            out[y, x] += sums[y][x]
