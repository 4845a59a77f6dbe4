"""The training schedule as a pure function of nimg (paper, section 2 and appendix A.1).

The clock `nimg` counts real images shown to D, n_critic repeats included.
"""

import math
from dataclasses import dataclass

from pgbench.config import ScheduleConfig

START_RESOLUTION = 4


@dataclass(frozen=True)
class TrainingPoint:
    """What holds at one moment of training; `lod` 0 is full resolution, its fraction the fade."""

    nimg: int
    lod: float
    resolution: int  # of floor(lod): what G makes and D sees
    minibatch: int
    lr_factor: float
    active_lods: tuple[int, int]  # floor and ceil: when they change, Adam starts afresh


def training_point(
    nimg: int, schedule: ScheduleConfig, *, resolution: int, rampup_kimg: float
) -> TrainingPoint:
    """The point at `nimg` images for a network of full `resolution`."""
    lod = level_of_detail(nimg, schedule, resolution=resolution)
    current = resolution >> math.floor(lod)
    return TrainingPoint(
        nimg=nimg,
        lod=lod,
        resolution=current,
        minibatch=minibatch_at(current, schedule),
        lr_factor=_ramp_up(nimg, rampup_kimg),
        active_lods=(math.floor(lod), math.ceil(lod)),
    )


def minibatch_at(resolution: int, schedule: ScheduleConfig) -> int:
    """The minibatch at a current resolution."""
    return dict(schedule.minibatch_at).get(resolution, schedule.minibatch)


def resolutions(schedule: ScheduleConfig, *, full: int) -> list[int]:
    """The resolutions that are trained at, up to that of the data."""
    first = START_RESOLUTION if schedule.growing else full
    return [1 << i for i in range(2, 11) if first <= 1 << i <= full]


def level_of_detail(nimg: int, schedule: ScheduleConfig, *, resolution: int) -> float:
    """lod = lod_start - floor(phase) - max(0, (kimg_in_phase - train) / fade), not below 0."""
    if not schedule.growing:
        return 0.0
    lod_start = int(math.log2(resolution // START_RESOLUTION))
    train, fade = (round(1000 * kimg) for kimg in (schedule.train_kimg, schedule.fade_kimg))
    phase, in_phase = divmod(nimg, train + fade)  # in whole images, so that boundaries are exact
    faded = max(0.0, (in_phase - train) / fade)
    return max(0.0, lod_start - phase - faded)


def _ramp_up(nimg: int, rampup_kimg: float) -> float:
    """Factor exp(-5 (1 - t)^2) with t = kimg / rampup_kimg, 1 after the ramp or without one."""
    if nimg >= rampup_kimg * 1000:
        return 1.0
    return math.exp(-5 * (1 - nimg / (rampup_kimg * 1000)) ** 2)
