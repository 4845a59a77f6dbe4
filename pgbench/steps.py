"""What D and G minimise, as pure functions of weights, images and random numbers.

They keep no state and draw nothing, so that each compiles into one graph with its derivatives,
the gradient penalty's second ones included: a graph for each resolution, with the fade's weight
as an input.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pgbench.config import RunConfig
from pgbench.losses import DLoss, d_loss, g_loss, gradient_penalty
from pgbench.mode_networks import AnyDiscriminator
from pgbench.networks import Generator
from pgbench.passes import Term


@dataclass(frozen=True)
class Place:
    """Where in the growing: the level, floor(lod), and the weight of the lower one (a scalar)."""

    level: int
    fraction: Tensor | None  # None: nothing is faded


class Steps:
    """G's images and the two losses, each of one share of a minibatch."""

    is_compiled = False

    def __init__(self, G: Generator, D: AnyDiscriminator, config: RunConfig) -> None:
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
        loss = self.d_scores(reals, fakes, noise, place)
        if self.loss.kind == "lsgan":
            return loss
        penalty = self.d_penalty(reals, fakes, mix, place)
        return loss._replace(total=loss.total + penalty, penalty=penalty)

    def d_scores(
        self, reals: Tensor, fakes: Tensor, noise: Sequence[Sequence[Tensor]], place: Place
    ) -> DLoss:
        """D's loss without its penalty."""
        with self._autocast(reals):
            both = torch.cat([reals, fakes])  # one pass, twice as large, is faster than two
            joint = [torch.cat(each) for each in zip(*noise, strict=True)]
            scores = self.D.at(both, place.level, place.fraction, joint, minibatches=2)
        real_scores, fake_scores = scores.float().chunk(2)
        return d_loss(real_scores, fake_scores, self.loss)

    def d_penalty(self, reals: Tensor, fakes: Tensor, mix: Tensor, place: Place) -> Tensor:
        """λ times the gradient penalty, in float32."""

        def score(images: Tensor) -> Tensor:
            return self.D.at(images, place.level, place.fraction)

        gamma = self.loss.gamma
        return self.loss.gp_lambda * gradient_penalty(score, reals, fakes, mix=mix, gamma=gamma)

    def d_terms(
        self,
        reals: Tensor,
        fakes: Tensor,
        mix: Tensor,
        noise: Sequence[Sequence[Tensor]],
        place: Place,
    ) -> list[Term[DLoss]]:
        """What D's loss is the sum of, to be differentiated one by one."""
        if self.is_compiled or self.loss.kind == "lsgan":
            return [_with_parts(partial(self.d, reals, fakes, mix, noise, place))]

        def penalty() -> DLoss:
            value = self.d_penalty(reals, fakes, mix, place)
            nothing = torch.zeros_like(value)
            return DLoss(value, nothing, nothing, value)

        return [
            _with_parts(partial(self.d_scores, reals, fakes, noise, place)),
            _with_parts(penalty),
        ]

    def g(
        self, z: Tensor, noise: Sequence[Tensor], place: Place, fakes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """G's loss on the images of latents, if not made yet, and these images, detached."""
        fakes = self.fakes(z, place) if fakes is None else fakes
        with self._autocast(z):
            scores = self.D.at(fakes, place.level, place.fraction, noise).float()
        return g_loss(scores, self.loss), fakes.detach()

    def _autocast(self, like: Tensor) -> AbstractContextManager[object]:
        return torch.autocast(
            like.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"
        )


def _with_parts(loss: Callable[[], DLoss]) -> Term[DLoss]:
    """The total to minimise, and all that it is made of."""

    def term() -> tuple[Tensor, DLoss]:
        found = loss()
        return found.total, DLoss(*(part.detach() for part in found))  # lets go of the graph

    return term
