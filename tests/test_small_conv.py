"""Our machine code against float64: values, first derivatives, and derivatives of derivatives."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pgbench.small_conv import (
    halved_lrelu,
    small_conv,
    small_enlarging_conv,
)

Function = Callable[..., Tensor]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return 0.5 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.conv2d(x, weight, bias, padding=1)


def halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(F.leaky_relu(x, 0.2), 2)


def derivatives(function: Function, inputs: list[Tensor], *, twice: bool) -> list[Tensor]:
    """The values, what a curved scalar of them gives by the inputs, and so again, as float64."""
    given = [each.clone().requires_grad_() for each in inputs]
    out = function(*given)
    first = torch.autograd.grad((out.tanh() * out).sum(), given, create_graph=twice)
    found = [out, *first]
    if twice:
        scalar = sum((each.tanh() * each).sum() for each in first)
        found += torch.autograd.grad(scalar, given)
    return [each.detach().double() for each in found]


def check(ours: Function, plain: Function, inputs: list[Tensor], *, twice: bool = False) -> None:
    """Ours in float32 is the plain function in float64, but for rounding."""
    found = derivatives(ours, inputs, twice=twice)
    expected = derivatives(plain, [each.double() for each in inputs], twice=twice)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert float((a - b).norm()) < 1e-5 * float(b.norm())


@pytest.mark.parametrize(
    ("count", "maps_in", "maps_out", "height", "width"),
    [(1, 1, 1, 1, 1), (3, 3, 2, 8, 8), (2, 2, 5, 4, 7), (2, 7, 3, 5, 2), (1, 8, 3, 32, 32)],
)
def test_a_convolution(count: int, maps_in: int, maps_out: int, height: int, width: int) -> None:
    x, weight = drawn(count, maps_in, height, width), drawn(maps_out, maps_in, 3, 3, seed=1)
    check(small_conv, convolved, [x, weight], twice=True)
    check(small_conv, convolved, [x, weight, drawn(maps_out, seed=2)], twice=True)


@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (3, 2, 8, 8), (2, 5, 4, 6)])
def test_means_of_leaky_relus(shape: tuple[int, ...]) -> None:
    check(lambda x: halved_lrelu(x, 0.2), halved, [drawn(*shape)], twice=True)


@pytest.mark.parametrize(
    ("count", "maps_in", "maps_out", "height", "width"),
    [(1, 1, 1, 1, 1), (2, 4, 3, 4, 4), (3, 5, 2, 3, 6), (1, 16, 8, 16, 16)],
)
def test_an_enlarging_convolution(
    count: int, maps_in: int, maps_out: int, height: int, width: int
) -> None:
    x, weight = drawn(count, maps_in, height, width), drawn(maps_in, maps_out, 4, 4, seed=1)

    def plain(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv_transpose2d(x, weight, stride=2, padding=1)

    check(small_enlarging_conv, plain, [x, weight])


def test_the_gradient_penalty_of_a_small_discriminator() -> None:
    """Two layers, and the derivative of a norm of a gradient by all weights."""
    weights = [drawn(2, 3, 3, 3, seed=1), drawn(4, 2, 3, 3, seed=2)]

    def penalty(conv: Function, half: Function) -> Function:
        def of(*weights: Tensor) -> Tensor:
            def score(x: Tensor) -> Tensor:
                for weight in weights:
                    x = half(conv(x, weight))
                return x.sum()

            images = drawn(3, 3, 8, 8).to(weights[0].dtype)
            return (torch.func.grad(score)(images).flatten(1).norm(dim=1) - 1).square()

        return of

    ours = penalty(small_conv, lambda x: halved_lrelu(x, 0.2))
    check(ours, penalty(convolved, halved), weights)


def test_other_layouts_in_memory_give_the_same() -> None:
    x, weight = drawn(2, 3, 8, 8), drawn(4, 3, 3, 3, seed=1)
    last = x.contiguous(memory_format=torch.channels_last)
    turned = weight.transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(small_conv(last, turned), small_conv(x, weight))
    assert torch.equal(halved_lrelu(last, 0.2), halved_lrelu(x, 0.2))


def test_what_is_no_number_stays_none() -> None:
    x = drawn(1, 2, 4, 4)
    x[0, 0, 1, 1] = float("nan")
    assert small_conv(x, drawn(3, 2, 3, 3)).isnan().any()
    assert halved_lrelu(x, 0.2).isnan().any()
