"""Layers in closed form and against plain float64 transcriptions."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pgbench.layers import (
    BatchNorm,
    Conv,
    LatentConv,
    LayerNorm,
    Linear,
    MinibatchDiscrimination,
    append_stddev,
    downscale,
    fade_reals,
    input_noise,
    pixelnorm,
    upscale,
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    """Standard normal float64."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


# each kind of weight, and the standard deviation that He et al. (2015) ask of it
WEIGHTS = {
    "3x3": (lambda **kw: Conv(48, 64, kernel=3, **kw), math.sqrt(2 / (48 * 9))),
    "4x4 valid": (lambda **kw: Conv(64, 32, kernel=4, valid=True, **kw), math.sqrt(2 / (64 * 16))),
    "fromRGB": (lambda **kw: Conv(3, 8192, kernel=1, **kw), math.sqrt(2 / 3)),
    "toRGB": (lambda **kw: Conv(8192, 3, kernel=1, gain=1.0, **kw), math.sqrt(1 / 8192)),
    "latent": (lambda **kw: LatentConv(64, 32, **kw), math.sqrt(2 / (64 * 16))),
    "score": (lambda **kw: Linear(20_000, 1, **kw), math.sqrt(1 / 20_000)),
}
every_weight = pytest.mark.parametrize(("make", "std"), WEIGHTS.values(), ids=WEIGHTS)
both_kinds = pytest.mark.parametrize("equalized", [False, True])


def at_run_time(layer):
    """The weight with its factor."""
    return layer.weight * layer.scale


@both_kinds
def test_convolutions_of_many_maps(equalized):
    """Made of fewer products: 256 maps, and 256 times 2x2 pixels."""
    conv = Conv(256, 260, kernel=3, equalized=equalized, rng=rng())
    conv.bias.data.normal_(generator=rng(1))
    x = normal(16, 256, 8, 8)
    found = conv(x.float())
    expected = F.conv2d(x, at_run_time(conv).double(), conv.bias.double(), padding=1)
    assert found.grad_fn.name() != "ConvolutionBackward0"  # torch's own
    assert (found - expected).norm().item() < 1e-6 * expected.norm().item()


@both_kinds
def test_products_of_many_weights(equalized):
    """The last convolution of D, and the first of G."""
    dense = Conv(260, 256, kernel=4, valid=True, equalized=equalized, rng=rng())
    latent = LatentConv(256, 260, equalized=equalized, rng=rng())
    dense.bias.data.normal_(generator=rng(1))
    x, z = normal(5, 260, 4, 4), normal(5, 256)
    bias = dense.bias.double()
    for found, expected in (
        (dense(x.float()), F.conv2d(x, at_run_time(dense).double(), bias)),
        (latent(z.float()), torch.tensordot(z, at_run_time(latent).double(), dims=1)),
    ):
        assert found.shape == expected.shape
        assert (found - expected).norm().item() < 1e-6 * expected.norm().item()


@every_weight
@both_kinds
def test_runtime_weights_have_the_standard_deviation_of_he(make, std, equalized):
    weight = at_run_time(make(equalized=equalized, rng=rng())).detach()
    error = 4 / math.sqrt(2 * weight.numel())  # four standard errors
    assert weight.std().item() == pytest.approx(std, rel=error)
    assert abs(weight.mean().item()) < 4 * std / math.sqrt(weight.numel())


@every_weight
def test_equalized_weights_are_standard_normal(make, std):
    layer = make(equalized=True, rng=rng())
    assert layer.weight.std().item() == pytest.approx(1, rel=4 / math.sqrt(2 * 20_000))
    assert layer.scale == pytest.approx(std, rel=1e-12)


@every_weight
def test_without_equalized_lr_there_is_no_runtime_factor(make, std):
    layer = make(equalized=False, rng=rng())
    assert layer.scale == 1.0


