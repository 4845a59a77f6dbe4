"""Losses in closed form, and the gradient of the penalty by finite differences in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgbench.config import LossConfig
from pgbench.losses import (
    DLoss,
    LsganNoise,
    d_loss,
    g_loss,
    gradient_penalty,
)

SHAPE = (4, 3, 2, 2)
LSGAN = LossConfig(kind="lsgan")


def normal(*shape, seed=0):
    """Standard normal float64."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def uniform(count=4, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random(count))


def wgan_gp(score, real, fake, *, mix, config):
    """The loss of D with its penalty at x̂."""
    penalty = config.gp_lambda * gradient_penalty(score, real, fake, mix=mix, gamma=config.gamma)
    loss = d_loss(score(real), score(fake), config)
    return DLoss(loss.total + penalty, loss.real_score, loss.fake_score, penalty)


REAL, FAKE, MIX = normal(*SHAPE, seed=1), normal(*SHAPE, seed=2), uniform()


def linear(norm):
    """D(x) = w·x with a gradient of this norm everywhere."""
    weight = normal(12)
    weight = weight * (norm / weight.norm())
    return weight, lambda x: x.flatten(1) @ weight


@pytest.mark.parametrize("gamma", [1.0, 750.0])
@pytest.mark.parametrize("eps_drift", [0.0, 1e-3])
@pytest.mark.parametrize("norm", [0.0, 0.25, 1.0, 3.0, 750.0])
def test_wgan_gp_of_a_linear_discriminator(gamma, eps_drift, norm):
    weight, score = linear(norm)
    config = LossConfig(gamma=gamma, eps_drift=eps_drift)
    loss = wgan_gp(score, REAL, FAKE, mix=MIX, config=config)
    w, real, fake = weight.numpy(), REAL.numpy().reshape(4, 12), FAKE.numpy().reshape(4, 12)
    penalty = 10 * (norm - gamma) ** 2 / gamma**2
    drift = eps_drift * np.mean((real @ w) ** 2)
    assert loss.real_score.item() == pytest.approx(np.mean(real @ w), abs=1e-12)
    assert loss.fake_score.item() == pytest.approx(np.mean(fake @ w), abs=1e-12)
    assert loss.penalty.item() == pytest.approx(penalty, abs=1e-9)
    total = np.mean(fake @ w) - np.mean(real @ w) + penalty + drift
    assert loss.total.item() == pytest.approx(total, abs=1e-9)


def test_lambda_scales_the_penalty_alone():
    _, score = linear(3.0)
    none, some = (
        wgan_gp(score, REAL, FAKE, mix=MIX, config=LossConfig(gp_lambda=each))
        for each in (0.0, 2.5)
    )
    assert some.total.item() - none.total.item() == pytest.approx(2.5 * 4, abs=1e-12)


def test_penalty_is_the_mean_over_samples_not_the_penalty_of_the_mean():
    """D(x) = |x|²/2 has the gradient x: its norm is that of x̂, another for every sample."""

    def score(x):
        return x.square().flatten(1).sum(1) / 2

    u = MIX.numpy()[:, None]
    real, fake = (x.numpy().reshape(4, 12) for x in (REAL, FAKE))
    norms = np.linalg.norm(real + u * (fake - real), axis=1)
    for gamma in (1.0, 2.0):
        expected = np.mean((norms - gamma) ** 2) / gamma**2
        measured = gradient_penalty(score, REAL, FAKE, mix=MIX, gamma=gamma)
        assert measured.item() == pytest.approx(expected, rel=1e-12)


def seen_by(mix):
    """The x̂ that D is shown."""
    seen = []

    def score(x):
        seen.append(x.detach())
        return x.flatten(1).sum(1)

    gradient_penalty(score, REAL, FAKE, mix=mix, gamma=1.0)
    return seen


@settings(deadline=None)
@given(seed=st.integers(0, 1000))
def test_penalty_is_taken_between_real_and_fake(seed):
    mix = uniform(seed=seed)
    (mixed,) = seen_by(mix)
    assert (mixed >= torch.minimum(REAL, FAKE) - 1e-12).all()
    assert (mixed <= torch.maximum(REAL, FAKE) + 1e-12).all()
    share = (mixed - REAL) / (FAKE - REAL)
    torch.testing.assert_close(share, mix[:, None, None, None].expand(SHAPE))


def test_mix_0_is_the_real_and_1_the_fake():
    assert torch.equal(seen_by(torch.zeros(4).double())[0], REAL)
    assert torch.equal(seen_by(torch.ones(4).double())[0], FAKE)


