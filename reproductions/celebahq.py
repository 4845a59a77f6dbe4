"""CelebA-HQ at 1024x1024: the paper's baseline, with all of its contributions (section 6.2, A.1).

The other artefacts are built on it. The paper's FID compares 50,000 images; CelebA-HQ has 30,000,
and here no real image counts twice: ours is `fid30k`.
"""

from typing import Unpack

from pgbench.config import (
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    OptimiserConfig,
    RunConfig,
    ScheduleConfig,
)
from pgbench.reproductions.profiles import Asked, Scale, placed, scaled

BASELINE = RunConfig(
    artefact="celebahq",
    row="baseline",
    profile="paper",
    data=DataConfig(name="celeba-hq", resolution=1024, mirror=True),
    generator=GeneratorConfig(resolution=1024, latent_size=512, fmap_base=8192, fmap_max=512),
    discriminator=DiscriminatorConfig(
        resolution=1024, fmap_base=8192, fmap_max=512, minibatch_layer="stddev"
    ),
    loss=LossConfig(kind="wgan-gp", gp_lambda=10, gamma=1, eps_drift=1e-3),
    optimiser=OptimiserConfig(lr=1e-3, beta2=0.99, n_critic=1, ema=0.999, rampup_kimg=40),
    schedule=ScheduleConfig(
        train_kimg=800,
        fade_kimg=800,
        total_kimg=19_000,
        minibatch=16,
        minibatch_at=((256, 14), (512, 6), (1024, 3)),
    ),
)

ROWS = {"baseline": BASELINE}

SCALES = {
    "smoke": Scale(
        resolution=16,
        fmap_base=64,
        fmap_max=32,
        phase_kimg=0.32,
        total_kimg=1.92,
        ema_power=50,
        tick_kimg=0.32,
        snapshot_ticks=3,
        num_images=1024,
        snapshot_metrics=("swd256", "msssim128"),
        final_metrics=("swd1k", "msssim256", "fd-effnetlite0-128"),
    ),
    "desktop": Scale(
        resolution=64,
        fmap_base=256,
        fmap_max=64,
        phase_kimg=6,
        total_kimg=84,
        ema_power=10,
        tick_kimg=2,
        snapshot_ticks=6,
        num_images=None,
        snapshot_metrics=("swd2k", "msssim1k"),
        final_metrics=("swd8k", "msssim4k", "fd-effnetlite0-2k"),
    ),
    "workstation": Scale(
        resolution=128,
        fmap_base=4096,
        fmap_max=256,
        phase_kimg=100,
        total_kimg=1500,
        ema_power=1,
        tick_kimg=10,
        snapshot_ticks=10,
        num_images=None,
        snapshot_metrics=("swd8k", "msssim4k"),
        final_metrics=("swd16k", "msssim10k", "fid30k"),
    ),
    "paper": Scale(
        resolution=1024,
        fmap_base=8192,
        fmap_max=512,
        phase_kimg=800,
        total_kimg=19_000,
        ema_power=1,
        tick_kimg=20,
        snapshot_ticks=25,
        num_images=None,
        snapshot_metrics=("swd16k",),
        final_metrics=("msssim10k", "fid30k"),
    ),
}


def row_config(row: str, **asked: Unpack[Asked]) -> RunConfig:
    """The configuration of the baseline at the scale of a profile."""
    return placed(scaled(ROWS[row], SCALES[asked["profile"]]), **asked)
