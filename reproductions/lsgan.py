"""LSGAN against WGAN-GP: the baseline under two losses (paper, appendix B).

Under LSGAN D is given multiplicative Gaussian noise before each convolution, the stronger the
worse it does; λ, γ and ε_drift have no part in that loss.
"""

from typing import Unpack

from pgbench.config import RunConfig, replace
from pgbench.reproductions.celebahq import BASELINE, SCALES
from pgbench.reproductions.profiles import Asked, placed, scaled

__all__ = ["ROWS", "SCALES", "row_config"]

WGAN_GP = replace(BASELINE, artefact="lsgan", row="wgan-gp")
LSGAN = replace(WGAN_GP, row="lsgan", loss={"kind": "lsgan"})

ROWS = {config.row: config for config in (WGAN_GP, LSGAN)}


def row_config(row: str, **asked: Unpack[Asked]) -> RunConfig:
    """The configuration of one loss at the scale of a profile, which is that of CelebA-HQ."""
    return placed(scaled(ROWS[row], SCALES[asked["profile"]]), **asked)
