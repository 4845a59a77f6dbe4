"""Multiplications by hand, and against what the networks really do."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pgbench.config import RunConfig, replace
from pgbench.networks import Discriminator, Generator
from pgbench.reproductions.table1 import ROWS
from pgbench.work import (
    discriminator_products,
    generator_products,
    products_per_real,
    work_done,
)


def of_product(a: torch.Size, b: torch.Size, *_: object, **__: object) -> int:
    """The operations of oneDNN's product of (R, K) and (S, K), which torch does not count."""
    return 2 * a[0] * a[1] * b[0]


def of_images(a: torch.Size, b: torch.Size, *_: object, **__: object) -> int:
    """The operations of a product; sums of an enlarging convolution's weights are of no image."""
    return 0 if b == (9, 16) else 2 * a[0] * a[1] * b[1]


def counted(network: torch.nn.Module, *inputs: object) -> float:
    """Multiplications that torch counts in the convolutions and matrix products of a pass."""
    more = {torch.ops.mkldnn._linear_pointwise: of_product, torch.ops.aten.mm: of_images}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=more) as counter:
        network(*inputs)
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("row", ["a", "d", "g"])
@pytest.mark.parametrize("lod", [0, 2, 5])
def test_products_are_those_of_the_networks(row: str, lod: int) -> None:
    config, side = ROWS[row], 128 >> lod
    G, D = Generator(config.generator), Discriminator(config.discriminator)
    by_torch = counted(G, torch.zeros(1, config.generator.latent_size), float(lod))
    assert generator_products(config.generator, side) == pytest.approx(by_torch)
    by_torch = counted(D, torch.zeros(1, 3, side, side), float(lod))
    score = 512  # the last layer of one output is left out
    assert discriminator_products(config.discriminator, side) == pytest.approx(by_torch - score)


def test_passes_by_hand() -> None:
    config = ROWS["g"]
    G = generator_products(config.generator, 4)
    D = discriminator_products(config.discriminator, 4)
    assert products_per_real(config, 4) == G + 12 * D + 3 * G + 2 * D
    critic = replace(config, optimiser={"n_critic": 5})
    assert products_per_real(critic, 4) == pytest.approx(G + 12 * D + (3 * G + 2 * D) / 5)
    shared = replace(config, optimiser={"shared_step": True}, loss={"kind": "lsgan"})
    assert products_per_real(shared, 4) == 6 * D + 3 * G + 2 * D


@pytest.mark.parametrize("row", ["a", "g"])
def test_the_share_of_work_rises_from_0_to_1(row: str) -> None:
    config: RunConfig = ROWS[row]
    nimg, done = work_done(config)
    assert (nimg[0], nimg[-1], done[0], done[-1]) == (0, 1e7, 0, 1)
    assert (np.diff(done) > 0).all()
    growing = config.schedule.growing
    assert (np.interp(1e6, nimg, done) < 0.05) == growing  # small images are cheap
