"""Rows a and b are those of table 1; the pair of 4c differs in growing alone."""

import pytest

from pgbench.reproductions import celebahq, table1
from pgbench.reproductions.figure4 import ROWS, row_config, rows_on

PLACE = {"dataset": "celeba-hq", "mirror": True, "num_images": None, "seed": 0}
every_profile = pytest.mark.parametrize("profile", ["smoke", "desktop", "workstation", "paper"])


def test_rows():
    assert list(ROWS) == ["a", "b", "fixed", "growing"]


@every_profile
@pytest.mark.parametrize("row", ["a", "b"])
def test_rows_of_table_1_are_only_measured_more_often(row, profile, differences):
    ours = row_config(row, profile=profile, **PLACE)
    theirs = table1.row_config(row, profile=profile, **PLACE)
    assert differences(ours, theirs) == {"artefact", "schedule.snapshot_ticks"}
    times = theirs.schedule.snapshot_ticks / ours.schedule.snapshot_ticks
    assert times >= 2
    snapshots = ours.schedule.total_kimg / (ours.schedule.tick_kimg * ours.schedule.snapshot_ticks)
    assert snapshots >= (6 if profile == "smoke" else 18)


@every_profile
def test_the_pair_differs_in_growing_alone(profile, differences):
    fixed, growing = (row_config(row, profile=profile, **PLACE) for row in ("fixed", "growing"))
    assert differences(fixed, growing) == {"row", "schedule.growing"}
    assert (fixed.schedule.growing, growing.schedule.growing) == (False, True)


@every_profile
def test_the_pair_has_the_networks_of_celeba_hq(profile, differences):
    growing = row_config("growing", profile=profile, **PLACE)
    baseline = celebahq.row_config("baseline", profile=profile, **PLACE)
    shorter = {"schedule.total_kimg"} if profile == "paper" else set()
    changed = {"artefact", "row", "evaluation.snapshot", "evaluation.final"}
    assert differences(growing, baseline) - changed == shorter


def test_the_pair_is_shown_what_the_paper_speaks_of():
    config = row_config("fixed", profile="paper", **PLACE)
    assert (config.data.resolution, config.schedule.total_kimg) == (1024, 6_400.0)
    assert dict(config.schedule.minibatch_at)[1024] == 3


def test_a_data_set_has_the_rows_it_is_large_enough_for():
    assert rows_on("celeba") == ["a", "b"]
    assert rows_on("celeba-hq") == ["fixed", "growing"]
    assert rows_on("portraits") == ["a", "b", "fixed", "growing"]
