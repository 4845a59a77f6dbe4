"""Table 1: the ablation, each row with only what it changes (paper, section 6.1 and appendix A).

The rows are those of the released configuration at 128x128. Row h, "non-crippled network and
longer training", exists in none: ours takes the baseline's fmap_base 8192 and 19,000 kimg.
"""

from typing import Unpack

from pgbench.config import (
    DataConfig,
    DiscriminatorConfig,
    EvaluationConfig,
    GeneratorConfig,
    LossConfig,
    OptimiserConfig,
    RunConfig,
    ScheduleConfig,
    replace,
)
from pgbench.reproductions.profiles import Asked, Scale, placed, scaled

# Gulrajani et al. (2017): WGAN-GP at full resolution from the start
A = RunConfig(
    artefact="table1",
    row="a",
    profile="paper",
    data=DataConfig(name="celeba", resolution=128, mirror=True),
    generator=GeneratorConfig(
        resolution=128,
        latent_size=128,
        normalize_latents=False,
        fmap_base=2048,
        activation="relu",
        batch_norm=True,
        pixelnorm=False,
        output="tanh",
        equalized_lr=False,
    ),
    discriminator=DiscriminatorConfig(
        resolution=128,
        fmap_base=2048,
        layer_norm=True,
        minibatch_layer="none",
        equalized_lr=False,
    ),
    loss=LossConfig(eps_drift=0.0),
    optimiser=OptimiserConfig(lr=1e-4, beta2=0.9, n_critic=5, ema=0.999**20),
    schedule=ScheduleConfig(growing=False, total_kimg=10_000, minibatch=64),
    evaluation=EvaluationConfig(),
)

# + Progressive growing
B = replace(A, row="b", schedule={"growing": True})

# + Small minibatch; the exponent of EMA keeps its decay per real image
C = replace(B, row="c", schedule={"minibatch": 16}, optimiser={"ema": 0.999**5})

# + Revised training parameters
D = replace(
    C,
    row="d",
    optimiser={"n_critic": 1, "beta2": 0.99, "ema": 0.999},
    loss={"eps_drift": 1e-3},
    generator={
        "latent_size": 512,
        "normalize_latents": True,
        "activation": "lrelu",
        "batch_norm": False,
        "output": "linear",
    },
    discriminator={"layer_norm": False},
)

# + Minibatch discrimination
E_STAR = replace(D, row="e*", discriminator={"minibatch_layer": "discrimination"})

# Minibatch stddev, instead of minibatch discrimination
E = replace(D, row="e", discriminator={"minibatch_layer": "stddev"})

# + Equalized learning rate
F = replace(
    E,
    row="f",
    optimiser={"lr": 1e-3},
    generator={"equalized_lr": True},
    discriminator={"equalized_lr": True},
)

# + Pixelwise normalization
G = replace(F, row="g", generator={"pixelnorm": True})

# Converged
H = replace(
    G,
    row="h",
    generator={"fmap_base": 8192},
    discriminator={"fmap_base": 8192},
    schedule={"total_kimg": 19_000},
)

ROWS = {config.row: config for config in (A, B, C, D, E_STAR, E, F, G, H)}

SCALES = {
    "smoke": Scale(
        resolution=16,
        fmap_base=64,
        fmap_max=32,
        phase_kimg=0.32,
        total_kimg=1.92,
        ema_power=50,
        converged_fmap_base=128,
        converged_kimg=2.56,
        tick_kimg=0.32,
        snapshot_ticks=3,
        num_images=1024,
        snapshot_metrics=("swd256", "msssim128"),
        final_metrics=("swd1k", "msssim256"),
    ),
    "desktop": Scale(
        resolution=32,
        fmap_base=128,
        fmap_max=64,
        phase_kimg=5,
        total_kimg=72,
        ema_power=10,
        converged_fmap_base=256,
        converged_kimg=96,
        tick_kimg=2,
        snapshot_ticks=6,
        num_images=None,
        snapshot_metrics=("swd2k", "msssim1k"),
        final_metrics=("swd8k", "msssim4k"),
    ),
    "workstation": Scale(
        resolution=64,
        fmap_base=1024,
        fmap_max=256,
        phase_kimg=100,
        total_kimg=1500,
        ema_power=1,
        converged_fmap_base=2048,
        converged_kimg=2400,
        tick_kimg=10,
        snapshot_ticks=10,
        num_images=None,
        snapshot_metrics=("swd8k", "msssim4k"),
        final_metrics=("swd16k", "msssim10k"),
    ),
    "paper": Scale(
        resolution=128,
        fmap_base=2048,
        fmap_max=512,
        phase_kimg=800,
        total_kimg=10_000,
        ema_power=1,
        converged_fmap_base=8192,
        converged_kimg=19_000,
        tick_kimg=20,
        snapshot_ticks=10,
        num_images=None,
        snapshot_metrics=("swd16k", "msssim10k"),
        final_metrics=("swd16k", "msssim10k"),
    ),
}


def row_config(row: str, **asked: Unpack[Asked]) -> RunConfig:
    """The configuration of one row at the scale of a profile; `phase_kimg` overrides 800/800."""
    scale = SCALES[asked["profile"]]
    return placed(scaled(ROWS[row], scale, converged=row == "h"), **asked)
