"""Our machine code against float64: values, first derivatives, and derivatives of derivatives."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pgbench import winograd
from pgbench.products import differentiable_product
from pgbench.small_conv import halved_lrelu, small_conv, small_enlarging_conv
from pgbench.small_norm import small_batch_norm
from pgbench.winograd import winograd_conv

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

            images = drawn(3, 3, 8, 8).to(weights[0].dtype).requires_grad_()
            (gradient,) = torch.autograd.grad(score(images), images, create_graph=True)
            return (gradient.flatten(1).norm(dim=1) - 1).square()

        return of

    ours = penalty(small_conv, lambda x: halved_lrelu(x, 0.2))
    check(ours, penalty(convolved, halved), weights)


SHAPES = [(1, 1, 1, 2, 2), (3, 5, 4, 4, 6), (2, 20, 33, 8, 8), (40, 3, 4, 12, 10), (1, 2, 3, 6, 90)]


def of_scaled_weights(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return convolved(x, 0.3 * weight, bias)


@pytest.mark.parametrize("tiles", [7, 1024])
@pytest.mark.parametrize(("count", "maps_in", "maps_out", "height", "width"), SHAPES)
def test_winograds_convolution(
    count: int,
    maps_in: int,
    maps_out: int,
    height: int,
    width: int,
    tiles: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where it takes a few images at a time."""
    monkeypatch.setattr(winograd, "_TILES", tiles)
    x, weight = drawn(count, maps_in, height, width), drawn(maps_out, maps_in, 3, 3, seed=1)
    ours = partial(winograd_conv, scale=0.3)
    check(ours, of_scaled_weights, [x, weight], twice=True)
    check(ours, of_scaled_weights, [x, weight, drawn(maps_out, seed=2)], twice=True)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_product(transposed: bool) -> None:
    """Its derivative lies in memory as the operand does."""
    a, b = drawn(5, 7), drawn(7, 6, seed=1).t() if transposed else drawn(6, 7, seed=1)
    check(differentiable_product, lambda a, b: a @ b.t(), [a, b], twice=True)
    b.requires_grad_()
    (gradient,) = torch.autograd.grad(differentiable_product(a, b).sum(), b)
    assert gradient.stride() == b.stride()


def test_winograds_convolutions_do_not_depend_on_the_cores() -> None:
    x, weight = drawn(5, 7, 8, 8), drawn(6, 7, 3, 3, seed=1)
    found = []
    for cores in (1, 2, 3):
        torch.set_num_threads(cores)
        found.append(derivatives(partial(winograd_conv, scale=0.3), [x, weight], twice=False))
        torch.set_num_threads(1)
    for one, *others in zip(*found, strict=True):
        assert all(torch.equal(one, other) for other in others)


def test_other_layouts_in_memory_give_the_same() -> None:
    x, weight = drawn(2, 3, 8, 8), drawn(4, 3, 3, 3, seed=1)
    last = x.contiguous(memory_format=torch.channels_last)
    turned = weight.transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(small_conv(last, turned), small_conv(x, weight))
    assert torch.equal(halved_lrelu(last, 0.2), halved_lrelu(x, 0.2))
    assert torch.equal(winograd_conv(last, turned, scale=1.0), winograd_conv(x, weight, scale=1.0))


def test_what_is_no_number_stays_none() -> None:
    x = drawn(1, 2, 4, 4)
    x[0, 0, 1, 1] = float("nan")
    assert small_conv(x, drawn(3, 2, 3, 3)).isnan().any()
    assert halved_lrelu(x, 0.2).isnan().any()
    assert winograd_conv(x, drawn(3, 2, 3, 3), scale=1.0).isnan().any()


@pytest.mark.parametrize(
    ("groups", "shape"),
    [(1, (2, 1, 1, 2)), (1, (4, 3, 8, 8)), (2, (6, 2, 5, 3)), (3, (3, 4, 2, 7))],
)
def test_batch_normalisation_of_groups(groups: int, shape: tuple[int, ...]) -> None:
    x = drawn(*shape) + torch.arange(shape[1])[:, None, None]  # no mean is 0
    gain, bias = 1 + drawn(shape[1], seed=1), drawn(shape[1], seed=2)

    def ours(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        return small_batch_norm(x, gain, bias, eps=1e-3, groups=groups)

    def plain(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        parts = x.chunk(groups)
        return torch.cat(
            [F.batch_norm(part, None, None, gain, bias, training=True, eps=1e-3) for part in parts]
        )

    check(ours, plain, [x, gain, bias], twice=True)


def test_batch_normalisation_of_a_constant() -> None:
    x, gain, bias = torch.full((2, 1, 4, 4), 3.0), torch.ones(1), torch.zeros(1)
    assert not small_batch_norm(x, gain, bias, eps=1e-4).any()


COMPUTED = """
import hashlib
import torch
from pgbench.products import differentiable_product
from pgbench.small_conv import halved_lrelu, small_conv, small_enlarging_conv
from pgbench.small_norm import small_batch_norm
from pgbench.winograd import winograd_conv

torch.set_num_threads(1)
found = hashlib.sha256()
for side, maps in ((4, 16), (8, 8), (16, 4)):
    rng = torch.Generator().manual_seed(side)
    x, weight, fours = (
        torch.randn(shape, generator=rng).requires_grad_()
        for shape in ((8, maps, side, side), (3, maps, 3, 3), (maps, 3, 4, 4))
    )
    gain, bias = torch.ones(maps, requires_grad=True), torch.zeros(maps, requires_grad=True)
    normal = small_batch_norm(x, gain, bias, eps=1e-4)
    back = torch.autograd.grad((normal.tanh() * normal).sum(), [x, gain], create_graph=True)
    again = torch.autograd.grad(sum((each.tanh() * each).sum() for each in back), [x, gain])
    halved, larger = halved_lrelu(x, 0.2), small_enlarging_conv(x, fours)
    both = small_conv(x, weight)
    sums = torch.autograd.grad(both.square().sum(), [x, weight])
    tiled = winograd_conv(x, weight, scale=0.3)
    sums += torch.autograd.grad(tiled.square().sum(), [x, weight])
    for each in (normal, *back, *again, halved, larger, both, tiled, *sums):
        found.update(each.detach().numpy().tobytes())
print(found.hexdigest())
"""


@pytest.mark.slow
def test_code_kept_on_disk_rounds_as_code_just_made(tmp_path: Path) -> None:
    """A run that is resumed by another process must not be another run."""
    made, kept = (
        subprocess.run(
            [sys.executable, "-c", COMPUTED],
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    )
    assert list(tmp_path.rglob("*.nbi"))
    assert kept == made
