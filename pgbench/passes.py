"""Backward passes of a loss that is a sum of terms: on a CPU each on cores of its own.

The gradient penalty costs as much as D's other two passes together. One after the other on all
cores, each of their many small convolutions waits for the slowest core; side by side on half the
cores they wait once. The cores of the other passes, which are done earlier, can make meanwhile what
is needed next. What they compute does not depend on it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Extra = TypeVar("Extra")
Term = Callable[[], tuple[Tensor, Extra]]  # a scalar to minimise, and what else there is to tell

_other = ThreadPoolExecutor(1, "beside")


def backward(
    terms: Sequence[Term[Extra]],
    weights: Sequence[Tensor],
    scale: float,
    meanwhile: Callable[[], object] = lambda: None,
) -> list[tuple[Tensor, Extra]]:
    """Add the gradients of `scale` times the terms to the weights' own; returns the terms.

    `meanwhile` is called where cores would wait for the second of two terms, else not at all.
    """
    cores = torch.get_num_threads()
    if len(terms) == 2 and cores > 1 and weights[0].device.type == "cpu":
        found = _side_by_side(terms[0], terms[1], weights, cores, meanwhile)
    else:
        found = [_differentiated(term, weights) for term in terms]
    _add([gradients for gradients, _, _ in found], weights, scale)
    return [(value, extra) for _, value, extra in found]


_Found = tuple[Sequence[Tensor | None], Tensor, Extra]


def _side_by_side(
    one: Term[Extra],
    two: Term[Extra],
    weights: Sequence[Tensor],
    cores: int,
    meanwhile: Callable[[], object],
) -> list[_Found[Extra]]:
    """The second term, which takes longer, in this thread: another one begins a little later."""

    def first() -> _Found[Extra]:
        torch.set_num_threads(cores - cores // 2)
        found = _differentiated(one, weights)
        meanwhile()
        return found

    beside = _other.submit(first)
    torch.set_num_threads(cores // 2)
    try:
        second = _differentiated(two, weights)
    finally:
        beside.exception()  # waits: it must not work on after an error here
        torch.set_num_threads(cores)
    return [beside.result(), second]


def _differentiated(term: Term[Extra], weights: Sequence[Tensor]) -> _Found[Extra]:
    value, extra = term()
    gradients = torch.autograd.grad(value, weights, allow_unused=True)
    return gradients, value.detach(), extra


def _add(terms: Sequence[Sequence[Tensor | None]], weights: Sequence[Tensor], scale: float) -> None:
    """Add up the terms first, as two processes that make a part each do."""
    for weight, *gradients in zip(weights, *terms, strict=True):
        there = [gradient for gradient in gradients if gradient is not None]
        if there:
            total = sum(there[1:], there[0])
            scaled = total if scale == 1 else total * scale
            added = scaled if weight.grad is None else weight.grad + scaled
            weight.grad = _lying_as(weight, added)


def _lying_as(weight: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in memory as the weight is: torch's fused Adam takes both as they lie there."""
    if gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight).copy_(gradient)
