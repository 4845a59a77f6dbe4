"""Table 4: modes of MNIST in three channels that a tiny D keeps (section 6.3, appendix D).

D has a quarter (K/4) or half (K/2) of G's maps. Each row adds to the one before it; the paper's
first two columns, GAN and unrolling, are other people's.
"""

from dataclasses import dataclass
from typing import Any, Unpack

from pgbench.config import (
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    OptimiserConfig,
    RunConfig,
    ScheduleConfig,
    replace,
)
from pgbench.reproductions.profiles import Asked, placed

_G_MAPS = 128  # nf(i) = 128 / 2**i: 64 maps at 4x4, 8 at 32x32

# WGAN-GP with batch normalisation in both networks
WGAN_GP = RunConfig(
    artefact="table4",
    row="K/4 wgan-gp",
    profile="paper",
    data=DataConfig(name="mnist-rgb", resolution=32, mirror=False),
    generator=GeneratorConfig(
        resolution=32,
        kind="modes",
        latent_size=64,
        normalize_latents=True,
        fmap_base=_G_MAPS,
        batch_norm=True,
        pixelnorm=False,
        output="tanh",
        equalized_lr=False,
    ),
    discriminator=DiscriminatorConfig(
        resolution=32,
        kind="modes",
        fmap_base=_G_MAPS // 4,
        batch_norm=True,
        minibatch_layer="none",
        equalized_lr=False,
    ),
    loss=LossConfig(eps_drift=0.0),
    optimiser=OptimiserConfig(lr=1e-3, beta2=0.99, n_critic=5, ema=0.999, rampup_kimg=40),
    schedule=ScheduleConfig(growing=False, total_kimg=10_000, minibatch=64),
)

# + Our normalisation
NORM = replace(
    WGAN_GP,
    row="K/4 norm",
    generator={"batch_norm": False, "pixelnorm": True, "equalized_lr": True},
    discriminator={"batch_norm": False, "equalized_lr": True},
)

# + Minibatch stddev
STDDEV = replace(NORM, row="K/4 stddev", discriminator={"minibatch_layer": "stddev"})

# + Progressive growing
PROGRESSION = replace(
    STDDEV,
    row="K/4 progression",
    discriminator={"kind": "growing-modes"},
    schedule={"growing": True, "train_kimg": 500, "fade_kimg": 2000, "total_kimg": 15_000},
)


def _half(config: RunConfig) -> RunConfig:
    """The same with half of G's maps in D."""
    row = config.row.replace("K/4", "K/2")
    return replace(config, row=row, discriminator={"fmap_base": _G_MAPS // 2})


_QUARTER = (WGAN_GP, NORM, STDDEV, PROGRESSION)
ROWS = {config.row: config for config in (*_QUARTER, *map(_half, _QUARTER))}


@dataclass(frozen=True)
class Scale:
    """How long table 4 trains in one profile, and how often it is measured."""

    shorter: float  # than the paper's: divides every length in kimg
    ema_power: float  # shortens the horizon of G_ema, 320 kimg in the paper
    tick_kimg: float
    snapshot_ticks: int
    snapshot_metrics: tuple[str, ...]
    final_metrics: tuple[str, ...]
    num_images: int | None = None  # all that the store has

    def changes(self, config: RunConfig) -> dict[str, Any]:
        """The parts of a RunConfig that this scale sets."""
        schedule, opt = config.schedule, config.optimiser
        phases = ("train_kimg", "fade_kimg") if schedule.growing else ()
        lengths = {name: getattr(schedule, name) / self.shorter for name in ("total_kimg", *phases)}
        ticks = {"tick_kimg": self.tick_kimg, "snapshot_ticks": self.snapshot_ticks}
        return {
            "schedule": lengths | ticks,
            "optimiser": {
                "ema": opt.ema**self.ema_power,
                "rampup_kimg": opt.rampup_kimg / self.shorter,
            },
            "evaluation": {"snapshot": self.snapshot_metrics, "final": self.final_metrics},
        }


SCALES = {
    "smoke": Scale(
        shorter=2500,
        ema_power=500,
        tick_kimg=1,
        snapshot_ticks=2,
        snapshot_metrics=("modes32",),
        final_metrics=("modes64",),
    ),
    "desktop": Scale(
        shorter=20,
        ema_power=10,
        tick_kimg=25,
        snapshot_ticks=5,
        snapshot_metrics=("modes1k",),
        final_metrics=("modes25k",),
    ),
    "workstation": Scale(
        shorter=4,
        ema_power=2,
        tick_kimg=50,
        snapshot_ticks=10,
        snapshot_metrics=("modes5k",),
        final_metrics=("modes25k",),
    ),
    "paper": Scale(
        shorter=1,
        ema_power=1,
        tick_kimg=100,
        snapshot_ticks=10,
        snapshot_metrics=("modes5k",),
        final_metrics=("modes25k",),
    ),
}


def row_config(row: str, **asked: Unpack[Asked]) -> RunConfig:
    """The configuration of one row at the scale of a profile; `phase_kimg` sets both phases."""
    config = replace(ROWS[row], **SCALES[asked["profile"]].changes(ROWS[row]))
    return placed(config, **asked)