@every_weight
def test_equalized_and_he_are_the_same_function_at_first(make, std):
    equalized, he = make(equalized=True, rng=rng(3)), make(equalized=False, rng=rng(3))
    torch.testing.assert_close(at_run_time(equalized), at_run_time(he))
    size = equalized.weight.shape[0 if isinstance(equalized, LatentConv) else 1]
    flat = isinstance(equalized, LatentConv | Linear)
    x = normal(2, size, *(() if flat else (4, 4))).float()
    torch.testing.assert_close(equalized(x), he(x), rtol=1e-4, atol=1e-5)


@every_weight
@both_kinds
def test_bias_starts_at_0_and_is_not_scaled(make, std, equalized):
    layer = make(equalized=equalized, rng=rng())
    assert not layer.bias.any()
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.fill_(0.75)
    size = layer.weight.shape[0 if isinstance(layer, LatentConv) else 1]
    flat = isinstance(layer, LatentConv | Linear)
    assert (layer(torch.ones(1, size, *(() if flat else (4, 4)))) == 0.75).all()


def test_weights_come_from_the_generator_that_is_passed():
    torch.manual_seed(1)
    first = Conv(3, 4, kernel=3, equalized=True, rng=rng(5))
    torch.manual_seed(2)
    again, other = (Conv(3, 4, kernel=3, equalized=True, rng=rng(seed)) for seed in (5, 6))
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)


def test_latent_conv_is_a_convolution_with_full_padding():
    """Written as one: a flipped 4x4 kernel over a single pixel padded by 3 on every side."""
    layer = LatentConv(5, 7, equalized=True, rng=rng()).double()
    z = normal(3, 5)
    weight = layer.weight.permute(1, 0, 2, 3).flip(2, 3) * math.sqrt(2 / (5 * 16))
    expected = F.conv2d(z[:, :, None, None], weight, padding=3)
    assert expected.shape == (3, 7, 4, 4)
    torch.testing.assert_close(layer(z), expected)


def test_pixelnorm_of_a_known_vector():
    x = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    torch.testing.assert_close(pixelnorm(x), x / math.sqrt(12.5 + 1e-8))


@pytest.mark.parametrize("shape", [(4, 6), (2, 5, 3, 3)])
def test_pixelnorm_against_numpy(shape):
    x = normal(*shape)
    expected = x.numpy() / np.sqrt(np.mean(x.numpy() ** 2, axis=1, keepdims=True) + 1e-8)
    np.testing.assert_allclose(pixelnorm(x).numpy(), expected, rtol=1e-12)


def test_pixelnorm_of_0_is_0():
    assert not pixelnorm(torch.zeros(1, 4, 2, 2)).any()


def transcribed_stddev(x, groups):
    """The appended map, image by image: sqrt(var + 1e-8) over a group, averaged."""
    maps = np.empty((len(x), 1, *x.shape[2:]))
    for i in range(len(x)):
        members = x[[j for j in range(len(x)) if j % groups == i % groups]]
        maps[i] = np.sqrt(np.mean((members - members.mean(0)) ** 2, axis=0) + 1e-8).mean()
    return maps


@pytest.mark.parametrize(
    ("count", "group", "groups"),
    [(6, None, 1), (8, 4, 2), (12, 4, 3), (6, 3, 2), (4, 4, 1), (3, 4, 1), (1, None, 1), (4, 1, 4)],
)
def test_stddev_against_numpy(count, group, groups):
    x = normal(count, 3, 4, 4) * torch.arange(1, count + 1)[:, None, None, None]
    measured = append_stddev(x, group)
    assert measured.shape == (count, 4, 4, 4)
    assert torch.equal(measured[:, :3], x)
    np.testing.assert_allclose(measured[:, 3:], transcribed_stddev(x.numpy(), groups), rtol=1e-12)


def test_stddev_of_two_opposite_images():
    x = torch.full((1, 2, 4, 4), 0.5, dtype=torch.float64)
    measured = append_stddev(torch.cat([x, -x]))[:, 2]
    torch.testing.assert_close(measured, torch.full_like(measured, math.sqrt(0.25 + 1e-8)))


