"""Every artefact at every profile: a profile changes the scale, and the scale is consistent."""

import math

import pytest

from pgbench.metrics.registry import parse
from pgbench.reproductions.experiments import EXPERIMENTS, Choice, configs_of
from pgbench.sources import BUILT_IN

PROFILES = ("smoke", "desktop", "workstation", "paper")
NAMES = ("ablation", "figure4", "cifar10", "celebahq", "lsun", "lsgan")

# what a profile may set
SCALE = {
    "profile",
    *(f"{part}.resolution" for part in ("data", "generator", "discriminator")),
    *(f"{part}.{maps}" for part in ("generator", "discriminator") for maps in ("fmap_base",)),
    *("generator.fmap_max", "discriminator.fmap_max"),
    *("optimiser.ema", "optimiser.rampup_kimg"),
    *("schedule.train_kimg", "schedule.fade_kimg", "schedule.total_kimg"),
    *("schedule.tick_kimg", "schedule.snapshot_ticks"),
    *("evaluation.snapshot", "evaluation.final"),
}

every_name = pytest.mark.parametrize("name", NAMES)
every_profile = pytest.mark.parametrize("profile", PROFILES)


def configs(name, profile, **changes):
    experiment = EXPERIMENTS[name]
    place = {"dataset": "mine", "mirror": True, "num_images": None, "seed": 0}
    return [
        experiment.row_config(row, profile=profile, **place | changes) for row in experiment.rows
    ]


@every_name
@every_profile
def test_a_profile_changes_the_scale_alone(name, profile, differences):
    for here, paper in zip(configs(name, profile), configs(name, "paper"), strict=True):
        assert differences(here, paper) <= SCALE
        assert here.profile == profile


@every_name
def test_the_paper_profile_is_the_row_as_it_is_written(name, differences):
    written = EXPERIMENTS[name].rows.values()
    measuring = {"schedule.tick_kimg", "schedule.snapshot_ticks", "evaluation.snapshot"}
    callers = {"data.name", "data.mirror", "evaluation.final"}
    of_row_h = {f"{part}.fmap_base" for part in ("generator", "discriminator")}
    for ours, row in zip(configs(name, "paper"), written, strict=True):
        changed = differences(ours, row) - measuring - callers
        assert changed <= (of_row_h | {"schedule.total_kimg"} if ours.row == "h" else set())


@every_name
@every_profile
def test_the_average_forgets_the_initial_weights(name, profile):
    for config in configs(name, profile):
        opt, schedule = config.optimiser, config.schedule
        reals = schedule.minibatch * opt.n_critic
        assert 0.9 < opt.ema ** (16 / reals) < 0.9991
        assert opt.ema ** (schedule.total_kimg * 1000 / reals) < 0.01


@every_name
@every_profile
def test_full_resolution_is_reached(name, profile):
    for config in configs(name, profile):
        schedule = config.schedule
        kimg = (math.log2(config.data.resolution) - 2) * 2 * schedule.train_kimg
        is_race = (name, profile, config.row) == ("figure4", "paper", "growing")
        assert (not schedule.growing or kimg < schedule.total_kimg) != is_race
        assert schedule.tick_kimg * schedule.snapshot_ticks <= schedule.total_kimg


@every_name
@every_profile
def test_the_images_suffice_for_the_metrics(name, profile):
    scale = EXPERIMENTS[name].scales[profile]
    have = scale.num_images or BUILT_IN["portraits"].num_images
    for config in configs(name, profile):
        specs = map(parse, config.evaluation.snapshot + config.evaluation.final)
        assert all(spec.num_images <= have for spec in specs if spec.needs_reals)


@every_name
def test_smoke_and_desktop_need_no_download(name):
    for profile in ("smoke", "desktop"):
        for config in configs(name, profile):
            specs = map(parse, config.evaluation.snapshot + config.evaluation.final)
            assert all(spec.efficientnet for spec in specs if spec.needs_features)


@every_name
@every_profile
def test_phase_kimg_sets_both_halves_and_nothing_else(name, profile, differences):
    pairs = zip(configs(name, profile, phase_kimg=601.5), configs(name, profile), strict=True)
    for longer, config in pairs:
        assert longer.schedule.train_kimg == longer.schedule.fade_kimg == 601.5
        assert differences(longer, config) == {"schedule.train_kimg", "schedule.fade_kimg"}


def test_every_run_has_a_name_of_its_own():
    made = [
        config.run_id
        for name, experiment in EXPERIMENTS.items()
        for profile in PROFILES
        for data in experiment.built_in or ("portraits",)
        for config in configs_of(experiment, Choice("all", profile, (0, 1)), data=data)
    ]
    assert len(set(made)) == len(made) > 200
