"""The rows of table 1 against the paper's table, at every profile."""

import math

import pytest

from pgbench.metrics.registry import parse
from pgbench.networks import Discriminator, Generator
from pgbench.reproductions.table1 import ROWS, SCALES, row_config

# row -> the row it is built on, and the fields in which it differs from it
PARENTS = {
    "b": ("a", {"schedule.growing"}),
    "c": ("b", {"schedule.minibatch", "optimiser.ema"}),
    "d": (
        "c",
        {
            "optimiser.n_critic",
            "optimiser.beta2",
            "optimiser.ema",
            "loss.eps_drift",
            "generator.latent_size",
            "generator.normalize_latents",
            "generator.activation",
            "generator.batch_norm",
            "generator.output",
            "discriminator.layer_norm",
        },
    ),
    "e*": ("d", {"discriminator.minibatch_layer"}),
    "e": ("d", {"discriminator.minibatch_layer"}),
    "f": ("e", {"optimiser.lr", "generator.equalized_lr", "discriminator.equalized_lr"}),
    "g": ("f", {"generator.pixelnorm"}),
    "h": ("g", {"generator.fmap_base", "discriminator.fmap_base", "schedule.total_kimg"}),
}

COLUMNS = (
    "schedule.growing",
    "schedule.minibatch",
    "optimiser.n_critic",
    "optimiser.lr",
    "optimiser.beta2",
    "loss.eps_drift",
    "optimiser.ema",
    "generator.latent_size",
    "generator.normalize_latents",
    "generator.activation",
    "generator.batch_norm",
    "generator.output",
    "discriminator.layer_norm",
    "discriminator.minibatch_layer",
    "generator.equalized_lr",
    "discriminator.equalized_lr",
    "generator.pixelnorm",
)
BASELINE_G = (128, False, "relu", True, "tanh")
OUR_G = (512, True, "lrelu", False, "linear")
LN_D = (True, "none", False, False, False)
EMA_16, EMA_80, EMA_320 = 0.999, 0.999**5, 0.999**20  # per so many real images
PAPER = {
    "a": (False, 64, 5, 1e-4, 0.9, 0.0, EMA_320, *BASELINE_G, *LN_D),
    "b": (True, 64, 5, 1e-4, 0.9, 0.0, EMA_320, *BASELINE_G, *LN_D),
    "c": (True, 16, 5, 1e-4, 0.9, 0.0, EMA_80, *BASELINE_G, *LN_D),
    "d": (True, 16, 1, 1e-4, 0.99, 1e-3, EMA_16, *OUR_G, False, "none", False, False, False),
    "e*": (
        *(True, 16, 1, 1e-4, 0.99, 1e-3, EMA_16, *OUR_G),
        *(False, "discrimination", False, False, False),
    ),
    "e": (True, 16, 1, 1e-4, 0.99, 1e-3, EMA_16, *OUR_G, False, "stddev", False, False, False),
    "f": (True, 16, 1, 1e-3, 0.99, 1e-3, EMA_16, *OUR_G, False, "stddev", True, True, False),
    "g": (True, 16, 1, 1e-3, 0.99, 1e-3, EMA_16, *OUR_G, False, "stddev", True, True, True),
    "h": (True, 16, 1, 1e-3, 0.99, 1e-3, EMA_16, *OUR_G, False, "stddev", True, True, True),
}

# the same in every row, whatever the profile
COMMON = {
    "artefact": "table1",
    "loss.kind": "wgan-gp",
    "loss.gp_lambda": 10.0,
    "loss.gamma": 1.0,
    "optimiser.beta1": 0.0,
    "optimiser.eps": 1e-8,
    "optimiser.shared_step": False,
    "optimiser.rampup_kimg": 0.0,
    "schedule.minibatch_at": [],
    "discriminator.stddev_group": None,
    "discriminator.fused_from": None,
}

