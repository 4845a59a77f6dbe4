"""Generator and discriminator, grown by `lod` (paper, section 2 and table 2).

`lod` 0 is full resolution, +1 halves it; its fraction is the weight of the lower resolution.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgbench.config import DiscriminatorConfig, GeneratorConfig
from pgbench.layers import (
    BatchNorm,
    Conv,
    LatentConv,
    LayerNorm,
    Linear,
    MinibatchDiscrimination,
    append_stddev,
    downscale,
    downscaled_lrelu,
    input_noise,
    pixelnorm,
    upscale,
)

_Mean = Literal["none", "before", "after"]
Noise = Iterator[Tensor] | None  # what multiplies the input of D's next convolution


def num_maps(config: GeneratorConfig | DiscriminatorConfig, i: int) -> int:
    """nf(i) = min(fmap_base / 2**i, fmap_max); a resolution of 2**(i+1) has nf(i) maps."""
    return int(max(1, min(config.fmap_base // 2**i, config.fmap_max)))


def _levels(resolution: int) -> range:
    """log2 of the resolutions from 4 to `resolution`."""
    return range(2, int(math.log2(resolution)) + 1)


def fraction_of(lod: float, like: Tensor) -> Tensor | None:
    """The weight of the lower resolution, None at a whole `lod`."""
    return like.new_tensor(lod % 1.0) if lod % 1.0 else None


def check_lod(lod: float, resolution: int) -> None:
    lowest = _levels(resolution)[-1] - 2
    if not 0 <= lod <= lowest:
        raise ValueError(f"lod {lod} of a {resolution}x{resolution} network must be 0 to {lowest}")


def check_images(x: Tensor, level: int, resolution: int) -> None:
    side = resolution >> level
    if x.shape[1:] != (3, side, side):
        raise ValueError(
            f"images at lod {level} have the shape (N, 3, {side}, {side}), not {tuple(x.shape)}"
        )


class GeneratorLayer(nn.Module):
    """conv -> [batch norm] -> activation -> [pixelnorm]."""

    def __init__(
        self, conv: nn.Module, maps: int, config: GeneratorConfig, *, slope: float = 0.2
    ) -> None:
        super().__init__()
        self.conv = conv
        self.norm = BatchNorm(maps) if config.batch_norm else None
        self.slope = 0.0 if config.activation == "relu" else slope
        self.pixelnorm = config.pixelnorm

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        x = F.leaky_relu(x, self.slope)
        return pixelnorm(x) if self.pixelnorm else x


class Generator(nn.Module):
    """Latents (N, latent_size) -> images NCHW float32 at the resolution of floor(lod).

    [-1, 1] is black to white; a linear output may leave it. Without `rng` the initial weights
    are those of seed 0.
    """

    def __init__(self, config: GeneratorConfig, rng: torch.Generator | None = None) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0) if rng is None else rng
        self.config = config
        self.blocks = nn.ModuleList(self._block(i, rng) for i in _levels(config.resolution))
        self.to_rgb = nn.ModuleList(self._to_rgb(i, rng) for i in _levels(config.resolution))

    def forward(self, z: Tensor, lod: float = 0.0) -> Tensor:
        check_lod(lod, self.config.resolution)
        return self.at(z, math.floor(lod), fraction_of(lod, z))

    def at(self, z: Tensor, level: int, fraction: Tensor | None) -> Tensor:
        """Images at lod `level` + `fraction`, a scalar tensor; None: nothing is faded."""
        last = len(self.blocks) - 1 - level
        x = pixelnorm(z) if self.config.normalize_latents else z
        before = x
        for block in self.blocks[: last + 1]:
            before, x = x, block(x)
        image: Tensor = self.to_rgb[last](x)
        if fraction is not None and last:
            image = torch.lerp(image, upscale(self.to_rgb[last - 1](before)), fraction)
        return image.tanh() if self.config.output == "tanh" else image

    def _block(self, level: int, rng: torch.Generator) -> nn.Sequential:
        config, maps = self.config, num_maps(self.config, level - 1)
        equalized, bias = config.equalized_lr, not config.batch_norm
        first: nn.Module
        if level == 2:
            first = LatentConv(config.latent_size, maps, equalized=equalized, rng=rng, bias=bias)
        else:
            above = num_maps(config, level - 2)
            first = Conv(
                above, maps, kernel=3, equalized=equalized, rng=rng, bias=bias, upscale=True
            )
        second = Conv(maps, maps, kernel=3, equalized=equalized, rng=rng, bias=bias)
        number = 0 if level == 2 else 1  # upscaling once was a layer; snapshots have its number
        return nn.Sequential(
            OrderedDict(
                (str(number + i), GeneratorLayer(conv, maps, config))
                for i, conv in enumerate((first, second))
            )
        )

    def _to_rgb(self, level: int, rng: torch.Generator) -> Conv:
        maps, equalized = num_maps(self.config, level - 1), self.config.equalized_lr
        return Conv(maps, 3, kernel=1, gain=1.0, equalized=equalized, rng=rng)


class _DiscriminatorLayer(nn.Module):
    """[noise] -> conv -> [layer norm] -> leaky ReLU."""

    def __init__(
        self,
        maps_in: int,
        maps_out: int,
        config: DiscriminatorConfig,
        rng: torch.Generator,
        *,
        final: bool = False,
    ) -> None:
        super().__init__()
        self.conv = Conv(
            maps_in,
            maps_out,
            kernel=4 if final else 3,
            valid=final,
            bias=not config.layer_norm,
            equalized=config.equalized_lr,
            rng=rng,
        )
        self.norm = LayerNorm(maps_out) if config.layer_norm else None

    def forward(self, x: Tensor, noise: Noise, *, mean: _Mean = "none") -> Tensor:
        """`mean`: where the 2x2 mean is taken, before or after the activation."""
        x = self.conv(x if noise is None else x * next(noise))
        x = downscale(x) if mean == "before" else x
        x = x if self.norm is None else self.norm(x)
        return downscaled_lrelu(x, 0.2) if mean == "after" else F.leaky_relu(x, 0.2)


class _DiscriminatorBlock(nn.ModuleList):
    """The layers of one resolution, then the 2x2 mean; in a fused one, before the activation."""

    def __init__(self, layers: Iterable[nn.Module], *, fused: bool) -> None:
        super().__init__(layers)
        self.fused = fused

    def forward(self, x: Tensor, noise: Noise) -> Tensor:
        first, second = self
        mean = "before" if self.fused else "after"
        pooled: Tensor = second(first(x, noise), noise, mean=mean)
        return pooled


class Discriminator(nn.Module):
    """Images NCHW at the resolution of floor(lod) -> scores (N,).

    Without `rng` the initial weights are those of seed 0.
    """

    def __init__(self, config: DiscriminatorConfig, rng: torch.Generator | None = None) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0) if rng is None else rng
        if config.batch_norm:
            raise ValueError("a discriminator of kind progressive has no batch_norm; leave it out")
        self.config = config
        levels = _levels(config.resolution)
        self.from_rgb = nn.ModuleList(self._from_rgb(i, rng) for i in levels)
        self.blocks = nn.ModuleList(self._block(i, rng) for i in levels[1:])
        maps, features = num_maps(config, 1), num_maps(config, 0)
        extra = 1 if config.minibatch_layer == "stddev" else 0
        self.conv = _DiscriminatorLayer(maps + extra, maps, config, rng)
        self.dense = _DiscriminatorLayer(maps, features, config, rng, final=True)
        self.discrimination = None
        if config.minibatch_layer == "discrimination":
            self.discrimination = MinibatchDiscrimination(features, rng=rng)
            features += len(self.discrimination.bias)
        self.score = Linear(features, 1, equalized=config.equalized_lr, rng=rng)

    def forward(self, x: Tensor, lod: float = 0.0) -> Tensor:
        check_lod(lod, self.config.resolution)
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

        `x` is so many minibatches, each with a statistic of its own.
        """
        check_images(x, level, self.config.resolution)
        features = self._features(x, level, fraction, iter(noise) if noise else None, minibatches)
        if self.discrimination is not None:
            each = features.chunk(minibatches)
            features = torch.cat([self.discrimination(features) for features in each])
        scores: Tensor = self.score(features)
        return scores.squeeze(1)

    def draw_noise(
        self, count: int, level: int, *, strength: float, rng: torch.Generator
    ) -> tuple[Tensor, ...]:
        """LSGAN's noise for the 3x3 and 4x4 convolutions that `count` images at `level` pass."""
        blocks = [*reversed(self.blocks[: len(self.blocks) - level]), self.conv, self.dense]
        convs = [part for block in blocks for part in block.modules() if isinstance(part, Conv)]
        device = self.score.weight.device
        return tuple(
            input_noise(count, conv.weight.shape[1], strength=strength, rng=rng, device=device)
            for conv in convs
        )

    @torch.no_grad()
    def initialise_from_reals(self, x: Tensor, lod: float) -> None:
        """The data-dependent initialisation of minibatch discrimination; else nothing."""
        if self.discrimination is not None:
            features = self._features(x, math.floor(lod), fraction_of(lod, x), None)
            self.discrimination.initialise(features)

    def _features(
        self, x: Tensor, level: int, fraction: Tensor | None, noise: Noise, minibatches: int = 1
    ) -> Tensor:
        """What the minibatch discrimination or the score sees, (N, nf(0))."""
        first = len(self.from_rgb) - 1 - level
        image, x = x, F.leaky_relu(self.from_rgb[first](x), 0.2)
        for i in range(first, 0, -1):
            x = self.blocks[i - 1](x, noise)
            if fraction is not None and i == first:
                lower = F.leaky_relu(self.from_rgb[first - 1](downscale(image)), 0.2)
                x = torch.lerp(x, lower, fraction)
        if self.config.minibatch_layer == "stddev":
            x = append_stddev(x, self.config.stddev_group, minibatches=minibatches)
        features: Tensor = self.dense(self.conv(x, noise), noise)
        return features.flatten(1)

    def _from_rgb(self, level: int, rng: torch.Generator) -> Conv:
        maps = num_maps(self.config, level - 1)
        return Conv(3, maps, kernel=1, equalized=self.config.equalized_lr, rng=rng)

    def _block(self, level: int, rng: torch.Generator) -> _DiscriminatorBlock:
        maps = [num_maps(self.config, i) for i in (level - 1, level - 1, level - 2)]
        layers = [_DiscriminatorLayer(a, b, self.config, rng) for a, b in pairwise(maps)]
        lowest = self.config.fused_from
        return _DiscriminatorBlock(layers, fused=lowest is not None and 2**level >= lowest)
