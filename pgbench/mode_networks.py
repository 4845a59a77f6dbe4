"""The tiny networks of table 4, one convolution per resolution (paper, section 6.3, appendix D).

G has 64 maps at 4x4 and half as many at each doubling, D few enough to lose modes: a quarter or
half of G's. D scores the flattened 4x4 maps. Grown, G has a 3x3 toRGB and D a 1x1 fromRGB at every
resolution, with as many maps as the convolution above hands down (at full resolution, where there
is none, as its own gives); else G ends in its last toRGB and D begins with its first convolution.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgbench.config import DiscriminatorConfig, GeneratorConfig
from pgbench.layers import (
    BatchNorm,
    Conv,
    LatentConv,
    Linear,
    append_stddev,
    downscale,
    downscaled_lrelu,
    is_plain,
)
from pgbench.networks import (
    Discriminator,
    Generator,
    GeneratorLayer,
    check_images,
    check_lod,
    fraction_of,
    num_maps,
)
from pgbench.small_conv import small_conv, small_enlarging_conv

_FEW = 8  # maps; more of them fill a general kernel


class SmallConv(Conv):
    """A 3x3 convolution of a few maps, on a CPU with machine code of our own."""

    def forward(self, x: Tensor) -> Tensor:
        if not is_plain(x):
            return super().forward(x)
        weight = self.weight if self.scale == 1.0 else self.weight * self.scale
        return small_conv(x, weight, self.bias)


class SmallEnlargingConv(Conv):
    """A 3x3 convolution to few maps of what is enlarged before, on a CPU with code of our own."""

    def forward(self, x: Tensor) -> Tensor:
        if not is_plain(x) or len(self.weight) > _FEW:
            return super().forward(x)
        x = small_enlarging_conv(x, self.upscaling())
        return x if self.bias is None else x + self.bias[:, None, None]


class ModeGenerator(Generator):
    """Latents (N, latent_size) -> images NCHW, as `Generator`, with half its convolutions."""

    def _block(self, level: int, rng: torch.Generator) -> nn.Sequential:
        config, maps = self.config, num_maps(self.config, level - 1)
        equalized, bias = config.equalized_lr, not config.batch_norm
        conv: nn.Module
        if level == 2:
            conv = LatentConv(config.latent_size, maps, equalized=equalized, rng=rng, bias=bias)
        else:
            above = num_maps(config, level - 2)
            conv = SmallEnlargingConv(
                above, maps, kernel=3, equalized=equalized, rng=rng, bias=bias, upscale=True
            )
        layer = GeneratorLayer(conv, maps, config, slope=0.3)
        layer.norm = BatchNorm(maps) if config.batch_norm else None
        return nn.Sequential(layer)

    def _to_rgb(self, level: int, rng: torch.Generator) -> Conv:
        maps, equalized = num_maps(self.config, level - 1), self.config.equalized_lr
        return SmallConv(maps, 3, kernel=3, gain=1.0, equalized=equalized, rng=rng)


class _DiscriminatorBlock(nn.Module):
    """conv -> [batch norm] -> leaky ReLU -> 2x2 mean."""

    def __init__(
        self, maps_in: int, maps: int, config: DiscriminatorConfig, rng: torch.Generator
    ) -> None:
        super().__init__()
        bias, equalized = not config.batch_norm, config.equalized_lr
        self.conv = SmallConv(maps_in, maps, kernel=3, equalized=equalized, rng=rng, bias=bias)
        self.norm = BatchNorm(maps) if config.batch_norm else None

    def forward(self, x: Tensor, minibatches: int) -> Tensor:
        """`x` is so many minibatches, each normalised by itself."""
        x = self.conv(x)
        x = x if self.norm is None else self.norm(x, minibatches)
        return downscaled_lrelu(x, 0.2)


class ModeDiscriminator(nn.Module):
    """Images NCHW at the resolution of floor(lod) -> scores (N,).

    Without `rng` the initial weights are those of seed 0.
    """

    def __init__(self, config: DiscriminatorConfig, rng: torch.Generator | None = None) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0) if rng is None else rng
        _check(config)
        self.config = config
        sizes = range(2, config.resolution.bit_length())  # log2, 4 and up
        handed = {i: num_maps(config, min(i, sizes[-1] - 1)) for i in sizes}  # from above to 2**i
        self.from_rgb = nn.ModuleList()
        if config.kind == "growing-modes":
            self.from_rgb.extend(self._from_rgb(maps, rng) for maps in handed.values())
        top = handed[sizes[-1]] if self.from_rgb else 3
        self.blocks = nn.ModuleList(
            _DiscriminatorBlock(top if i == sizes[-1] else handed[i], handed[i - 1], config, rng)
            for i in sizes[1:]
        )
        features = (handed[2] + (config.minibatch_layer == "stddev")) * 4 * 4
        self.score = Linear(features, 1, equalized=config.equalized_lr, rng=rng)

    def forward(self, x: Tensor, lod: float = 0.0) -> Tensor:
        check_lod(lod, self.config.resolution)
        if lod and not self.from_rgb:
            raise ValueError(f"lod {lod} needs a discriminator of kind growing-modes")
        return self.at(x, math.floor(lod), fraction_of(lod, x))

    def at(
        self,
        x: Tensor,
        level: int,
        fraction: Tensor | None,
        noise: Sequence[Tensor] = (),
        *,
        minibatches: int = 1,
    ) -> Tensor:
        """Scores at lod `level` + `fraction`, a scalar tensor; None: nothing is faded.

        `x` is so many minibatches, each with statistics of its own.
        """
        check_images(x, level, self.config.resolution)
        first = len(self.blocks) - level
        image, x = x, self._seen(x, first)
        for i in range(first, 0, -1):
            x = self.blocks[i - 1](x, minibatches)
            if fraction is not None and self.from_rgb and i == first:
                x = torch.lerp(x, self._seen(downscale(image), first - 1), fraction)
        if self.config.minibatch_layer == "stddev":
            x = append_stddev(x, self.config.stddev_group, minibatches=minibatches)
        scores: Tensor = self.score(x.flatten(1))
        return scores.squeeze(1)

    def draw_noise(
        self, count: int, level: int, *, strength: float, rng: torch.Generator
    ) -> tuple[Tensor, ...]:
        """LSGAN is not for these networks: ValueError."""
        raise ValueError("the networks of table 4 train with wgan-gp, not with lsgan")

    def initialise_from_reals(self, x: Tensor, lod: float) -> None:
        """Nothing here depends on data."""

    def _seen(self, image: Tensor, index: int) -> Tensor:
        return F.leaky_relu(self.from_rgb[index](image), 0.2) if self.from_rgb else image

    def _from_rgb(self, maps: int, rng: torch.Generator) -> Conv:
        return Conv(3, maps, kernel=1, equalized=self.config.equalized_lr, rng=rng)


AnyDiscriminator = Discriminator | ModeDiscriminator


def make_generator(config: GeneratorConfig, rng: torch.Generator | None = None) -> Generator:
    """G of the kind that `config` names."""
    return (ModeGenerator if config.kind == "modes" else Generator)(config, rng)


def make_discriminator(
    config: DiscriminatorConfig, rng: torch.Generator | None = None
) -> AnyDiscriminator:
    """D of the kind that `config` names."""
    if config.kind == "progressive":
        return Discriminator(config, rng)
    return ModeDiscriminator(config, rng)


def _check(config: DiscriminatorConfig) -> None:
    """ValueError when `config` asks for what these networks do not have."""
    refused = {
        "layer_norm": config.layer_norm,
        "minibatch_layer discrimination": config.minibatch_layer == "discrimination",
        "fused_from": config.fused_from is not None,
    }
    for name, asked in refused.items():
        if asked:
            raise ValueError(f"a discriminator of kind {config.kind} has no {name}; leave it out")
