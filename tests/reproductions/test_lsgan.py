"""LSGAN differs from WGAN-GP in its loss, and WGAN-GP from the baseline in its name."""

import pytest

from pgbench.reproductions.celebahq import BASELINE
from pgbench.reproductions.lsgan import ROWS, SCALES, row_config

PLACE = {"dataset": "celeba-hq", "mirror": True, "num_images": None, "seed": 0}


def test_wgan_gp_is_the_baseline(differences):
    assert differences(ROWS["wgan-gp"], BASELINE) == {"artefact", "row"}


@pytest.mark.parametrize("profile", SCALES)
def test_lsgan_differs_in_its_loss_alone(profile, differences):
    one, two = (row_config(row, profile=profile, **PLACE) for row in ("wgan-gp", "lsgan"))
    assert differences(one, two) == {"row", "loss.kind"}
    assert (one.loss.kind, two.loss.kind) == ("wgan-gp", "lsgan")
    assert list(ROWS) == ["wgan-gp", "lsgan"]
