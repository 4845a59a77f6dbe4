"""Image i depends on seed i alone, whatever set, batch or order it is asked in."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from pgbench.config import GeneratorConfig
from pgbench.networks import Generator
from pgbench.sampling import GROUP, generate, latent, to_uint8

SMALL = {"resolution": 16, "latent_size": 8, "fmap_base": 64, "fmap_max": 16}
KINDS = {
    "linear": GeneratorConfig(**SMALL),
    "batch norm": GeneratorConfig(
        **SMALL,
        activation="relu",
        normalize_latents=False,
        batch_norm=True,
        pixelnorm=False,
        output="tanh",
        equalized_lr=False,
    ),
}
MANY = 40  # three groups, the last one not full


def make(kind):
    """A generator with contrast, so that images differ in many levels."""
    generator = Generator(KINDS[kind], torch.Generator().manual_seed(1))
    with torch.no_grad():
        generator.to_rgb[-1].weight.mul_(0.5)
    return generator


def images_of(generator, seeds, lod=0.0):
    return np.concatenate(list(generate(generator, seeds, lod=lod)))


@pytest.fixture(scope="module", params=KINDS)
def known(request):
    """A generator and its images of seeds 0 to MANY."""
    generator = make(request.param)
    return generator, images_of(generator, range(MANY))


def test_are_nchw_uint8_at_full_resolution(known):
    _, images = known
    assert images.shape == (MANY, 3, 16, 16)
    assert images.dtype == np.uint8


@pytest.mark.parametrize(
    "seeds",
    [
        [0],
        [15, 16],
        [39],
        [3, 1, 2],
        [31, 0, 17, 0],
        [5, 5, 5],
        range(16, 32),
        range(39, -1, -1),
        range(0, 40, 7),
    ],
    ids=str,
)
def test_image_depends_on_its_seed_alone(known, seeds):
    generator, images = known
    np.testing.assert_array_equal(images_of(generator, seeds), images[list(seeds)])


def test_takes_an_endless_iterator_a_batch_at_a_time(known):
    generator, images = known
    batches = generate(generator, itertools.count(4), lod=0.0)
    first = np.concatenate([next(batches), next(batches)])
    np.testing.assert_array_equal(first, images[4:32])


def test_batches_hold_at_most_a_group(known):
    generator, _ = known
    sizes = [len(batch) for batch in generate(generator, range(4, MANY), lod=0.0)]
    assert GROUP == 16
    assert sizes == [12, 16, 8]


def test_no_seeds_no_images(known):
    assert list(generate(known[0], [], lod=0.0)) == []


def test_images_of_different_seeds_differ(known):
    _, images = known
    assert len({image.tobytes() for image in images}) == MANY


@pytest.mark.parametrize("kind", KINDS)
def test_training_or_evaluating_makes_no_difference(kind):
    generator = make(kind)
    training = images_of(generator.train(), [0, 20])
    np.testing.assert_array_equal(images_of(generator.eval(), [0, 20]), training)


@pytest.mark.parametrize("kind", KINDS)
def test_is_what_the_generator_makes_of_the_sixteen_latents(kind):
    generator = make(kind)
    z = torch.stack([latent(seed, 8) for seed in range(16, 32)])
    with torch.no_grad():
        made = generator(z, 0.0).numpy().astype(np.float64)
    expected = np.clip(np.rint(made * 127.5 + 127.5), 0, 255)
    assert np.abs(images_of(generator, range(16, 32)) - expected).max() <= 1  # float32 ties


def test_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    images_of(make("linear"), [0])
    assert torch.equal(torch.get_rng_state(), before)


def test_needs_no_gradients():
    generator = make("linear")
    images_of(generator, [0])
    assert torch.is_grad_enabled()
    assert all(p.grad is None for p in generator.parameters())


@pytest.mark.parametrize(("lod", "factor"), [(0.0, 1), (0.5, 1), (1.0, 2), (1.5, 2), (2.0, 4)])
@pytest.mark.parametrize("kind", KINDS)
def test_lower_resolutions_are_enlarged_by_nearest_neighbour(kind, lod, factor):
    generator = make(kind)
    z = torch.stack([latent(seed, 8) for seed in range(16)])
    with torch.no_grad():
        small = to_uint8(generator(z, lod)).numpy()
    assert small.shape[-1] == 16 // factor
    expected = small.repeat(factor, axis=2).repeat(factor, axis=3)
    np.testing.assert_array_equal(images_of(generator, range(16), lod), expected)


@pytest.mark.parametrize(
    ("value", "byte"),
    [
        (-1.0, 0),
        (1.0, 255),
        (-1.5, 0),
        (7.0, 255),
        (float("inf"), 255),
        (float("-inf"), 0),
        (-1 / 255, 127),  # 127.0
        (1 / 255, 128),  # 128.0
        (2 / 255 - 1, 1),
        (2.6 / 255 - 1, 1),  # 1.3
        (3.4 / 255 - 1, 2),  # 1.7
        (253.2 / 255, 254),  # 254.1
        (254.2 / 255, 255),  # 254.6
    ],
)
def test_to_uint8(value, byte):
    converted = to_uint8(torch.tensor([value]))
    assert converted.dtype == torch.uint8
    assert converted.item() == byte


def test_to_uint8_undoes_the_mapping_of_the_reals():
    """Reals are mapped to [-1, 1] by x / 127.5 - 1."""
    bytes_ = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(bytes_.float() / 127.5 - 1), bytes_)


def test_latents_are_float32_and_depend_on_the_seed_alone():
    assert latent(5, 512).dtype == torch.float32
    assert latent(5, 512).shape == (512,)
    assert torch.equal(latent(5, 512), latent(5, 512))
    assert torch.equal(latent(5, 512)[:128], latent(5, 128))


def test_latents_of_different_seeds_are_independent_standard_normal():
    z = torch.stack([latent(seed, 256) for seed in range(256)]).double().numpy()
    assert len(np.unique(z)) > 0.99 * z.size
    assert stats.kstest(z.ravel(), "norm").pvalue > 0.001
    assert z.var() == pytest.approx(1, abs=4 * np.sqrt(2 / z.size))
    correlations = np.corrcoef(z)[np.triu_indices(256, 1)]
    assert np.abs(correlations).max() < 6 / np.sqrt(256)
