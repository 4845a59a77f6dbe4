"""Matrix products on a CPU, by oneDNN as the convolutions of torch are.

Those of torch itself are made by MKL, which is slower on processors of other makers.
"""

from typing import Any

import torch
from torch import Tensor

IS_HERE = hasattr(torch.ops.mkldnn, "_linear_pointwise")  # not every torch has oneDNN


def product(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b.t()` of float32 matrices (R, K) and (S, K) on the CPU; (R, S), without derivatives."""
    made: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    return made


def differentiable_product(a: Tensor, b: Tensor) -> Tensor:
    """The same, differentiable as often as you like."""
    made: Tensor = _Product.apply(a, b)
    return made


class _Product(torch.autograd.Function):
    """Its derivatives are products, too."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return product(a, b)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        to_a, to_b = ctx.needs_input_grad
        return (
            _Product.apply(gradient, b.t()) if to_a else None,
            _as_it_lies(b, gradient.t(), a.t()) if to_b else None,
        )


def _as_it_lies(b: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The product of both, in memory as `b` is: it would cost a copy else."""
    if b.is_contiguous():
        made: Tensor = _Product.apply(left, right)
    else:
        made = _Product.apply(right, left).t()
    return made
