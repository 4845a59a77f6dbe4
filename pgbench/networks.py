"""Generator and discriminator, grown by `lod` (paper, section 2 and table 2).

`lod` 0 is full resolution, +1 halves it; its fraction is the weight of the lower resolution.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgbench.config import DiscriminatorConfig, GeneratorConfig
from pgbench.layers import (
    BatchNorm,
    Conv,
    InputNoise,
    LatentConv,
    LayerNorm,
    Linear,
    MinibatchDiscrimination,
    append_stddev,
    downscale,
    pixelnorm,
    upscale,
)


def num_maps(config: GeneratorConfig | DiscriminatorConfig, i: int) -> int:
    """nf(i) = min(fmap_base / 2**i, fmap_max); a resolution of 2**(i+1) has nf(i) maps."""
    return int(max(1, min(config.fmap_base // 2**i, config.fmap_max)))


def _levels(resolution: int) -> range:
    """log2 of the resolutions from 4 to `resolution`."""
    return range(2, int(math.log2(resolution)) + 1)


def _check_lod(lod: float, resolution: int) -> None:
    lowest = _levels(resolution)[-1] - 2
    if not 0 <= lod <= lowest:
        raise ValueError(f"lod {lod} of a {resolution}x{resolution} network must be 0 to {lowest}")


class _GeneratorLayer(nn.Module):
    """conv -> [batch norm] -> activation -> [pixelnorm]."""

    def __init__(self, conv: nn.Module, maps: int, config: GeneratorConfig) -> None:
        super().__init__()
        self.conv = conv
        self.norm = BatchNorm(maps) if config.batch_norm else None
        self.slope = 0.0 if config.activation == "relu" else 0.2
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
        _check_lod(lod, self.config.resolution)
        last = len(self.blocks) - 1 - math.floor(lod)
        fraction = lod % 1.0
        x = pixelnorm(z) if self.config.normalize_latents else z
        before = x
        for block in self.blocks[: last + 1]:
            before, x = x, block(x)
        image: Tensor = self.to_rgb[last](x)
        if fraction:
            image = torch.lerp(image, upscale(self.to_rgb[last - 1](before)), fraction)
        return image.tanh() if self.config.output == "tanh" else image

    def _block(self, level: int, rng: torch.Generator) -> nn.Sequential:
        config, maps = self.config, num_maps(self.config, level - 1)
        equalized, bias = config.equalized_lr, not config.batch_norm
        first: list[nn.Module]
        if level == 2:
            latent = LatentConv(config.latent_size, maps, equalized=equalized, rng=rng, bias=bias)
            first = [_GeneratorLayer(latent, maps, config)]
        else:
            above = num_maps(config, level - 2)
            conv = Conv(above, maps, kernel=3, equalized=equalized, rng=rng, bias=bias)
            first = [nn.UpsamplingNearest2d(scale_factor=2), _GeneratorLayer(conv, maps, config)]
        second = Conv(maps, maps, kernel=3, equalized=equalized, rng=rng, bias=bias)
        return nn.Sequential(*first, _GeneratorLayer(second, maps, config))

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

    def forward(self, x: Tensor, noise: InputNoise | None) -> Tensor:
        x = self.conv(x if noise is None else noise(x))
        return F.leaky_relu(x if self.norm is None else self.norm(x), 0.2)


class _DiscriminatorBlock(nn.ModuleList):
    """The layers of one resolution, then the 2x2 mean."""

    def forward(self, x: Tensor, noise: InputNoise | None) -> Tensor:
        for layer in self:
            x = layer(x, noise)
        return downscale(x)


class Discriminator(nn.Module):
    """Images NCHW at the resolution of floor(lod) -> scores (N,).

    Without `rng` the initial weights are those of seed 0.
    """

    def __init__(self, config: DiscriminatorConfig, rng: torch.Generator | None = None) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0) if rng is None else rng
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

    def forward(self, x: Tensor, lod: float = 0.0, noise: InputNoise | None = None) -> Tensor:
        _check_lod(lod, self.config.resolution)
        features = self._features(x, lod, noise)
        if self.discrimination is not None:
            features = self.discrimination(features)
        scores: Tensor = self.score(features)
        return scores.squeeze(1)

    @torch.no_grad()
    def initialise_from_reals(self, x: Tensor, lod: float) -> None:
        """The data-dependent initialisation of minibatch discrimination; else nothing."""
        if self.discrimination is not None:
            self.discrimination.initialise(self._features(x, lod, None))

    def _features(self, x: Tensor, lod: float, noise: InputNoise | None) -> Tensor:
        """What the minibatch discrimination or the score sees, (N, nf(0))."""
        first = len(self.from_rgb) - 1 - math.floor(lod)
        fraction = lod % 1.0
        image, x = x, F.leaky_relu(self.from_rgb[first](x), 0.2)
        for i in range(first, 0, -1):
            x = self.blocks[i - 1](x, noise)
            if fraction and i == first:
                lower = F.leaky_relu(self.from_rgb[first - 1](downscale(image)), 0.2)
                x = torch.lerp(x, lower, fraction)
        if self.config.minibatch_layer == "stddev":
            x = append_stddev(x, self.config.stddev_group)
        features: Tensor = self.dense(self.conv(x, noise), noise)
        return features.flatten(1)

    def _from_rgb(self, level: int, rng: torch.Generator) -> Conv:
        maps = num_maps(self.config, level - 1)
        return Conv(3, maps, kernel=1, equalized=self.config.equalized_lr, rng=rng)

    def _block(self, level: int, rng: torch.Generator) -> _DiscriminatorBlock:
        maps = [num_maps(self.config, i) for i in (level - 1, level - 1, level - 2)]
        return _DiscriminatorBlock(
            _DiscriminatorLayer(a, b, self.config, rng) for a, b in pairwise(maps)
        )
