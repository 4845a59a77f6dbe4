"""What D and G minimise, as pure functions of weights, images and random numbers.

They keep no state and draw nothing, so that each compiles into one graph with its derivatives,
the gradient penalty's second ones included: a graph for each resolution, with the fade's weight
as an input.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from pgbench.config import RunConfig
from pgbench.losses import DLoss, g_loss, gradient_penalty, lsgan_d_loss, wgan_gp_d_loss
from pgbench.networks import Discriminator, Generator


@dataclass(frozen=True)
class Place:
    """Where in the growing: the level, floor(lod), and the weight of the lower one (a scalar)."""

    level: int
    fraction: Tensor | None  # None: nothing is faded


class Steps:
    """G's images and the two losses, each of one share of a minibatch."""

    is_compiled = False

    def __init__(self, G: Generator, D: Discriminator, config: RunConfig) -> None:
        self.G, self.D, self.loss = G, D, config.loss
        self.precision = config.numerics.precision

    def fakes(self, z: Tensor, place: Place) -> Tensor:
        """Images of latents (N, latent_size), NCHW float32."""
        with self._autocast(z):
            return self.G.at(z, place.level, place.fraction).float()

    def d(
        self,
        reals: Tensor,
        fakes: Tensor,
        mix: Tensor,
        noise: Sequence[Sequence[Tensor]],
        place: Place,
    ) -> DLoss:
        """D's loss on reals and fakes; `noise` is LSGAN's for the ones and the others."""

        with self._autocast(reals):
            scores = [
                self.D.at(images, place.level, place.fraction, one).float()
                for images, one in zip((reals, fakes), noise, strict=True)
            ]
        real_scores, fake_scores = scores
        if self.loss.kind == "lsgan":
            return lsgan_d_loss(real_scores, fake_scores)
        penalty = gradient_penalty(
            lambda images: self.D.at(images, place.level, place.fraction),
            reals,
            fakes,
            mix=mix,
            gamma=self.loss.gamma,
        )
        return wgan_gp_d_loss(real_scores, fake_scores, penalty, self.loss)

    def g(self, z: Tensor, noise: Sequence[Tensor], place: Place) -> tuple[Tensor, Tensor]:
        """G's loss on the images of latents, and these images, detached."""
        fakes = self.fakes(z, place)
        with self._autocast(z):
            scores = self.D.at(fakes, place.level, place.fraction, noise).float()
        return g_loss(scores, self.loss), fakes.detach()

    def _autocast(self, like: Tensor) -> AbstractContextManager[object]:
        return torch.autocast(
            like.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"
        )
