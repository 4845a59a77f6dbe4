"""Layers of the networks (paper, sections 3, 4.1, 4.2 and appendix A).

All activations are float32 NCHW. Initial weights are drawn from the `rng` that is passed.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pgbench.products import IS_HERE, differentiable_product
from pgbench.small_conv import halved_lrelu
from pgbench.small_norm import small_batch_norm
from pgbench.winograd import winograd_conv

SQRT2 = math.sqrt(2)
_LARGE = 2**19  # weights for which oneDNN's products win back the way there
_ROW = 4096  # values of a loop, at most: their sums are float32
_ALONG = torch.tensor([[0.0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 0]])
_FALLS = torch.kron(_ALONG, _ALONG)  # which of the 3x3 weights fall on which of 4x4
_MANY = 256  # maps, and tiles of 2x2 pixels, for which Winograd's products win back his transforms


def is_plain(x: Tensor) -> bool:
    """Whether machine code of our own can be run on `x`."""
    on_cpu = x.device.type == "cpu" and x.dtype == torch.float32
    return on_cpu and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()


def _normal(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """N(0, 1); `torch.randn` would import the compiler where only the shapes are asked for."""
    return torch.empty(shape).normal_(generator=rng)


class _Scaled(nn.Module):
    """A weight with He's constant: in the initial values, or at run time (equalized)."""

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        fan_in: int,
        gain: float,
        equalized: bool,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        he_constant = gain / math.sqrt(fan_in)
        self.scale = he_constant if equalized else 1.0
        self.weight = nn.Parameter(_normal(shape, rng) * (1.0 if equalized else he_constant))

    def scaled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Input and weight, the smaller of them multiplied by the constant: it costs less."""
        if self.scale == 1.0:
            return x, self.weight
        if x.numel() < self.weight.numel():
            return x * self.scale, self.weight
        return x, self.weight * self.scale


class Conv(_Scaled):
    """Convolution of odd `kernel` with 'same' padding, or 'valid' when `valid`.

    With `upscale` the input is first enlarged by nearest neighbour, in one transposed convolution:
    of the 3x3 weights that see a pixel of the input, those that fall together are added up, and 4
    products make an output instead of 9.
    """

    def __init__(
        self,
        maps_in: int,
        maps_out: int,
        *,
        kernel: int,
        equalized: bool,
        rng: torch.Generator,
        gain: float = SQRT2,
        bias: bool = True,
        valid: bool = False,
        upscale: bool = False,
    ) -> None:
        shape = (maps_out, maps_in, kernel, kernel)
        fan_in = maps_in * kernel**2
        super().__init__(shape, fan_in=fan_in, gain=gain, equalized=equalized, rng=rng)
        self.bias = nn.Parameter(torch.zeros(maps_out)) if bias else None
        self.padding = 0 if valid else kernel // 2
        self.upscale = upscale
        self.falls: Tensor
        self.register_buffer("falls", _FALLS.clone() if upscale else None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self._is_large(x):
            return winograd_conv(x, self.weight, self.bias, scale=self.scale)
        if self.upscale:
            return F.conv_transpose2d(x, self.upscaling(), self.bias, stride=2, padding=1)
        x, weight = self.scaled(x)
        if not self.padding and x.shape[2:] == weight.shape[2:]:  # one output: a matrix product
            return _linear(x.flatten(1), weight.flatten(1), self.bias)[:, :, None, None]
        if weight.shape[2:] == (1, 1) and self.bias is not None:
            return _of_pixels(x, weight.flatten(1), self.bias)
        return F.conv2d(x, weight, self.bias, padding=self.padding)

    def upscaling(self) -> Tensor:
        """Weights (in, out, 4, 4) of nearest-neighbour x2 and then this convolution, scaled."""
        with torch.autocast(self.weight.device.type, enabled=False):
            sums = self.weight.flatten(2) @ (self.falls * self.scale)
        return sums.reshape(*self.weight.shape[:2], 4, 4).transpose(0, 1)

    def _is_large(self, x: Tensor) -> bool:
        maps_out, maps_in, *_ = self.weight.shape
        if min(maps_out, maps_in, x.numel() // maps_in // 4) < _MANY:
            return False
        if x.shape[2] % 2 or x.shape[3] % 2:
            return False
        return self.padding == 1 and not self.upscale and is_plain(x) and IS_HERE


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`; of many weights by oneDNN."""
    if weight.numel() < _LARGE or not is_plain(x) or not IS_HERE:
        return F.linear(x, weight, bias)
    products = differentiable_product(x, weight)
    return products if bias is None else products + bias


