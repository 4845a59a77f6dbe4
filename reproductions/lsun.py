"""The 30 categories of LSUN at 256x256 (paper, section 6.3 and appendix G).

A row is a category. As in the released configuration bedroom and dog are taken whole and not
mirrored, of every other category the first 100,000 images, mirrored: `pgbench data prepare` makes
its stores so, and a run takes all that its store holds, mirrored as the store says.
"""

from dataclasses import replace as with_fields
from typing import Unpack

from pgbench.config import RunConfig, replace
from pgbench.pictures_lsun import CATEGORIES, is_mirrored
from pgbench.reproductions import celebahq
from pgbench.reproductions.profiles import Asked, placed, scaled

STORE = "lsun-"  # what a category's store is called begins so
STAND_IN = "bedroom"  # whose settings any other data set takes

BEDROOM = replace(
    celebahq.BASELINE,
    artefact="lsun",
    row="bedroom",
    data={"name": f"{STORE}bedroom", "resolution": 256, "mirror": False},
    generator={"resolution": 256},
    discriminator={"resolution": 256},
    schedule={"total_kimg": 20_000, "minibatch_at": ()},
)


def _row(category: str) -> RunConfig:
    data = {"name": f"{STORE}{category}", "mirror": is_mirrored(category)}
    return replace(BEDROOM, row=category, data=data)


ROWS = {category: _row(category) for category in CATEGORIES}

SCALES = celebahq.SCALES | {
    "paper": with_fields(
        celebahq.SCALES["paper"],
        resolution=256,
        total_kimg=20_000,
        snapshot_ticks=10,
        num_images=100_000,
        final_metrics=("msssim10k", "fid50k"),
    )
}


def rows_on(dataset: str) -> list[str]:
    """The row that a data set is for."""
    return [_category(dataset) or STAND_IN]


def row_config(row: str, **asked: Unpack[Asked]) -> RunConfig:
    """The configuration of one category at the scale of a profile; ValueError on another's data."""
    held = _category(asked["dataset"])
    if held not in (row, None):
        raise ValueError(f"the data set is LSUN's {held} and the row is {row}; take --row {held}")
    return placed(scaled(ROWS[row], SCALES[asked["profile"]]), **asked)


def _category(dataset: str) -> str | None:
    """The category that a store's name says; None where it is not of LSUN."""
    category = dataset.removeprefix(STORE)
    return category if dataset.startswith(STORE) and category in ROWS else None
