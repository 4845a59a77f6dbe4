"""Walks between latents begin and end at the images of seeds."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from pgbench.config import RunConfig
from pgbench.environment import seeded
from pgbench.networks import Generator
from pgbench.sampling import generate
from pgbench.walks import STEPS, STRIPS, between, walk_strips


@pytest.fixture(params=["a", "g"])
def generator(request: pytest.FixtureRequest, tiny_config: Callable[..., RunConfig]) -> Generator:
    """With batch normalisation, which mixes the images of a group, and without."""
    return Generator(tiny_config(request.param).generator, seeded(0, 0)).eval()


def test_the_middle_between_right_angles_is_known() -> None:
    a, b = np.array([[3.0, 0.0]]), np.array([[0.0, 3.0]])
    assert np.allclose(between(a, b, 0.5), [[3 / math.sqrt(2), 3 / math.sqrt(2)]])
    assert np.allclose(between(a, b, 1 / 3), [[3 * math.cos(math.pi / 6), 1.5]])


def test_the_way_keeps_the_length() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5, 64))
    b *= np.linalg.norm(a, axis=1, keepdims=True) / np.linalg.norm(b, axis=1, keepdims=True)
    for t in np.linspace(0, 1, 7):
        assert np.allclose(np.linalg.norm(between(a, b, t), axis=1), np.linalg.norm(a, axis=1))


def test_strips_begin_and_end_at_the_images_of_seeds(generator: Generator) -> None:
    strips = walk_strips(generator, lod=0.0).reshape(STRIPS, STEPS, 3, 16, 16)
    begin, end = generate(generator, range(4), lod=0.0), generate(generator, range(16, 20), lod=0.0)
    assert np.array_equal(strips[:, 0], next(begin))
    assert np.array_equal(strips[:, -1], next(end))
    assert all(not np.array_equal(strip[0], strip[3]) for strip in strips)


def test_an_unfinished_generator_is_walked_at_its_resolution(
    tiny_config: Callable[..., RunConfig],
) -> None:
    network = Generator(tiny_config("g").generator, seeded(0, 0)).eval()
    assert walk_strips(network, lod=1.5).shape == (STRIPS * STEPS, 3, 8, 8)
    assert torch.is_grad_enabled()