def _of_pixels(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 1x1 convolution as a product with each image: several times as fast on a CPU."""
    count, _, height, width = x.shape
    weights = weight.expand(count, -1, -1)
    products = torch.baddbmm(bias[:, None], weights, x.flatten(2))
    return products.reshape(count, -1, height, width)


class LatentConv(_Scaled):
    """The 4x4 convolution with full padding that turns a latent (N, L) into (N, maps, 4, 4).

    Every output pixel sees one latent vector through its own weights: a matrix product.
    Its fan-in counts all 16 positions, as the released code does.
    """

    def __init__(
        self,
        latent_size: int,
        maps: int,
        *,
        equalized: bool,
        rng: torch.Generator,
        bias: bool = True,
    ) -> None:
        shape = (latent_size, maps, 4, 4)
        super().__init__(shape, fan_in=latent_size * 16, gain=SQRT2, equalized=equalized, rng=rng)
        self.bias = nn.Parameter(torch.zeros(maps)) if bias else None

    def forward(self, z: Tensor) -> Tensor:
        z, weight = self.scaled(z)
        x = _linear(z, weight.flatten(1).t()).reshape(-1, *weight.shape[1:])
        return x if self.bias is None else x + self.bias[:, None, None]


class Linear(_Scaled):
    """(N, features_in) -> (N, features_out), with bias and no activation after it.

    Never in bfloat16: the drift's part of a score's gradient is smaller than what that rounds off.
    """

    def __init__(
        self, features_in: int, features_out: int, *, equalized: bool, rng: torch.Generator
    ) -> None:
        shape = (features_out, features_in)
        super().__init__(shape, fan_in=features_in, gain=1.0, equalized=equalized, rng=rng)
        self.bias = nn.Parameter(torch.zeros(features_out))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x, weight = self.scaled(_not_rounded(x))
            return F.linear(x, weight, self.bias)


class BatchNorm(nn.Module):
    """Batch normalisation by the minibatch's own statistics, in training and in sampling."""

    eps = 1e-4

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(maps))
        self.bias = nn.Parameter(torch.zeros(maps))

    def forward(self, x: Tensor, minibatches: int = 1) -> Tensor:
        """`x` is so many minibatches, each normalised by itself."""
        if is_plain(x):
            return small_batch_norm(x, self.gain, self.bias, eps=self.eps, groups=minibatches)
        return torch.cat([self._normalised(part) for part in x.chunk(minibatches)])

    def _normalised(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, None, None, self.gain, self.bias, training=True, eps=self.eps)


