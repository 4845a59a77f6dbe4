"""Losses of G and D (paper, appendix A.1 and B).

Scores are (N,) float32; images NCHW float32 in [-1, 1]; a loss is a scalar.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pgbench.config import LossConfig

Score = Callable[[Tensor], Tensor]


class DLoss(NamedTuple):
    """The loss to minimise and what it is made of, each a scalar tensor."""

    total: Tensor
    real_score: Tensor
    fake_score: Tensor
    penalty: Tensor


def g_loss(fake_scores: Tensor, config: LossConfig) -> Tensor:
    """-E[D(fake)] for WGAN-GP, E[D(fake)^2] for LSGAN, where D learns 0 for reals, 1 for fakes."""
    return fake_scores.square().mean() if config.kind == "lsgan" else -fake_scores.mean()


def d_loss(real_scores: Tensor, fake_scores: Tensor, config: LossConfig) -> DLoss:
    """What D minimises of its scores; WGAN-GP adds a penalty to it.

    E[D(fake)] - E[D(real)] + ε_drift E[D(real)²] for WGAN-GP, E[D(real)²] + 0.1 E[(D(fake) - 1)²]
    for LSGAN.
    """
    real, fake = real_scores.mean(), fake_scores.mean()
    if config.kind == "lsgan":
        total = real_scores.square().mean() + 0.1 * (fake_scores - 1).square().mean()
    else:
        total = fake - real + config.eps_drift * real_scores.square().mean()
    return DLoss(total, real, fake, torch.zeros_like(total))


def gradient_penalty(
    score: Score, real: Tensor, fake: Tensor, *, mix: Tensor, gamma: float
) -> Tensor:
    """E[(‖∇D(x̂)‖₂ - γ)²]/γ² at x̂ = real + mix·(fake - real)."""
    mixed = torch.lerp(real, fake, mix[:, None, None, None])
    norm = _gradient(score, mixed).flatten(1).norm(dim=1)
    penalty: Tensor = (norm - gamma).square().mean() / gamma**2
    return penalty


def _gradient(score: Score, images: Tensor) -> Tensor:
    """∇ of the scores by the images, to be differentiated again."""
    if torch.compiler.is_compiling():  # as a function it is part of the graph, but slow without one
        found: Tensor = torch.func.grad(lambda x: score(x).sum())(images)
        return found
    images = images.detach().requires_grad_()
    return torch.autograd.grad(score(images).sum(), images, create_graph=True)[0]


class LsganNoise:
    """Strength of D's input noise: 0.2 max(0, d̂ - 0.5)², d̂ a 0.9 average of the clipped D loss."""

    def __init__(self, average: float = 0.0) -> None:
        self.average = average

    @property
    def strength(self) -> float:
        return 0.2 * max(0.0, self.average - 0.5) ** 2

    def update(self, d_loss_value: float) -> None:
        """Take in one D loss, clipped to [0, 1]."""
        clipped = min(max(d_loss_value, 0.0), 1.0)
        self.average = 0.9 * self.average + 0.1 * clipped