# what a profile may set
SCALE = {
    "profile",
    "data.resolution",
    "generator.resolution",
    "generator.fmap_base",
    "generator.fmap_max",
    "discriminator.resolution",
    "discriminator.fmap_base",
    "discriminator.fmap_max",
    "optimiser.ema",
    "schedule.train_kimg",
    "schedule.fade_kimg",
    "schedule.total_kimg",
    "schedule.tick_kimg",
    "schedule.snapshot_ticks",
    "evaluation.snapshot",
    "evaluation.final",
}

PARAMETERS = {  # of G and of D
    "a": (10_482_659, 13_626_413),
    "b": (10_482_659, 13_626_413),
    "c": (10_482_659, 13_626_413),
    "d": (13_625_379, 13_626_401),
    "e*": (13_625_379, 13_883_101),
    "e": (13_625_379, 13_631_009),
    "f": (13_625_379, 13_631_009),
    "g": (13_625_379, 13_631_009),
}

SHIPPED = tuple(SCALES)  # before any fixture adds a profile of its own

every_row = pytest.mark.parametrize("row", PAPER)
PROFILES = ("smoke", "desktop", "workstation", "paper")
every_profile = pytest.mark.parametrize("profile", PROFILES)


def config_of(row, profile="paper", **changes):
    arguments = {"dataset": "celeba", "mirror": True, "num_images": None, "seed": 0}
    return row_config(row, profile=profile, **arguments | changes)


def dotted(config):
    """{"part.field": value} of a configuration."""
    fields = {}
    for name, value in config.to_json().items():
        nested = value.items() if isinstance(value, dict) else []
        fields |= {f"{name}.{field}": each for field, each in nested} or {name: value}
    return fields


def differences(one, other):
    one, other = dotted(one), dotted(other)
    assert one.keys() == other.keys()
    return {name for name in one if one[name] != other[name]}


def test_rows_are_those_of_the_table_in_its_order():
    assert list(ROWS) == ["a", "b", "c", "d", "e*", "e", "f", "g", "h"]
    assert {row: config.row for row, config in ROWS.items()} == {row: row for row in ROWS}


@every_profile
@pytest.mark.parametrize("row", PARENTS)
def test_row_differs_from_its_parent_in_exactly_the_documented_fields(row, profile):
    parent, fields = PARENTS[row]
    assert differences(config_of(row, profile), config_of(parent, profile)) == {"row"} | fields


@every_profile
@every_row
def test_row_has_the_values_of_the_papers_table(row, profile):
    fields = dotted(config_of(row, profile))
    expected = dict(zip(COLUMNS, PAPER[row], strict=True))
    if profile != "paper":
        del expected["optimiser.ema"]  # its horizon is a length, see below
    assert {name: fields[name] for name in expected} == expected


@every_profile
@every_row
def test_what_is_common_to_all_rows(row, profile):
    fields = dotted(config_of(row, profile))
    assert {name: fields[name] for name in COMMON} == COMMON


@every_row
def test_paper_profile_is_the_published_scale(row):
    config = config_of(row)
    longer = row == "h"
    assert config.data.resolution == 128
    for network in (config.generator, config.discriminator):
        assert network.resolution == 128
        assert (network.fmap_base, network.fmap_max) == (8192 if longer else 2048, 512)
    assert (config.schedule.train_kimg, config.schedule.fade_kimg) == (800, 800)
    assert config.schedule.total_kimg == (19_000 if longer else 10_000)
    assert "swd16k" in config.evaluation.final
    assert "msssim10k" in config.evaluation.final


@pytest.mark.parametrize("row", PARAMETERS)
def test_parameter_counts_of_the_paper_profile(row):
    """Trainable parameters, of toRGB and fromRGB only those of 128x128."""
    config = config_of(row)
    g, d = Generator(config.generator), Discriminator(config.discriminator)
    counts = []
    for network, rgb in ((g, g.to_rgb), (d, d.from_rgb)):
        unused = sum(p.numel() for layer in list(rgb)[:-1] for p in layer.parameters())
        counts.append(sum(p.numel() for p in network.parameters()) - unused)
    assert tuple(counts) == PARAMETERS[row]