class LayerNorm(nn.Module):
    """Normalises each sample over C, H, W (eps 1e-4); one scalar gain, a bias per map."""

    eps = 1e-4

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(maps))

    def forward(self, x: Tensor) -> Tensor:
        if is_plain(x):
            return self._normalised(x) + self.bias[:, None, None]
        gains = self.gain.expand_as(self.bias)
        return F.group_norm(x, 1, weight=gains, bias=self.bias, eps=self.eps)

    def _normalised(self, x: Tensor) -> Tensor:
        """As batch normalisation of one map, where the maps of a sample are a group of images.

        Small maps lie side by side in one image: a loop over 16 pixels is not worth its start.
        """
        count, maps, height, width = x.shape
        together = math.gcd(maps, max(1, _ROW // (height * width)))
        images = x.reshape(count * maps // together, 1, together * height, width)
        gain, none = self.gain[None], torch.zeros(1)
        normalised = small_batch_norm(images, gain, none, eps=self.eps, groups=count)
        return normalised.reshape(x.shape)


def pixelnorm(x: Tensor) -> Tensor:
    """x / sqrt(mean over maps of x^2 + 1e-8), for (N, C) or (N, C, H, W) (section 4.2)."""
    x = _not_rounded(x)
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


def append_stddev(x: Tensor, group: int | None = None, *, minibatches: int = 1) -> Tensor:
    """(N, C, H, W) -> (N, C + 1, H, W): the mean standard deviation of each group as one map.

    `group` None is the whole minibatch; else image i is in group i mod (N / group) (section 3).
    N images are so many `minibatches`, one after the other.
    """
    height, width = x.shape[2:]
    count = len(x) // minibatches
    size = count if group is None else min(group, count)
    if count % size:
        raise ValueError(
            f"a minibatch of {count} cannot be split into groups of {size}; "
            "take a multiple of the group size"
        )
    grouped = _not_rounded(x).reshape(minibatches, size, count // size, -1)
    variance = (grouped - grouped.mean(1, keepdim=True)).square().mean(1)  # var() is slow
    deviation = (variance + 1e-8).sqrt().mean(-1).to(x.dtype)
    each = deviation[:, None, :, None].expand(-1, size, -1, height * width)
    return torch.cat([x, each.reshape(len(x), 1, height, width)], 1)


class MinibatchDiscrimination(nn.Module):
    """(N, features) -> (N, features + kernels): how close each sample is to the others.

    Salimans et al. 2016: columns normalised with a learned log-scale, L1 distances between
    samples, sum of exp(-distance) over the other samples, plus a bias that starts at -1.
    """

    def __init__(
        self, features: int, *, rng: torch.Generator, kernels: int = 100, dims: int = 5
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.05 * _normal((features, kernels, dims), rng))
        self.log_scale = nn.Parameter(torch.zeros(kernels, dims))
        self.bias = nn.Parameter(torch.full((kernels,), -1.0))

    def forward(self, x: Tensor) -> Tensor:
        x = _not_rounded(x)
        with torch.autocast(x.device.type, enabled=False):
            return torch.cat([x, self._closeness(self._distances(x)) + self.bias], 1)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set log-scale and bias from features (N, features) of reals; ValueError if all equal."""
        for k, projected in enumerate(self._projected(x).unbind(1)):  # all at once would be 1 GB
            distances = torch.cdist(projected, projected, p=1)
            half = 0.5 * distances.clone().fill_diagonal_(math.inf).amin(dim=1).mean()
            if not half > 0:
                raise ValueError("every image has a twin; minibatch discrimination needs others")
            self.log_scale[k] -= half.log()
            self.bias[k] = -self._closeness((distances / half)[:, :, None]).mean()

    def _distances(self, x: Tensor) -> Tensor:
        """L1 distances (N, N, kernels) between the projections of the samples."""
        projected = self._projected(x)
        distances: Tensor = (projected[:, None] - projected[None]).abs().sum(dim=3)
        return distances

    def _projected(self, x: Tensor) -> Tensor:
        """(N, kernels, dims)."""
        weight = self.weight * (self.log_scale.exp() / self.weight.square().sum(0).sqrt())
        projected: Tensor = torch.tensordot(x, weight, dims=1)
        return projected

    @staticmethod
    def _closeness(distances: Tensor) -> Tensor:
        """Sum of exp(-distance) over the other samples, (N, kernels)."""
        itself = torch.eye(len(distances), device=distances.device)[:, :, None]
        return (torch.exp(-distances) * (1 - itself)).sum(dim=1)


def input_noise(
    count: int, maps: int, *, strength: float, rng: torch.Generator, device: torch.device
) -> Tensor:
    """LSGAN's multiplicative noise, 1 + N(0, 1) * strength * sqrt(C), (N, C, 1, 1)."""
    normal = torch.randn((count, maps, 1, 1), generator=rng).to(device)
    return 1 + normal * (strength * math.sqrt(maps))


def upscale(x: Tensor) -> Tensor:
    """Nearest-neighbour x2 of NCHW."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def downscale(x: Tensor) -> Tensor:
    """2x2 mean of NCHW."""
    rows = x[:, :, ::2] + x[:, :, 1::2]  # several times as fast as avg_pool2d on a CPU
    return (rows[..., ::2] + rows[..., 1::2]) * 0.25


def downscaled_lrelu(x: Tensor, slope: float) -> Tensor:
    """The 2x2 mean of a leaky ReLU of NCHW."""
    return halved_lrelu(x, slope) if is_plain(x) else downscale(F.leaky_relu(x, slope))


def fade_reals(x: Tensor, lod: float) -> Tensor:
    """Blend reals with their 2x2-averaged, re-upsampled selves by the fraction of `lod`."""
    fraction = lod % 1.0
    return torch.lerp(x, upscale(downscale(x)), fraction) if fraction else x


def _not_rounded(x: Tensor) -> Tensor:
    """Statistics over maps and images need more than bfloat16."""
    return x.float() if x.dtype == torch.bfloat16 else x
