"""CIFAR-10 against the released configuration, and its twin with γ = 1."""

import pytest

from pgbench.reproductions.celebahq import BASELINE
from pgbench.reproductions.table3 import CIFAR10, GAMMA1, ROWS, SCALES, row_config

PLACE = {"dataset": "cifar10", "mirror": False, "num_images": None, "seed": 0}
every_profile = pytest.mark.parametrize("profile", ["smoke", "desktop", "workstation", "paper"])


def test_rows():
    assert ROWS == {"cifar10": CIFAR10, "cifar10-gamma1": GAMMA1}


def test_differs_from_the_baseline_in_exactly_the_documented_fields(differences):
    assert differences(CIFAR10, BASELINE) == {
        *("artefact", "row", "data.name", "data.mirror"),
        *(f"{part}.resolution" for part in ("data", "generator", "discriminator")),
        *(f"{part}.{maps}" for part in ("generator", "discriminator") for maps in MAPS),
        *("generator.latent_size", "loss.gamma"),
        *("optimiser.shared_step", "optimiser.rampup_kimg"),
        *(f"schedule.{name}" for name in ("train_kimg", "fade_kimg", "total_kimg")),
        "schedule.minibatch_at",
    }


MAPS = ("fmap_base", "fmap_max")


@every_profile
def test_gamma1_differs_in_gamma_alone(profile, differences):
    configs = [row_config(row, profile=profile, **PLACE) for row in ROWS]
    assert differences(*configs) == {"row", "loss.gamma"}
    assert [config.loss.gamma for config in configs] == [750.0, 1.0]


def test_settings_are_the_published_ones(dotted):
    fields = dotted(row_config("cifar10", profile="paper", **PLACE))
    published = {
        **{"data.resolution": 32, "data.mirror": False, "data.num_images": None},
        **{"generator.latent_size": 128, "generator.normalize_latents": True},
        **{"generator.pixelnorm": True, "generator.equalized_lr": True},
        **{"discriminator.minibatch_layer": "stddev", "discriminator.equalized_lr": True},
        **{"loss.gamma": 750.0, "loss.gp_lambda": 10.0, "loss.eps_drift": 1e-3},
        **{"optimiser.shared_step": True, "optimiser.n_critic": 1, "optimiser.rampup_kimg": 0.0},
        **{"optimiser.lr": 1e-3, "optimiser.beta2": 0.99, "optimiser.ema": 0.999},
        **{"schedule.growing": True, "schedule.minibatch": 16, "schedule.minibatch_at": []},
        **{"schedule.train_kimg": 400.0, "schedule.fade_kimg": 400.0},
        **{"schedule.total_kimg": 20_000.0, "evaluation.snapshot": ["is50k"]},
    }
    assert {name: fields[name] for name in published} == published


def test_parameters_are_those_of_the_released_networks(parameters):
    for row in ROWS:
        counts = parameters(row_config(row, profile="paper", **PLACE))
        assert counts == (1_295_747, 1_297_153)


@every_profile
def test_all_layers_have_one_number_of_maps(profile):
    config = row_config("cifar10", profile=profile, **PLACE)
    smallest = config.generator.fmap_base // (config.data.resolution // 2)  # nf(R - 1)
    assert smallest >= config.generator.fmap_max == config.discriminator.fmap_max
    assert config.generator.fmap_base == config.discriminator.fmap_base


@every_profile
def test_one_name_of_score_at_every_snapshot(profile):
    """Of two names the best snapshot would be that of the larger one alone."""
    evaluation = row_config("cifar10", profile=profile, **PLACE).evaluation
    scores = [name for name in evaluation.snapshot + evaluation.final if name.startswith("is")]
    assert len(scores) == 1
    assert scores == list(evaluation.snapshot)
    offline = profile in ("smoke", "desktop")
    assert scores[0].startswith("is-effnetlite0-") == offline


def test_profiles_are_those_of_table_1():
    assert tuple(SCALES) == ("smoke", "desktop", "workstation", "paper")