def test_groups_of_stddev_are_interleaved():
    """Of 8 images in groups of 4 the even ones are alike: their deviation is sqrt(1e-8)."""
    x = torch.zeros(8, 1, 4, 4, dtype=torch.float64)
    x[1::2] = torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None, None, None]
    measured = append_stddev(x, 4)[:, 1, 0, 0]
    expected = torch.tensor([1e-4, math.sqrt(1 + 1e-8)] * 4, dtype=torch.float64)
    torch.testing.assert_close(measured, expected)


@pytest.mark.parametrize(("count", "group"), [(6, 4), (5, 2), (16, 5)])
def test_stddev_refuses_a_minibatch_it_cannot_split(count, group):
    with pytest.raises(ValueError, match=f"minibatch of {count} .* groups of {group}"):
        append_stddev(torch.zeros(count, 1, 4, 4), group)


def test_stddev_of_equal_images_has_a_finite_gradient():
    x = torch.ones(4, 2, 4, 4, requires_grad=True)
    append_stddev(x).sum().backward()
    assert torch.isfinite(x.grad).all()


@settings(deadline=None)
@given(order=st.permutations(range(6)), seed=st.integers(0, 100))
def test_stddev_of_the_minibatch_ignores_its_order(order, seed):
    x = normal(6, 2, 4, 4, seed=seed)
    torch.testing.assert_close(append_stddev(x)[:, 2], append_stddev(x[list(order)])[:, 2])


def test_layer_norm_against_numpy():
    layer = LayerNorm(3).double()
    with torch.no_grad():
        layer.gain.fill_(1.5)
        layer.bias.copy_(torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64))
    x = normal(2, 3, 4, 4) * 0.01 + 2  # small, so that eps shows
    plain = x.numpy()
    mean, var = (f(axis=(1, 2, 3), keepdims=True) for f in (plain.mean, plain.var))
    bias = np.array([0.1, -0.2, 0.3])[:, None, None]
    expected = 1.5 * (plain - mean) / np.sqrt(var + 1e-4) + bias
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-9)
    assert sum(p.numel() for p in layer.parameters()) == 1 + 3


@pytest.mark.parametrize("shape", [(3, 6, 5, 5), (2, 48, 16, 16), (2, 5, 64, 80)])
def test_layer_norm_as_machine_code_is_that_of_torch(shape):
    """However many maps share a loop: 6, 16 and 1; with both derivatives."""
    layer = LayerNorm(shape[1])
    with torch.no_grad():
        layer.gain.fill_(1.5)
        layer.bias.copy_(normal(shape[1]))
    exact = copy.deepcopy(layer).double()
    x, v = normal(*shape) + 1, normal(*shape, seed=1)
    for found, expected in zip(derived(layer, x, v), derived(exact, x, v), strict=True):
        error = (found.double() - expected).abs().max() / expected.abs().max()
        assert error < 1e-5


def derived(layer, x, v):
    """y, the gradients of y v by x, and those of their squares by x and the gain."""
    x, v = (each.to(layer.gain.dtype) for each in (x, v))
    x.requires_grad_()
    y = layer(x)
    (dx,) = torch.autograd.grad((y * v).sum(), x, create_graph=True)
    return y, dx, *torch.autograd.grad(dx.square().sum(), (x, layer.gain))


@pytest.mark.parametrize("mode", [True, False])
def test_batch_norm_takes_the_minibatchs_own_statistics(mode):
    layer = BatchNorm(3).double().train(mode)
    with torch.no_grad():
        layer.gain.copy_(torch.tensor([1.0, 2.0, 3.0]))
        layer.bias.copy_(torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64))
    layer(normal(4, 3, 2, 2, seed=9))  # leaves nothing behind
    x = normal(4, 3, 2, 2) * 3 + 1
    plain = x.numpy()
    mean, var = (f(axis=(0, 2, 3), keepdims=True) for f in (plain.mean, plain.var))
    gain, bias = (np.array(v)[:, None, None] for v in ([1.0, 2.0, 3.0], [0.1, -0.2, 0.3]))
    expected = gain * (plain - mean) / np.sqrt(var + 1e-4) + bias
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-9)


