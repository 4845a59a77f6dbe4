"""Terms side by side give the gradients of one after the other, bit for bit."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from pgbench.passes import Term, backward


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 3))


@pytest.fixture(params=[1, 2, 3])
def cores(request: pytest.FixtureRequest) -> Iterator[int]:
    torch.set_num_threads(request.param)
    yield request.param
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(1)


def terms(network: nn.Module) -> list[Term[str]]:
    """Two scalars of a network; the second one needs its last layer alone."""
    images = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(1))

    def one() -> tuple[Tensor, str]:
        return network(images).square().mean(), "one"

    def two() -> tuple[Tensor, str]:
        return network[2](torch.ones(1, 8, 5, 5)).sum(), "two"  # type: ignore[index]

    return [one, two]


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_gradients_and_values_do_not_depend_on_the_cores(
    cores: int, scale: float, network: nn.Module
) -> None:
    weights = list(network.parameters())
    expected = [torch.zeros_like(weight) for weight in weights]
    for term in terms(network):
        value, _ = term()
        found = torch.autograd.grad(value, weights, allow_unused=True)
        for total, gradient in zip(expected, found, strict=True):
            total += 0 if gradient is None else gradient
    told = backward(terms(network), weights, scale)
    assert [extra for _, extra in told] == ["one", "two"]
    for weight, gradient in zip(weights, expected, strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, scale * gradient)
    first = [weight.grad.clone() for weight in weights if weight.grad is not None]
    backward(terms(network), weights, scale)  # adds to what is there
    for weight, once in zip(weights, first, strict=True):
        assert weight.grad is not None
        assert torch.equal(weight.grad, 2 * once)


def test_one_thread_and_two_agree_bit_for_bit(network: nn.Module) -> None:
    weights, found = list(network.parameters()), []
    for count in (1, 2):
        torch.set_num_threads(count)
        network.zero_grad()
        backward(terms(network), weights, 1)
        found.append([weight.grad.clone() for weight in weights if weight.grad is not None])
    torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("bad", [0, 1])
def test_an_error_of_either_term_is_raised_and_the_cores_given_back(
    bad: int, cores: int, network: nn.Module
) -> None:
    def broken() -> tuple[Tensor, str]:
        raise FloatingPointError("no number")

    both = terms(network)
    both[bad] = broken
    with pytest.raises(FloatingPointError, match="no number"):
        backward(both, list(network.parameters()), 1)
    assert all(weight.grad is None for weight in network.parameters())


def test_what_is_needed_next_is_made_meanwhile_where_a_core_waits(
    cores: int, network: nn.Module
) -> None:
    made: list[int] = []
    backward(
        terms(network), list(network.parameters()), 1, lambda: made.append(torch.get_num_threads())
    )
    assert made == ([] if cores == 1 else [cores - cores // 2])
