"""The networks of table 4: sizes of the paper, shapes, and a float64 transcription of each."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from pgbench.config import DiscriminatorConfig, GeneratorConfig
from pgbench.mode_networks import make_discriminator, make_generator
from pgbench.networks import Discriminator, Generator

Array = NDArray[np.float64]
Weights = dict[str, Array]
KINDS = {
    "wgan-gp": ({"batch_norm": True, "pixelnorm": False, "equalized_lr": False}, "modes", "none"),
    "norm": ({"batch_norm": False, "pixelnorm": True, "equalized_lr": True}, "modes", "none"),
    "stddev": ({"batch_norm": False, "pixelnorm": True, "equalized_lr": True}, "modes", "stddev"),
    "progression": (
        {"batch_norm": False, "pixelnorm": True, "equalized_lr": True},
        "growing-modes",
        "stddev",
    ),
}


def generator(name: str) -> Generator:
    toggles, _, _ = KINDS[name]
    config = GeneratorConfig(
        resolution=32, kind="modes", latent_size=64, fmap_base=128, output="tanh", **toggles
    )
    return make_generator(config, torch.Generator().manual_seed(3))


def discriminator(name: str, fmap_base: int = 32) -> nn.Module:
    toggles, kind, minibatch_layer = KINDS[name]
    config = DiscriminatorConfig(
        resolution=32,
        kind=kind,
        fmap_base=fmap_base,
        batch_norm=toggles["batch_norm"],
        equalized_lr=toggles["equalized_lr"],
        minibatch_layer=minibatch_layer,
    )
    return make_discriminator(config, torch.Generator().manual_seed(4))


def num_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("fmap_base", "published"), [(32, (571, 557, 573)), (64, (1861, 1833, 1849))]
)
def test_discriminators_have_the_published_sizes(
    fmap_base: int, published: tuple[int, ...]
) -> None:
    names = ("wgan-gp", "norm", "stddev")
    assert tuple(num_parameters(discriminator(name, fmap_base)) for name in names) == published


@pytest.mark.parametrize(("fmap_base", "maps"), [(32, (2, 2, 4, 8)), (64, (4, 4, 8, 16))])
def test_a_grown_discriminator_adds_what_sees_rgb(fmap_base: int, maps: tuple[int, ...]) -> None:
    """1x1 weights and a bias for each map, and the first convolution sees maps instead of RGB."""
    grown, plain = discriminator("progression", fmap_base), discriminator("stddev", fmap_base)
    more = sum(maps) * (3 + 1) + 9 * maps[0] * (maps[0] - 3)
    assert num_parameters(grown) - num_parameters(plain) == more


@pytest.mark.parametrize(("name", "norms"), [("wgan-gp", 2), ("norm", 1), ("progression", 1)])
def test_generators_halve_their_maps(name: str, norms: int) -> None:
    """64 maps at 4x4, then 32, 16, 8: with batch norm a gain and a shift per map, else a bias."""
    convs = 64 * 64 * 16 + 9 * (64 * 32 + 32 * 16 + 16 * 8)
    outputs = sum(3 * (9 * maps + 1) for maps in (64, 32, 16, 8))
    assert num_parameters(generator(name)) == convs + norms * (64 + 32 + 16 + 8) + outputs


@pytest.mark.parametrize("lod", [0.0, 0.5, 1.0, 1.25, 2.0, 3.0])
def test_shapes_per_lod(lod: float) -> None:
    images = generator("progression")(torch.zeros(4, 64), lod)
    assert images.shape == (4, 3, 32 >> int(lod), 32 >> int(lod))
    assert discriminator("progression")(images, lod).shape == (4,)


def doubles(network: nn.Module, seed: int) -> Weights:
    """Random weights, given to the network and returned as float64; biases and gains too."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for name, value in network.state_dict().items():
        drawn[name] = rng.normal(size=tuple(value.shape)).astype(np.float32)
        drawn[name] += 1.0 if name.endswith("gain") else 0.0
        value.copy_(torch.from_numpy(drawn[name]))
    return {name: value.astype(np.float64) for name, value in drawn.items()}