def small_discrimination():
    return MinibatchDiscrimination(6, rng=rng(), kernels=4, dims=3).double()


def transcribed_closeness(layer, x):
    """Salimans et al. (2016), sample by sample: sums of exp(-L1) over the others, (N, kernels)."""
    weight, log_scale = (p.detach().numpy() for p in (layer.weight, layer.log_scale))
    closeness = np.zeros((len(x), weight.shape[1]))
    distances = np.zeros((len(x), len(x), weight.shape[1]))
    for k in range(weight.shape[1]):
        columns = weight[:, k] / np.linalg.norm(weight[:, k], axis=0) * np.exp(log_scale[k])
        for i in range(len(x)):
            for j in range(len(x)):
                distances[i, j, k] = np.abs(x[i] @ columns - x[j] @ columns).sum()
            closeness[i, k] = sum(np.exp(-distances[i, j, k]) for j in range(len(x)) if j != i)
    return closeness, distances


def test_minibatch_discrimination_against_numpy():
    layer, x = small_discrimination(), normal(5, 6)
    with torch.no_grad():
        layer.log_scale.copy_(0.3 * normal(4, 3, seed=1))
        layer.bias.copy_(normal(4, seed=2))
    expected = transcribed_closeness(layer, x.numpy())[0] + layer.bias.detach().numpy()
    measured = layer(x).detach()
    assert torch.equal(measured[:, :6], x)
    np.testing.assert_allclose(measured[:, 6:], expected, rtol=1e-10)


def test_minibatch_discrimination_at_first():
    layer = MinibatchDiscrimination(512, rng=rng())
    assert layer.weight.shape == (512, 100, 5)
    assert layer.weight.std().item() == pytest.approx(0.05, rel=4 / math.sqrt(2 * 256_000))
    assert not layer.log_scale.any()
    assert (layer.bias == -1).all()
    assert layer(torch.zeros(2, 512)).shape == (2, 612)


def test_minibatch_discrimination_leaves_a_sample_itself_out():
    layer = small_discrimination()
    assert (layer(normal(1, 6))[:, 6:] == -1).all()  # nobody else
    twins = normal(1, 6).repeat(3, 1)
    torch.testing.assert_close(layer(twins)[:, 6:], torch.ones(3, 4).double())  # 2 · exp(0) - 1


def test_minibatch_discrimination_ignores_the_length_of_its_columns():
    layer, x = small_discrimination(), normal(5, 6)
    before = layer(x).detach()
    with torch.no_grad():
        layer.weight.mul_(7)
    torch.testing.assert_close(layer(x), before)


