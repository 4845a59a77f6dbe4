"""Table 3: CIFAR-10, unsupervised (paper, section 6.3 and appendix C).

What sets it apart from the baseline: the gradient norm γ is 750, G and D are updated in one step
from one shared batch of fakes, and all layers have 128 maps. Row cifar10-gamma1 keeps γ at 1.

The inception score of every snapshot counts, as a run's result is its best one. `smoke` and
`desktop` run where nothing can be downloaded, with EfficientNet-Lite0 in place of Inception; its
scores have names, and a table, of their own.
"""

from typing import Unpack

from pgbench.config import RunConfig, replace
from pgbench.reproductions.celebahq import BASELINE
from pgbench.reproductions.profiles import Asked, Scale, placed, scaled

CIFAR10 = replace(
    BASELINE,
    artefact="table3",
    row="cifar10",
    data={"name": "cifar10", "resolution": 32, "mirror": False},
    generator={"resolution": 32, "latent_size": 128, "fmap_base": 4096, "fmap_max": 128},
    discriminator={"resolution": 32, "fmap_base": 4096, "fmap_max": 128},
    loss={"gamma": 750.0},
    optimiser={"shared_step": True, "rampup_kimg": 0.0},
    schedule={"train_kimg": 400, "fade_kimg": 400, "total_kimg": 20_000, "minibatch_at": ()},
)

# what others' reimplementations kept
GAMMA1 = replace(CIFAR10, row="cifar10-gamma1", loss={"gamma": 1.0})

ROWS = {config.row: config for config in (CIFAR10, GAMMA1)}

SCALES = {
    "smoke": Scale(
        resolution=16,
        fmap_base=256,
        fmap_max=16,
        phase_kimg=0.32,
        total_kimg=1.92,
        ema_power=50,
        tick_kimg=0.32,
        snapshot_ticks=3,
        num_images=1024,
        snapshot_metrics=("is-effnetlite0-100",),
        final_metrics=("swd256",),
    ),
    "desktop": Scale(
        resolution=32,
        fmap_base=1024,
        fmap_max=32,
        phase_kimg=6,
        total_kimg=96,
        ema_power=10,
        tick_kimg=2,
        snapshot_ticks=4,
        num_images=None,
        snapshot_metrics=("is-effnetlite0-2k",),
        final_metrics=("swd8k", "msssim4k"),
    ),
    "workstation": Scale(
        resolution=32,
        fmap_base=2048,
        fmap_max=64,
        phase_kimg=100,
        total_kimg=3000,
        ema_power=1,
        tick_kimg=20,
        snapshot_ticks=5,
        num_images=None,
        snapshot_metrics=("is50k",),
        final_metrics=("swd16k", "msssim10k"),
    ),
    "paper": Scale(
        resolution=32,
        fmap_base=4096,
        fmap_max=128,
        phase_kimg=400,
        total_kimg=20_000,
        ema_power=1,
        tick_kimg=20,
        snapshot_ticks=10,
        num_images=None,
        snapshot_metrics=("is50k",),
        final_metrics=("swd16k", "msssim10k"),
    ),
}


def row_config(row: str, **asked: Unpack[Asked]) -> RunConfig:
    """The configuration of one row at the scale of a profile; `phase_kimg` overrides 400/400."""
    return placed(scaled(ROWS[row], SCALES[asked["profile"]]), **asked)
