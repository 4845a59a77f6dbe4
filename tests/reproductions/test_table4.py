"""The rows of table 4 against the paper's appendix, at every profile."""

import pytest

from pgbench.mode_networks import make_discriminator
from pgbench.reports.table4 import ROWS as REPORTED
from pgbench.reproductions.table4 import ROWS, SCALES, row_config

# row -> the row it is built on, and the fields in which it differs from it
OUR_NORM = {
    *("generator.batch_norm", "generator.pixelnorm", "generator.equalized_lr"),
    *("discriminator.batch_norm", "discriminator.equalized_lr"),
}
GROWING = {
    *("discriminator.kind", "schedule.growing", "schedule.train_kimg", "schedule.fade_kimg"),
    "schedule.total_kimg",
}
PARENTS = {
    "norm": ("wgan-gp", OUR_NORM),
    "stddev": ("norm", {"discriminator.minibatch_layer"}),
    "progression": ("stddev", GROWING),
}
# the same in every row of the paper's size
COMMON = {
    "artefact": "table4",
    "data.name": "mnist-rgb",
    "data.resolution": 32,
    "data.mirror": False,
    "generator.kind": "modes",
    "generator.latent_size": 64,
    "generator.normalize_latents": True,
    "generator.fmap_base": 128,
    "generator.output": "tanh",
    "loss.kind": "wgan-gp",
    "loss.gp_lambda": 10.0,
    "loss.gamma": 1.0,
    "loss.eps_drift": 0.0,
    "optimiser.n_critic": 5,
    "optimiser.lr": 1e-3,
    "optimiser.beta1": 0.0,
    "optimiser.beta2": 0.99,
    "optimiser.ema": 0.999,
    "optimiser.rampup_kimg": 40.0,
    "schedule.minibatch": 64,
}
SIZES = {"K/4": (571, 557, 573), "K/2": (1861, 1833, 1849)}
SCALED = {
    *("profile", "optimiser.ema", "optimiser.rampup_kimg", "schedule.total_kimg"),
    *("schedule.train_kimg", "schedule.fade_kimg", "schedule.tick_kimg"),
    *("schedule.snapshot_ticks", "evaluation.snapshot", "evaluation.final"),
}
every_row = pytest.mark.parametrize("row", ROWS)
every_profile = pytest.mark.parametrize("profile", SCALES)


def config_of(row, profile="paper", seed=0):
    asked = {"dataset": "mnist-rgb", "mirror": False, "num_images": None, "seed": seed}
    return row_config(row, profile=profile, **asked)


def fields(config):
    plain = config.to_json()
    parts = {k: v for k, v in plain.items() if isinstance(v, dict)}
    alone = {k: v for k, v in plain.items() if not isinstance(v, dict)}
    return alone | {f"{p}.{k}": v for p, part in parts.items() for k, v in part.items()}


def differences(one, other):
    a, b = fields(one), fields(other)
    return {name for name in a if a[name] != b[name]}


def test_rows_are_those_of_the_report():
    assert list(ROWS) == list(REPORTED)
    assert all(config.row == row for row, config in ROWS.items())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("column", PARENTS)
def test_each_row_differs_from_its_parent_in_the_documented_fields(size, column):
    parent, changed = PARENTS[column]
    assert differences(ROWS[f"{size} {column}"], ROWS[f"{size} {parent}"]) == changed | {"row"}


@pytest.mark.parametrize("column", ["wgan-gp", *PARENTS])
def test_half_differs_from_a_quarter_in_the_maps_of_d(column):
    changed = differences(ROWS[f"K/2 {column}"], ROWS[f"K/4 {column}"])
    assert changed == {"row", "discriminator.fmap_base"}


@every_row
def test_what_the_rows_have_in_common(row):
    found = fields(config_of(row))
    assert {name: found[name] for name in COMMON} == COMMON


@every_row
def test_the_paper_profile_is_the_published_length(row):
    schedule = config_of(row).schedule
    growing = row.endswith("progression")
    assert (schedule.growing, schedule.total_kimg) == (growing, 15_000 if growing else 10_000)
    if growing:
        assert (schedule.train_kimg, schedule.fade_kimg) == (500, 2000)
    assert config_of(row).evaluation.final == ("modes25k",)


@pytest.mark.parametrize("size", SIZES)
def test_discriminators_have_the_published_sizes(size):
    columns = ("wgan-gp", "norm", "stddev")
    networks = [make_discriminator(ROWS[f"{size} {c}"].discriminator) for c in columns]
    counts = tuple(sum(p.numel() for p in network.parameters()) for network in networks)
    assert counts == SIZES[size]


@every_profile
@every_row
def test_a_profile_changes_the_lengths_alone(row, profile):
    changed = differences(config_of(row, profile), config_of(row))
    assert changed <= SCALED
    assert ("profile" in changed) == (profile != "paper")


@every_profile
@every_row
def test_lengths_fit_together(row, profile):
    """Growing ends before the run does, and the average forgets the initial weights."""
    config = config_of(row, profile)
    schedule, opt = config.schedule, config.optimiser
    if schedule.growing:
        assert 3 * (schedule.train_kimg + schedule.fade_kimg) < schedule.total_kimg
        assert schedule.train_kimg / schedule.total_kimg == pytest.approx(500 / 15_000)
        assert schedule.fade_kimg / schedule.total_kimg == pytest.approx(2000 / 15_000)
    g_steps = schedule.total_kimg * 1000 / (schedule.minibatch * opt.n_critic)
    assert opt.ema**g_steps < 0.01
    assert opt.rampup_kimg / schedule.total_kimg < 0.01
    assert schedule.tick_kimg * schedule.snapshot_ticks <= schedule.total_kimg


def test_profiles_grow():
    kimg = [config_of("K/4 norm", profile).schedule.total_kimg for profile in SCALES]
    assert kimg == sorted(set(kimg))
    assert config_of("K/4 norm", "desktop").schedule.total_kimg == 500


def test_every_run_has_a_folder_of_its_own():
    configs = [config_of(r, p, s) for r in ROWS for p in SCALES for s in (0, 1)]
    names = {config.run_id for config in configs}
    assert len(names) == len(configs)
    assert not any(set(name) & set("/ ") for name in names)
    config = config_of("K/2 norm", "desktop", 3)
    assert config.run_id == f"table4-K2-norm-mnist-rgb-desktop-s3-{config.hash8}"