def test_initialisation_from_reals():
    """Distances are divided by half the mean nearest one, then the outputs' mean becomes 0."""
    layer, x = small_discrimination(), normal(50, 6)
    with torch.no_grad():
        layer.log_scale.copy_(0.1 * normal(4, seed=1)[:, None].expand(4, 3))
    before, distances = layer.log_scale.clone(), transcribed_closeness(layer, x.numpy())[1]
    nearest = np.sort(distances, axis=1)[:, 1].mean(axis=0)  # the first is the sample itself
    layer.initialise(x)
    expected = before - torch.log(torch.from_numpy(nearest) / 2)[:, None]
    torch.testing.assert_close(layer.log_scale.detach(), expected.detach())
    closeness, distances = transcribed_closeness(layer, x.numpy())
    np.testing.assert_allclose(layer.bias.detach(), -closeness.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(np.sort(distances, axis=1)[:, 1].mean(axis=0), 2, rtol=1e-10)
    np.testing.assert_allclose(layer(x)[:, 6:].mean(0).detach(), 0, atol=1e-12)


def noise(count, maps, strength, seed=7):
    cpu = torch.device("cpu")
    return input_noise(count, maps, strength=strength, rng=rng(seed), device=cpu)


def test_input_noise_has_its_strength_and_mean():
    strength, maps = 0.05, 64
    factors = noise(1000, maps, strength)
    assert factors.shape == (1000, maps, 1, 1)  # one factor per sample and map
    std = strength * math.sqrt(maps)
    count = factors.numel()
    assert factors.mean().item() == pytest.approx(1, abs=4 * std / math.sqrt(count))
    assert factors.std().item() == pytest.approx(std, rel=4 / math.sqrt(2 * count))
    assert len(factors.unique()) > 0.99 * count


def test_input_noise_depends_on_its_generator_alone():
    assert torch.equal(noise(2, 3, 0.1), noise(2, 3, 0.1))
    assert not torch.equal(noise(2, 3, 0.1), noise(2, 3, 0.1, seed=8))


def test_input_noise_of_strength_0_changes_nothing():
    assert (noise(2, 3, 0.0) == 1).all()


def test_an_upscaling_convolution_is_nearest_neighbour_and_a_convolution():
    conv = Conv(3, 5, kernel=3, equalized=True, rng=rng(), upscale=True).double()
    x, weight = normal(2, 3, 6, 6), conv.weight * conv.scale
    expected = torch.nn.functional.conv2d(upscale(x), weight, conv.bias, padding=1)
    torch.testing.assert_close(conv(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("maps", [(3, 3), (40, 30)])
def test_where_the_constant_is_applied_does_not_matter(maps):
    """It goes to the input or to the weight, whichever is smaller."""
    conv = Conv(*maps, kernel=3, equalized=True, rng=rng()).double()
    for count in (1, 300):
        x = normal(count, maps[0], 4, 4)
        expected = torch.nn.functional.conv2d(x, conv.weight * conv.scale, conv.bias, padding=1)
        torch.testing.assert_close(conv(x), expected, rtol=1e-12, atol=1e-12)


def test_upscale_repeats_pixels():
    x = normal(2, 3, 4, 4)
    np.testing.assert_array_equal(upscale(x), x.numpy().repeat(2, axis=2).repeat(2, axis=3))


def test_downscale_is_the_2x2_mean():
    x = normal(2, 3, 8, 8)
    expected = x.numpy().reshape(2, 3, 4, 2, 4, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(downscale(x), expected, rtol=1e-12, atol=1e-15)


@given(lod=st.floats(0, 8))
@settings(deadline=None)
def test_fade_reals_blends_with_their_smoothed_selves(lod):
    x = normal(2, 3, 8, 8)
    smooth = x.numpy().reshape(2, 3, 4, 2, 4, 2).mean(axis=(3, 5)).repeat(2, 2).repeat(2, 3)
    weight = lod - math.floor(lod)
    expected = (1 - weight) * x.numpy() + weight * smooth
    np.testing.assert_allclose(fade_reals(x, lod), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("lod", [0, 1, 5.0])
def test_fade_reals_changes_nothing_between_fades(lod):
    x = normal(2, 3, 8, 8)
    assert torch.equal(fade_reals(x, lod), x)


@pytest.mark.parametrize("level", [0, 1, 4])
def test_fade_reals_begins_and_ends_without_a_jump(level):
    x = normal(2, 3, 8, 8)
    torch.testing.assert_close(fade_reals(x, level + 1e-9), x, rtol=1e-7, atol=1e-7)
    smooth = upscale(downscale(x))
    torch.testing.assert_close(fade_reals(x, level + 1 - 1e-9), smooth, rtol=1e-7, atol=1e-7)


def test_initialisation_from_twins_is_refused():
    with pytest.raises(ValueError, match="every image has a twin"):
        small_discrimination().initialise(torch.ones(4, 6).double())
