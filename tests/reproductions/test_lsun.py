"""LSUN's categories against the released configuration."""

import pytest

from pgbench.reproductions.celebahq import BASELINE
from pgbench.reproductions.lsun import BEDROOM, ROWS, row_config, rows_on

PLACE = {"mirror": True, "num_images": None, "seed": 0}
CATEGORIES = 30
WHOLE = ("bedroom", "dog")


def test_there_is_a_row_for_each_category():
    assert len(ROWS) == CATEGORIES
    assert {"bedroom", "church_outdoor", "cat", "tv-monitor"} < set(ROWS)
    assert all(config.row == row for row, config in ROWS.items())


def test_bedroom_differs_from_the_baseline_in_exactly_the_documented_fields(differences):
    assert differences(BEDROOM, BASELINE) == {
        *("artefact", "row", "data.name", "data.mirror"),
        *(f"{part}.resolution" for part in ("data", "generator", "discriminator")),
        *("schedule.total_kimg", "schedule.minibatch_at"),
    }


@pytest.mark.parametrize("category", sorted(ROWS))
def test_category_differs_from_bedroom_in_its_data_alone(category, differences):
    expected = {"row", "data.name"} if category != "bedroom" else set()
    expected |= set() if category in WHOLE else {"data.mirror"}
    assert differences(ROWS[category], BEDROOM) == expected
    assert ROWS[category].data.name == f"lsun-{category}"
    assert ROWS[category].data.mirror == (category not in WHOLE)


def test_settings_are_the_published_ones():
    config = row_config("cat", profile="paper", dataset="lsun-cat", **PLACE)
    schedule = config.schedule
    assert config.data.resolution == 256
    assert (config.generator.fmap_base, config.generator.fmap_max) == (8192, 512)
    assert (schedule.minibatch, schedule.minibatch_at) == (16, ())
    assert (schedule.train_kimg, schedule.fade_kimg) == (800.0, 800.0)
    assert schedule.total_kimg == 20_000.0
    assert config.evaluation.final == ("msssim10k", "fid50k")


@pytest.mark.parametrize(
    ("dataset", "row"),
    [
        *(("lsun-cat", "cat"), ("lsun-church_outdoor", "church_outdoor")),
        *(("scenes", "bedroom"), ("cat", "bedroom"), ("lsun-unicorn", "bedroom")),
    ],
)
def test_a_data_set_has_its_row(dataset, row):
    assert rows_on(dataset) == [row]


def test_a_row_refuses_the_data_of_another():
    with pytest.raises(ValueError, match=r"is LSUN's dog and the row is cat; take --row dog$"):
        row_config("cat", profile="paper", dataset="lsun-dog", **PLACE)
    assert row_config("cat", profile="paper", dataset="mine", **PLACE).row == "cat"