def conv(x: Array, w: Weights, name: str, *, gain: float, equalized: bool) -> Array:
    """'Same' cross-correlation of NCHW with the He constant at run time, pixel by pixel."""
    weight = w[f"{name}.weight"]
    _, maps, size, _ = weight.shape
    scale = gain / np.sqrt(maps * size**2) if equalized else 1.0
    pad = size // 2
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((len(x), len(weight), *x.shape[2:]))
    for i, j in np.ndindex(size, size):
        seen = padded[:, :, i : i + x.shape[2], j : j + x.shape[3]]
        out += np.einsum("nchw,oc->nohw", seen, weight[:, :, i, j] * scale)
    bias = w.get(f"{name}.bias")
    return out if bias is None else out + bias[:, None, None]


def lrelu(x: Array, slope: float) -> Array:
    return np.where(x > 0, x, slope * x)


def batch_norm(x: Array, w: Weights, name: str) -> Array:
    mean = x.mean((0, 2, 3), keepdims=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdims=True)
    gain, bias = (w[f"{name}.{part}"][:, None, None] for part in ("gain", "bias"))
    return (x - mean) / np.sqrt(variance + 1e-4) * gain + bias


def pixelnorm(x: Array) -> Array:
    return x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-8)


def double(x: Array) -> Array:
    return x.repeat(2, 2).repeat(2, 3)


def halve(x: Array) -> Array:
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))


def images_of(w: Weights, z: Array, *, ours: bool, level: int, fraction: float) -> Array:
    """The generator of section 5: `ours` is the paper's own normalisation, else batch norm."""

    def ended(x: Array, i: int) -> Array:
        x = lrelu(x if ours else batch_norm(x, w, f"blocks.{i}.0.norm"), 0.3)
        return pixelnorm(x) if ours else x

    def to_rgb(x: Array, i: int) -> Array:
        return conv(x, w, f"to_rgb.{i}", gain=1.0, equalized=ours)

    z = pixelnorm(z)
    weight = w["blocks.0.0.conv.weight"]  # (latent, maps, 4, 4)
    scale = np.sqrt(2) / np.sqrt(len(weight) * 16) if ours else 1.0
    x = np.einsum("nl,lchw->nchw", z, weight * scale)
    x = before = ended(x + w["blocks.0.0.conv.bias"][:, None, None] if ours else x, 0)
    last = 3 - level
    for i in range(1, last + 1):
        before = x
        x = ended(conv(double(x), w, f"blocks.{i}.0.conv", gain=np.sqrt(2), equalized=ours), i)
    image = to_rgb(x, last)
    if fraction:
        image = (1 - fraction) * image + fraction * double(to_rgb(before, last - 1))
    return np.tanh(image)


def scores_of(
    w: Weights, x: Array, *, ours: bool, stddev: bool, grown: bool, level: int, fraction: float
) -> Array:
    """The discriminator of section 5."""

    def seen(image: Array, i: int) -> Array:
        return lrelu(conv(image, w, f"from_rgb.{i}", gain=np.sqrt(2), equalized=ours), 0.2)

    first = 3 - level
    image, x = x, seen(x, first) if grown else x
    for i in range(first, 0, -1):
        x = conv(x, w, f"blocks.{i - 1}.conv", gain=np.sqrt(2), equalized=ours)
        x = halve(lrelu(x if ours else batch_norm(x, w, f"blocks.{i - 1}.norm"), 0.2))
        if fraction and i == first:
            x = (1 - fraction) * x + fraction * seen(halve(image), first - 1)
    if stddev:
        deviation = np.sqrt(((x - x.mean(0)) ** 2).mean(0) + 1e-8).mean()
        x = np.concatenate([x, np.full((len(x), 1, 4, 4), deviation)], 1)
    flat = x.reshape(len(x), -1)
    weight = w["score.weight"][0] * (1 / np.sqrt(flat.shape[1]) if ours else 1.0)
    return flat @ weight + w["score.bias"][0]


