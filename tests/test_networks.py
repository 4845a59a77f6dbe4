"""Both networks against a plain float64 transcription, their sizes, shapes and fades."""

import math

import numpy as np
import pytest
import torch

from pgbench.config import DiscriminatorConfig, GeneratorConfig, LossConfig
from pgbench.layers import Conv, downscale, upscale
from pgbench.losses import d_loss, gradient_penalty
from pgbench.networks import Discriminator, Generator, num_maps

SQRT2 = math.sqrt(2)
SMALL = {"resolution": 16, "fmap_base": 32, "fmap_max": 6}  # maps 6, 6, 6, 4 at 1, 4, 8, 16
LODS = [0.0, 0.3, 1.0, 1.75, 2.0]

PLAIN_G = {"pixelnorm": False, "equalized_lr": False}
BASELINE_G = {
    "latent_size": 5,
    "normalize_latents": False,
    "activation": "relu",
    "batch_norm": True,
    "output": "tanh",
    **PLAIN_G,
}
PLAIN_D = {"minibatch_layer": "none", "equalized_lr": False}
TOGGLES = {  # what distinguishes the networks of the rows of table 1
    "a-c": (BASELINE_G, PLAIN_D | {"layer_norm": True}),
    "d": ({"latent_size": 7, **PLAIN_G}, PLAIN_D),
    "e*": ({"latent_size": 7, **PLAIN_G}, PLAIN_D | {"minibatch_layer": "discrimination"}),
    "e": ({"latent_size": 7, **PLAIN_G}, PLAIN_D | {"minibatch_layer": "stddev"}),
    "f": ({"latent_size": 7, "pixelnorm": False}, {}),
    "g": ({"latent_size": 7}, {}),
    "groups": ({"latent_size": 7}, {"stddev_group": 2}),
}
GENERATORS = {row: GeneratorConfig(**SMALL, **g) for row, (g, _) in TOGGLES.items()}
DISCRIMINATORS = {row: DiscriminatorConfig(**SMALL, **d) for row, (_, d) in TOGGLES.items()}
every_generator = pytest.mark.parametrize("config", GENERATORS.values(), ids=GENERATORS)
every_discriminator = pytest.mark.parametrize("config", DISCRIMINATORS.values(), ids=DISCRIMINATORS)


