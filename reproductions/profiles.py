"""Profiles: how large an artefact is made, from a minute on a laptop to the published settings.

A profile changes resolution, maps, lengths in kimg and how often is measured; never what
distinguishes the rows of an artefact. The horizon of G_ema is such a length: at the paper's decay
of 0.999 per 16 images, a run of 72 kimg would end with its initial weights still in the average.
So is the ramp-up of the learning rate.
"""

from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict, Unpack

from pgbench.config import RunConfig, replace


class Asked(TypedDict):
    """What every artefact's `row_config` takes besides the row."""

    profile: str
    dataset: str
    mirror: bool
    num_images: int | None
    seed: int
    phase_kimg: NotRequired[float | None]  # instead of the profile's


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The size of an artefact in one profile."""

    resolution: int
    fmap_base: int
    fmap_max: int
    phase_kimg: float  # train_kimg and fade_kimg
    total_kimg: float
    ema_power: float  # shortens the horizon of G_ema, 16 kimg in the paper, for short runs
    converged_fmap_base: int | None = None  # of table 1's row h, our choice
    converged_kimg: float | None = None  # of table 1's row h, our choice
    tick_kimg: float
    snapshot_ticks: int
    num_images: int | None  # of the built-in data sets; None: as many as they have
    snapshot_metrics: tuple[str, ...]
    final_metrics: tuple[str, ...]

    def changes(self, *, converged: bool = False) -> dict[str, Any]:
        """The parts of a RunConfig that this scale sets."""
        fmap_base = self.converged_fmap_base if converged else self.fmap_base
        network = {"fmap_base": fmap_base, "fmap_max": self.fmap_max}
        return {
            "data": {"resolution": self.resolution},
            "generator": network | {"resolution": self.resolution},
            "discriminator": network | {"resolution": self.resolution},
            "schedule": {
                "train_kimg": self.phase_kimg,
                "fade_kimg": self.phase_kimg,
                "total_kimg": self.converged_kimg if converged else self.total_kimg,
                "tick_kimg": self.tick_kimg,
                "snapshot_ticks": self.snapshot_ticks,
            },
            "evaluation": {"snapshot": self.snapshot_metrics, "final": self.final_metrics},
        }


def scaled(config: RunConfig, scale: Scale, *, converged: bool = False) -> RunConfig:
    """`config`, a row at the published size, in the size of `scale`."""
    opt, ratio = config.optimiser, scale.phase_kimg / config.schedule.train_kimg
    lengths = {"ema": opt.ema**scale.ema_power, "rampup_kimg": opt.rampup_kimg * ratio}
    return replace(config, **scale.changes(converged=converged), optimiser=lengths)


def placed(config: RunConfig, **asked: Unpack[Asked]) -> RunConfig:
    """`config` on a data set, with a seed; `phase_kimg` overrides both lengths of a phase."""
    data = {name: asked[name] for name in ("mirror", "num_images")} | {"name": asked["dataset"]}
    kimg = asked.get("phase_kimg")
    phases = {"train_kimg": kimg, "fade_kimg": kimg} if kimg is not None else {}
    return replace(config, profile=asked["profile"], seed=asked["seed"], data=data, schedule=phases)