PLACES = [("wgan-gp", 0.0), ("norm", 0.0), ("stddev", 0.0)]
PLACES += [("progression", lod) for lod in (0.0, 0.25, 1.0, 1.5, 2.75, 3.0)]


@pytest.mark.parametrize(("name", "lod"), PLACES)
def test_images_are_those_of_the_transcription(name: str, lod: float) -> None:
    network = generator(name)
    weights = doubles(network, 5)
    z = np.random.default_rng(6).normal(size=(3, 64))
    level, fraction = int(lod), lod % 1.0
    expected = images_of(weights, z, ours=name != "wgan-gp", level=level, fraction=fraction)
    with torch.no_grad():
        found = network(torch.from_numpy(z.astype(np.float32)), lod).numpy()
    assert np.abs(expected).max() > 0.5
    assert np.allclose(found, expected, rtol=0, atol=2e-3)  # sums of 576 products of order 10


@pytest.mark.parametrize(("name", "lod"), PLACES)
@pytest.mark.parametrize("fmap_base", [32, 64])
def test_scores_are_those_of_the_transcription(name: str, lod: float, fmap_base: int) -> None:
    network = discriminator(name, fmap_base)
    weights = doubles(network, 7)
    size = 32 >> int(lod)
    x = np.random.default_rng(8).normal(size=(4, 3, size, size))
    expected = scores_of(
        weights,
        x,
        ours=name != "wgan-gp",
        stddev=name in ("stddev", "progression"),
        grown=name == "progression",
        level=int(lod),
        fraction=lod % 1.0,
    )
    with torch.no_grad():
        found = network(torch.from_numpy(x.astype(np.float32)), lod).numpy()
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_other_kinds_are_those_of_the_other_tables() -> None:
    assert type(make_generator(GeneratorConfig(resolution=8))) is Generator
    assert type(make_discriminator(DiscriminatorConfig(resolution=8))) is Discriminator


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"layer_norm": True}, "no layer_norm"),
        ({"minibatch_layer": "discrimination"}, "no minibatch_layer discrimination"),
        ({"fused_from": 16}, "no fused_from"),
    ],
)
def test_refuses_what_it_does_not_have(changes: dict[str, object], why: str) -> None:
    config = DiscriminatorConfig(resolution=32, kind="modes", **changes)
    with pytest.raises(ValueError, match=f"a discriminator of kind modes has {why}"):
        make_discriminator(config)


def test_refuses_a_lod_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="lod 4"):
        discriminator("progression")(torch.zeros(1, 3, 2, 2), 4.0)


@pytest.mark.parametrize("shape", [(2, 6, 32, 32), (2, 1, 32, 32), (2, 3, 33, 33)])
def test_refuses_images_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images at lod 0 have the shape \(N, 3, 32, 32\), not"):
        discriminator("norm")(torch.zeros(shape))


def test_refuses_the_noise_of_lsgan() -> None:
    network = make_discriminator(DiscriminatorConfig(resolution=32, kind="modes"))
    with pytest.raises(ValueError, match="wgan-gp, not with lsgan"):
        network.draw_noise(4, 0, strength=0.1, rng=torch.Generator())


@pytest.mark.parametrize("name", KINDS)
def test_several_minibatches_at_once_have_statistics_of_their_own(name: str) -> None:
    network = discriminator(name)
    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([network.at(part, 0, None) for part in x.chunk(2)])
    assert torch.allclose(network.at(x, 0, None, minibatches=2), alone, rtol=1e-5, atol=1e-5)


def test_a_discriminator_that_is_not_grown_has_one_lod() -> None:
    with pytest.raises(ValueError, match="lod 1 needs a discriminator of kind growing-modes"):
        discriminator("norm")(torch.zeros(2, 3, 16, 16), 1)
