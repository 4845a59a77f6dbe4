"""Figure 4: quality and images shown against hours of training (paper, section 6.2).

4a and 4b are rows a and b of table 1, measured often. 4c is the baseline of CelebA-HQ without and
with growing, up to the 6.4 million images that the paper speaks of; its clock is all that counts.
"""

from dataclasses import replace as with_fields
from typing import Unpack

from pgbench.config import RunConfig, replace
from pgbench.reproductions import celebahq, table1
from pgbench.reproductions.profiles import Asked, placed, scaled

A = replace(table1.A, artefact="figure4")
B = replace(table1.B, artefact="figure4")

GROWING = replace(
    celebahq.BASELINE, artefact="figure4", row="growing", schedule={"total_kimg": 6_400}
)
FIXED = replace(GROWING, row="fixed", schedule={"growing": False})

ROWS = {config.row: config for config in (A, B, FIXED, GROWING)}

SCALES = {  # of rows a and b
    "smoke": with_fields(table1.SCALES["smoke"], snapshot_ticks=1),
    "desktop": with_fields(table1.SCALES["desktop"], snapshot_ticks=2),
    "workstation": with_fields(table1.SCALES["workstation"], snapshot_ticks=3),
    "paper": with_fields(table1.SCALES["paper"], snapshot_ticks=5),
}

RACE_SCALES = {  # of rows fixed and growing
    name: with_fields(
        scale,
        total_kimg=min(scale.total_kimg, GROWING.schedule.total_kimg),
        snapshot_metrics=(),
        final_metrics=tuple(metric for metric in scale.final_metrics if metric.startswith("swd")),
    )
    for name, scale in celebahq.SCALES.items()
}


def rows_on(dataset: str) -> list[str]:
    """The rows that are shown of a data set: CelebA is too small for 4c, CelebA-HQ is for it."""
    pair = {"celeba": ["a", "b"], "celeba-hq": ["fixed", "growing"]}
    return pair.get(dataset, list(ROWS))


def row_config(row: str, **asked: Unpack[Asked]) -> RunConfig:
    """The configuration of one row at the scale of a profile; `phase_kimg` overrides 800/800."""
    scales = SCALES if row in ("a", "b") else RACE_SCALES
    return placed(scaled(ROWS[row], scales[asked["profile"]]), **asked)