@every_profile
@every_row
def test_moving_average_decays_alike_per_real_image(row, profile):
    """One G step, and one decay, comes after n_critic minibatches of reals."""
    config, last = config_of(row, profile), config_of("g", profile)
    reals = config.schedule.minibatch * config.optimiser.n_critic
    assert config.optimiser.ema ** (16 / reals) == pytest.approx(last.optimiser.ema, rel=1e-12)


@every_profile
def test_moving_average_forgets_the_initial_weights_within_the_run(profile):
    config = config_of("g", profile)
    assert 0.9 < config.optimiser.ema <= 0.999
    assert config.optimiser.ema ** (config.schedule.total_kimg * 1000 / 16) < 0.01


@every_profile
@every_row
def test_profile_changes_the_scale_alone(row, profile):
    changed = differences(config_of(row, profile), config_of(row))
    assert changed <= SCALE
    assert ("profile" in changed) == (profile != "paper")


@every_profile
@every_row
def test_scale_is_that_of_one_consistent_run(row, profile):
    """One resolution throughout, equal phases, and full resolution reached before the end."""
    config = config_of(row, profile)
    g, d, schedule = config.generator, config.discriminator, config.schedule
    assert config.profile == profile
    assert g.resolution == d.resolution == config.data.resolution
    assert (g.fmap_base, g.fmap_max) == (d.fmap_base, d.fmap_max)
    assert schedule.train_kimg == schedule.fade_kimg
    doublings = math.log2(g.resolution) - 2
    assert doublings * (schedule.train_kimg + schedule.fade_kimg) < schedule.total_kimg
    assert schedule.tick_kimg * schedule.snapshot_ticks <= schedule.total_kimg


def test_profiles_grow():
    assert SHIPPED == PROFILES
    for name in ("resolution", "fmap_base", "fmap_max", "phase_kimg", "total_kimg"):
        sizes = [getattr(SCALES[profile], name) for profile in PROFILES]
        assert sizes == sorted(set(sizes))


@every_profile
def test_row_h_is_larger_and_trains_longer_than_g(profile):
    g, h = config_of("g", profile), config_of("h", profile)
    assert h.generator.fmap_base > g.generator.fmap_base
    assert h.schedule.total_kimg > g.schedule.total_kimg


@every_profile
def test_metrics_of_a_profile_exist_and_have_enough_images(profile):
    scale = SCALES[profile]
    most = max(parse(name).num_images for name in scale.snapshot_metrics + scale.final_metrics)
    assert scale.num_images is None or most <= scale.num_images


@every_profile
@every_row
def test_phase_kimg_overrides_both_phases_and_nothing_else(row, profile):
    config = config_of(row, profile, phase_kimg=601.5)
    assert (config.schedule.train_kimg, config.schedule.fade_kimg) == (601.5, 601.5)
    phases = {"schedule.train_kimg", "schedule.fade_kimg"}
    assert differences(config, config_of(row, profile)) == phases


def test_refuses_a_negative_phase():
    with pytest.raises(ValueError, match="train_kimg"):
        config_of("g", phase_kimg=-600.0)


@every_row
def test_data_set_and_seed_are_the_callers(row):
    changes = {"dataset": "scenes", "mirror": False, "num_images": 500, "seed": 3}
    config = config_of(row, "desktop", **changes)
    assert (config.data.name, config.data.mirror, config.data.num_images) == ("scenes", False, 500)
    assert config.seed == 3
    fields = {"data.name", "data.mirror", "data.num_images", "seed"}
    assert differences(config, config_of(row, "desktop")) == fields


def test_every_run_has_a_name_of_its_own():
    configs = [
        config_of(row, profile, seed=seed)
        for row in ROWS
        for profile in PROFILES
        for seed in (0, 1)
    ]
    assert len({config.run_id for config in configs}) == len(configs)


def test_run_id_of_e_star():
    config = config_of("e*", "desktop")
    assert config.run_id == f"table1-e-star-celeba-desktop-s0-{config.hash8}"