def normal(*shape, seed=0):
    """Standard normal float64."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def shaken(network):
    """In float64, every parameter moved, so that biases and gains count."""
    network = network.double()
    with torch.no_grad():
        for i, parameter in enumerate(network.parameters()):
            parameter.add_(0.2 * normal(*parameter.shape, seed=i))
    return network


def make_g(config):
    return shaken(Generator(config, torch.Generator().manual_seed(1)))


def make_d(config):
    return shaken(Discriminator(config, torch.Generator().manual_seed(2)))


# ---- the definition, in numpy ----


def conv2d(x, weight):
    """Cross-correlation of an already padded x."""
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, weight, optimize=True)


def lrelu(x, slope=0.2):
    return np.where(x > 0, x, slope * x)


def normalised(x, eps, axis=1):
    """Pixelnorm."""
    return x / np.sqrt(np.mean(x**2, axis=axis, keepdims=True) + eps)


def standardised(x, axes):
    """Batch and layer norm."""
    mean, var = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-4)


def enlarged(x):
    return x.repeat(2, axis=2).repeat(2, axis=3)


def averaged(x):
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


class Transcription:
    """Arrays of a network by name, and the layers as the paper writes them."""

    def __init__(self, network):
        self.config = network.config
        self.arrays = {name: value.numpy() for name, value in network.state_dict().items()}

    def conv(self, x, name, *, gain=SQRT2, padding=1):
        weight = self.arrays[f"{name}.weight"]
        he = gain / math.sqrt(np.prod(weight.shape[1:])) if self.config.equalized_lr else 1
        padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        return self.biased(conv2d(padded, he * weight), name)

    def biased(self, x, name):
        bias = self.arrays.get(f"{name}.bias")
        return x if bias is None else x + bias[:, None, None]

    def norm(self, x, name, axes):
        """Batch norm has a gain per map, layer norm one for all."""
        gain = self.arrays[f"{name}.gain"].reshape(-1, 1, 1)
        return self.biased(gain * standardised(x, axes), name)

    # G

    def g_layer(self, x, name):
        if self.config.batch_norm:
            x = self.norm(x, f"{name}.norm", (0, 2, 3))
        x = lrelu(x, 0.2 if self.config.activation == "lrelu" else 0.0)
        return normalised(x, 1e-8) if self.config.pixelnorm else x

    def latent_conv(self, z, name):
        weight = self.arrays[f"{name}.weight"]
        he = math.sqrt(2 / (16 * len(weight))) if self.config.equalized_lr else 1
        return self.biased(np.einsum("nl,lcij->ncij", z, he * weight), name)

    def generate(self, z, lod):
        z = normalised(z, 1e-8) if self.config.normalize_latents else z
        x = self.g_layer(self.latent_conv(z, "blocks.0.0.conv"), "blocks.0.0")
        x = self.g_layer(self.conv(x, "blocks.0.1.conv"), "blocks.0.1")
        image = self.conv(x, "to_rgb.0", gain=1, padding=0)
        for level in range(1, 3 - math.floor(lod)):
            x = enlarged(x)
            for layer in (f"blocks.{level}.1", f"blocks.{level}.2"):
                x = self.g_layer(self.conv(x, f"{layer}.conv"), layer)
            lower, image = image, self.conv(x, f"to_rgb.{level}", gain=1, padding=0)
        share = lod % 1
        image = (1 - share) * image + share * enlarged(lower) if share else image
        return np.tanh(image) if self.config.output == "tanh" else image

    # D

    def d_layer(self, x, name, padding=1):
        x = self.conv(x, f"{name}.conv", padding=padding)
        if self.config.layer_norm:
            x = self.norm(x, f"{name}.norm", (1, 2, 3))
        return lrelu(x)

    def from_rgb(self, image, level):
        return lrelu(self.conv(image, f"from_rgb.{level}", padding=0))

    def judge(self, image, lod):
        top, share = 2 - math.floor(lod), lod % 1
        x = self.from_rgb(image, top)
        for level in range(top, 0, -1):
            for layer in (0, 1):
                x = self.d_layer(x, f"blocks.{level - 1}.{layer}")
            x = averaged(x)
            if share and level == top:
                x = (1 - share) * x + share * self.from_rgb(averaged(image), level - 1)
        if self.config.minibatch_layer == "stddev":
            x = np.concatenate([x, self.deviation(x)], axis=1)
        x = self.d_layer(self.d_layer(x, "conv"), "dense", padding=0)[:, :, 0, 0]
        if self.config.minibatch_layer == "discrimination":
            x = np.concatenate([x, self.closeness(x)], axis=1)
        weight, bias = self.arrays["score.weight"], self.arrays["score.bias"]
        he = 1 / math.sqrt(weight.shape[1]) if self.config.equalized_lr else 1
        return (x @ (he * weight).T + bias)[:, 0]

    def deviation(self, x):
        groups = len(x) // (self.config.stddev_group or len(x))
        maps = np.empty((len(x), 1, 4, 4))
        for first in range(groups):
            maps[first::groups] = np.sqrt(x[first::groups].var(axis=0) + 1e-8).mean()
        return maps

    def closeness(self, x):
        weight = self.arrays["discrimination.weight"]
        weight = weight / np.linalg.norm(weight, axis=0)
        projected = np.tensordot(x, weight * np.exp(self.arrays["discrimination.log_scale"]), 1)
        distances = np.abs(projected[:, None] - projected).sum(axis=3)
        return np.exp(-distances).sum(axis=0) - 1 + self.arrays["discrimination.bias"]


# ---- the networks ----


@pytest.mark.parametrize("lod", LODS)
@every_generator
def test_generator_against_numpy(config, lod):
    generator, z = make_g(config), normal(3, config.latent_size)
    expected = Transcription(generator).generate(z.numpy(), lod)
    np.testing.assert_allclose(generator(z, lod).detach(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("lod", LODS)
@every_discriminator
def test_discriminator_against_numpy(config, lod):
    discriminator, side = make_d(config), 16 >> math.floor(lod)
    images = normal(4, 3, side, side)
    expected = Transcription(discriminator).judge(images.numpy(), lod)
    measured = discriminator(images, lod).detach()
    assert measured.shape == (4,)
    np.testing.assert_allclose(measured, expected, rtol=1e-9, atol=1e-11)


def count(network, rgb):
    """Trainable parameters with only the toRGB or fromRGB of full resolution."""
    unused = sum(p.numel() for layer in list(rgb)[:-1] for p in layer.parameters())
    return sum(p.numel() for p in network.parameters() if p.requires_grad) - unused


@pytest.mark.parametrize(
    ("resolution", "maps", "latent_size", "parameters"),
    [
        (1024, {"fmap_base": 8192, "fmap_max": 512}, 512, (23_071_507, 23_077_137)),
        (32, {"fmap_base": 4096, "fmap_max": 128}, 128, (1_295_747, 1_297_153)),  # CIFAR-10
    ],
)
def test_parameter_counts(resolution, maps, latent_size, parameters):
    g = Generator(GeneratorConfig(resolution=resolution, latent_size=latent_size, **maps))
    d = Discriminator(DiscriminatorConfig(resolution=resolution, **maps))
    assert (count(g, g.to_rgb), count(d, d.from_rgb)) == parameters


@pytest.mark.parametrize(
    ("fmap_base", "fmap_max", "maps"),
    [
        (2048, 512, [512, 512, 512, 256, 128, 64, 32]),  # at 2, 4 .. 128: table 1
        (8192, 512, [512, 512, 512, 512, 512, 256, 128, 64, 32, 16]),  # CelebA-HQ
        (4096, 128, [128] * 5),  # CIFAR-10
    ],
)
def test_number_of_maps(fmap_base, fmap_max, maps):
    config = GeneratorConfig(resolution=4, fmap_base=fmap_base, fmap_max=fmap_max)
    assert [num_maps(config, i) for i in range(len(maps))] == maps


@pytest.mark.parametrize("lod", [0, 0.01, 1, 1.5, 1.99, 2, 3, 3.5, 4])
def test_shapes_at_every_lod(lod):
    g = Generator(GeneratorConfig(resolution=64, latent_size=4, fmap_base=64, fmap_max=4))
    d = Discriminator(DiscriminatorConfig(resolution=64, fmap_base=64, fmap_max=4))
    images = g(torch.randn(2, 4, generator=torch.Generator().manual_seed(0)), lod)
    side = 64 >> math.floor(lod)
    assert images.shape == (2, 3, side, side)
    assert images.dtype == torch.float32
    assert d(images, lod).shape == (2,)


def test_full_resolution_is_the_default():
    g, d = make_g(GENERATORS["g"]), make_d(DISCRIMINATORS["g"])
    images = g(normal(2, 7))
    torch.testing.assert_close(images, g(normal(2, 7), 0.0))
    torch.testing.assert_close(d(images), d(images, 0.0))


@pytest.mark.parametrize("lod", LODS)
def test_tanh_keeps_images_in_range(lod):
    generator = make_g(GENERATORS["a-c"])
    with torch.no_grad():
        for layer in generator.to_rgb:
            layer.weight.mul_(50)
    images = generator(normal(16, 5), lod)
    assert images.abs().max() <= 1
    assert images.abs().max() > 0.99


@pytest.mark.parametrize("level", [0, 1])
@every_generator
def test_generator_fades_without_a_jump(config, level):
    generator, z = make_g(config), normal(4, config.latent_size)
    near, above = generator(z, level + 1e-9), generator(z, level + 1 - 1e-9)
    torch.testing.assert_close(near, generator(z, float(level)), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(above, upscale(generator(z, level + 1.0)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("level", [0, 1])
@every_discriminator
def test_discriminator_fades_without_a_jump(config, level):
    discriminator, side = make_d(config), 16 >> level
    images = normal(4, 3, side, side)
    near, above = discriminator(images, level + 1e-9), discriminator(images, level + 1 - 1e-9)
    torch.testing.assert_close(near, discriminator(images, level), rtol=1e-6, atol=1e-6)
    smaller = discriminator(downscale(images), level + 1)
    torch.testing.assert_close(above, smaller, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("lod", "share"), [(0.25, 0.25), (1.5, 0.5)])
@pytest.mark.parametrize("row", ["d", "g"])
def test_generator_blends_two_images(row, lod, share):
    """The linear ones: the image of this resolution and that of the next lower one."""
    generator, z = make_g(GENERATORS[row]), normal(4, 7)
    upper, lower = generator(z, math.floor(lod)), upscale(generator(z, math.ceil(lod)))
    torch.testing.assert_close(generator(z, lod), (1 - share) * upper + share * lower)


def test_weights_depend_on_the_generator_that_is_passed_alone():
    networks = [(Generator, GENERATORS["g"]), (Discriminator, DISCRIMINATORS["e*"])]
    for make, config in networks:
        first, again, other = (
            torch.nn.utils.parameters_to_vector(
                make(config, torch.Generator().manual_seed(seed)).parameters()
            )
            for seed in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


@every_discriminator
def test_noise_is_at_the_input_of_every_convolution_but_from_rgb(config):
    noise = make_d(config).draw_noise(4, 0, strength=0.1, rng=torch.Generator().manual_seed(0))
    extra = 1 if config.minibatch_layer == "stddev" else 0
    assert [each.shape for each in noise] == [
        (4, maps, 1, 1) for maps in (4, 4, 6, 6, 6 + extra, 6)
    ]
    lowest = make_d(config).draw_noise(4, 2, strength=0.1, rng=torch.Generator().manual_seed(0))
    assert [each.shape[1] for each in lowest] == [6 + extra, 6]


@every_discriminator
def test_noise_multiplies_what_each_convolution_sees(config):
    d, images = make_d(config), normal(4, 3, 16, 16)
    noise = d.draw_noise(4, 0, strength=0.1, rng=torch.Generator().manual_seed(0))
    convs = [part for block in [*reversed(d.blocks), d.conv, d.dense] for part in block.modules()]
    convs = [part for part in convs if isinstance(part, Conv)]
    scores = d.at(images, 0, torch.tensor(0.5).double(), noise)
    for conv, factor in zip(convs, noise, strict=True):
        conv.register_forward_pre_hook(lambda _, inputs, by=factor: (inputs[0] * by,))
    torch.testing.assert_close(d(images, 0.5), scores)


def test_noise_changes_scores_and_strength_0_does_not():
    d, images = make_d(DISCRIMINATORS["g"]), normal(4, 3, 16, 16)
    quiet, loud = (
        d.draw_noise(4, 0, strength=strength, rng=torch.Generator().manual_seed(0))
        for strength in (0.0, 0.05)
    )
    torch.testing.assert_close(d.at(images, 0, None, quiet), d(images))
    assert not torch.allclose(d.at(images, 0, None, loud), d(images))


def test_initialisation_from_reals_centres_what_the_score_sees():
    d, images = make_d(DISCRIMINATORS["e*"]), normal(30, 3, 4, 4)
    d.initialise_from_reals(images, 2.0)
    seen = []
    d.score.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    d(images, 2.0)
    assert seen[0].shape == (30, 6 + 100)
    torch.testing.assert_close(seen[0][:, 6:].mean(0), torch.zeros(100).double())


@pytest.mark.parametrize("row", ["a-c", "d", "e", "g"])
def test_initialisation_from_reals_is_for_minibatch_discrimination_alone(row):
    d = make_d(DISCRIMINATORS[row])
    before = {name: value.clone() for name, value in d.state_dict().items()}
    d.initialise_from_reals(normal(4, 3, 4, 4), 2.0)
    assert all(torch.equal(value, before[name]) for name, value in d.state_dict().items())


def total_loss(discriminator, lod, fake):
    side = 16 >> math.floor(lod)
    real, mix = normal(4, 3, side, side), torch.linspace(0.1, 0.9, 4).double()

    def score(images):
        return discriminator(images, lod)

    penalty = gradient_penalty(score, real, fake, mix=mix, gamma=2.0)
    return d_loss(score(real), score(fake), LossConfig()).total + 10 * penalty


@pytest.mark.parametrize("lod", [0.0, 0.5, 2.0])
@every_discriminator
def test_the_penalty_differentiates_through_every_discriminator(config, lod):
    """The derivative of the loss along one direction of all weights, by finite differences."""
    discriminator, side = make_d(config), 16 >> math.floor(lod)
    fake = normal(4, 3, side, side, seed=5)
    total_loss(discriminator, lod, fake).backward()
    used = [p for p in discriminator.parameters() if p.grad is not None]
    assert all(torch.isfinite(p.grad).all() for p in used)
    directions = [normal(*p.shape, seed=i) for i, p in enumerate(used)]
    slope = sum((p.grad * v).sum() for p, v in zip(used, directions, strict=True)).item()
    losses = []
    for step in (1e-7, -1e-7):
        with torch.no_grad():
            moved = [p + step * v for p, v in zip(used, directions, strict=True)]
            kept = [p.clone() for p in used]
            torch._foreach_copy_(used, moved)
        losses.append(total_loss(discriminator, lod, fake).item())
        with torch.no_grad():
            torch._foreach_copy_(used, kept)
    assert slope == pytest.approx((losses[0] - losses[1]) / 2e-7, rel=1e-4)


@every_discriminator
def test_the_penalty_is_finite_when_all_images_are_one(config):
    """No deviation, no distance: where square roots and norms have no derivative."""
    discriminator = make_d(config)
    image = normal(1, 3, 16, 16)
    fake = image.repeat(4, 1, 1, 1)
    scores = discriminator(fake)
    mix = torch.full((4,), 0.5).double()
    penalty = gradient_penalty(discriminator, fake, fake, mix=mix, gamma=1.0)
    loss = d_loss(scores, scores, LossConfig()).total + 10 * penalty
    loss.backward()
    assert torch.isfinite(loss)
    grads = [p.grad for p in discriminator.parameters() if p.grad is not None]
    assert all(torch.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("lod", [-0.5, 2.5, 3.0, 5.0, math.nan])
def test_a_lod_that_the_network_does_not_have_is_refused(lod):
    message = rf"lod {lod} of a 16x16 network must be 0 to 2"
    with pytest.raises(ValueError, match=message):
        Generator(GENERATORS["g"])(torch.zeros(2, 7), lod)
    with pytest.raises(ValueError, match=message):
        Discriminator(DISCRIMINATORS["g"])(torch.zeros(2, 3, 4, 4), lod)


def test_a_discriminator_without_batch_norm_does_not_ignore_it():
    with pytest.raises(ValueError, match="kind progressive has no batch_norm; leave it out"):
        Discriminator(DiscriminatorConfig(resolution=16, batch_norm=True))


@pytest.mark.parametrize("shape", [(2, 3, 17, 17), (2, 3, 8, 8), (2, 1, 16, 16), (3, 16, 16)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"images at lod 0 have the shape \(N, 3, 16, 16\), not"):
        Discriminator(DISCRIMINATORS["g"])(torch.zeros(shape))