def test_gradient_of_the_penalty_of_a_linear_discriminator():
    """d/dw of (|w| - γ)²/γ² is 2 (|w| - γ)/γ² · w/|w|."""
    for gamma in (1.0, 2.0, 750.0):
        weight = normal(12, seed=3).requires_grad_()
        penalty = gradient_penalty(
            lambda x, w=weight: x.flatten(1) @ w, REAL, FAKE, mix=MIX, gamma=gamma
        )
        penalty.backward()
        w, norm = weight.detach(), weight.detach().norm()
        torch.testing.assert_close(weight.grad, 2 * (norm - gamma) / gamma**2 * w / norm)


def test_gradient_of_the_loss_with_respect_to_the_weights():
    """Two layers with a smooth nonlinearity, by finite differences."""

    def total(first, second, bias):
        def score(x):
            return torch.nn.functional.softplus(x.flatten(1) @ first + bias) @ second

        return wgan_gp(score, REAL, FAKE, mix=MIX, config=LossConfig(gamma=1.5)).total

    shapes = [(12, 5), (5,), (5,)]
    weights = [normal(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes)]
    assert torch.autograd.gradcheck(total, weights)


def test_no_gradient_reaches_the_images():
    real, fake = REAL.clone(), FAKE.clone()
    weight, _ = linear(2.0)
    weight.requires_grad_()
    wgan_gp(
        lambda x: x.flatten(1) @ weight, real, fake, mix=MIX, config=LossConfig()
    ).total.backward()
    assert real.grad is None
    assert fake.grad is None
    assert not real.requires_grad


def test_lsgan_against_numpy():
    _, score = linear(2.0)
    loss = d_loss(score(REAL), score(FAKE), LSGAN)
    real, fake = score(REAL).numpy(), score(FAKE).numpy()
    expected = np.mean(real**2) + 0.1 * np.mean((fake - 1) ** 2)
    assert loss.total.item() == pytest.approx(expected, rel=1e-12)
    assert loss.real_score.item() == pytest.approx(real.mean(), abs=1e-12)
    assert loss.fake_score.item() == pytest.approx(fake.mean(), abs=1e-12)
    assert loss.penalty.item() == 0


def test_lsgan_is_0_where_d_says_0_for_reals_and_1_for_fakes():

    def score(x):
        return (x.flatten(1).mean(1) > 0).double()

    ones = torch.ones(SHAPE).double()
    assert d_loss(score(-ones), score(ones), LSGAN).total == 0
    assert d_loss(score(ones), score(-ones), LSGAN).total.item() == pytest.approx(1.1)


def test_g_loss():
    scores = torch.tensor([1.0, -2.0, 4.0], dtype=torch.float64)
    assert g_loss(scores, LossConfig()).item() == -1.0
    assert g_loss(scores, LossConfig(kind="lsgan")).item() == 7.0


def test_lsgan_noise_by_hand():
    noise = LsganNoise()
    averages, strengths = [], []
    for value in [1.0] * 7 + [0.0]:
        noise.update(value)
        averages.append(noise.average)
        strengths.append(noise.strength)
    expected = [0.1, 0.19, 0.271, 0.3439, 0.40951, 0.468559, 0.5217031, 0.46953279]
    assert averages == pytest.approx(expected, rel=1e-12)
    assert strengths == pytest.approx([0.0] * 6 + [0.2 * 0.0217031**2, 0.0], rel=1e-9)


def test_lsgan_noise_clips_the_loss():
    high, low = LsganNoise(0.5), LsganNoise(0.5)
    high.update(25.0)
    low.update(-25.0)
    assert high.average == pytest.approx(0.55, rel=1e-12)
    assert low.average == pytest.approx(0.45, rel=1e-12)


@pytest.mark.parametrize(("average", "strength"), [(0, 0), (0.5, 0), (0.75, 0.0125), (1.0, 0.05)])
def test_lsgan_noise_strength(average, strength):
    assert LsganNoise(average).strength == pytest.approx(strength, rel=1e-12)


@settings(deadline=None)
@given(values=st.lists(st.floats(-10, 10), max_size=20))
def test_lsgan_noise_is_never_stronger_than_at_a_loss_of_1(values):
    noise = LsganNoise()
    for value in values:
        noise.update(value)
    assert 0 <= noise.average <= 1 - 0.9 ** len(values) + 1e-12
    assert 0 <= noise.strength <= 0.05
    assert math.isfinite(noise.strength)
