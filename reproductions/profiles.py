"""Profiles: how large an artefact is made, from a minute on a laptop to the published settings.

A profile changes resolution, maps, lengths in kimg and how often is measured; never what
distinguishes the rows of an artefact. The horizon of G_ema is such a length: at the paper's decay
of 0.999 per 16 images, a run of 72 kimg would end with its initial weights still in the average.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Scale:
    """The size of table 1 in one profile."""

    resolution: int
    fmap_base: int
    fmap_max: int
    phase_kimg: float  # train_kimg and fade_kimg
    total_kimg: float
    ema_power: float  # shortens the horizon of G_ema, 16 kimg in the paper, for short runs
    converged_fmap_base: int  # of row h, our choice
    converged_kimg: float  # of row h, our choice
    tick_kimg: float
    snapshot_ticks: int
    num_images: int | None  # of the built-in data sets; None: as many as they have
    snapshot_metrics: tuple[str, ...]
    final_metrics: tuple[str, ...]

    def changes(self, *, converged: bool) -> dict[str, Any]:
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
