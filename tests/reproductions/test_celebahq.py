"""The baseline of CelebA-HQ against the paper's appendix A.1."""

import pytest

from pgbench.reproductions.celebahq import BASELINE, ROWS, SCALES, row_config
from pgbench.reproductions.table1 import G
from pgbench.schedule import training_point

PLACE = {"dataset": "celeba-hq", "mirror": True, "num_images": None, "seed": 0}


def test_the_only_row_is_the_baseline():
    assert ROWS == {"baseline": BASELINE}


def test_differs_from_row_g_of_table_1_in_exactly_the_documented_fields(differences):
    assert differences(BASELINE, G) == {
        *("artefact", "row", "data.name"),
        *(f"{part}.resolution" for part in ("data", "generator", "discriminator")),
        *("generator.fmap_base", "discriminator.fmap_base"),
        *("optimiser.rampup_kimg", "schedule.total_kimg", "schedule.minibatch_at"),
    }


def test_settings_are_the_published_ones(dotted):
    fields = dotted(row_config("baseline", profile="paper", **PLACE))
    published = {
        **{"data.resolution": 1024, "data.mirror": True},
        **{"generator.latent_size": 512, "generator.normalize_latents": True},
        **{"generator.fmap_base": 8192, "generator.fmap_max": 512},
        **{"generator.activation": "lrelu", "generator.output": "linear"},
        **{"generator.pixelnorm": True, "generator.batch_norm": False},
        **{"generator.equalized_lr": True, "discriminator.equalized_lr": True},
        **{"discriminator.fmap_base": 8192, "discriminator.fmap_max": 512},
        **{"discriminator.minibatch_layer": "stddev", "discriminator.stddev_group": None},
        **{"discriminator.layer_norm": False, "discriminator.fused_from": None},
        **{"loss.kind": "wgan-gp", "loss.gp_lambda": 10.0, "loss.gamma": 1.0},
        **{"loss.eps_drift": 1e-3, "optimiser.lr": 1e-3, "optimiser.beta1": 0.0},
        **{"optimiser.beta2": 0.99, "optimiser.eps": 1e-8, "optimiser.n_critic": 1},
        **{"optimiser.shared_step": False, "optimiser.ema": 0.999},
        **{"optimiser.rampup_kimg": 40.0, "schedule.growing": True},
        **{"schedule.train_kimg": 800.0, "schedule.fade_kimg": 800.0},
        **{"schedule.total_kimg": 19_000.0},
    }
    assert {name: fields[name] for name in published} == published


@pytest.mark.parametrize(
    ("resolution", "minibatch"), [(4, 16), (128, 16), (256, 14), (512, 6), (1024, 3)]
)
def test_minibatches_shrink_with_the_resolution(resolution, minibatch):
    doublings = resolution.bit_length() - 3
    nimg = max(0, 1_600_000 * doublings - 1)  # the last fading image: floor(lod) is there already
    point = training_point(nimg, BASELINE.schedule, resolution=1024, rampup_kimg=40.0)
    assert (point.resolution, point.minibatch) == (resolution, minibatch)


def test_parameters_are_those_of_the_paper(parameters):
    config = row_config("baseline", profile="paper", **PLACE)
    assert parameters(config) == (23_071_507, 23_077_137)


@pytest.mark.parametrize("profile", SCALES)
def test_the_ramp_up_stays_a_twentieth_of_a_phase(profile):
    config = row_config("baseline", profile=profile, **PLACE)
    ratio = config.optimiser.rampup_kimg / config.schedule.train_kimg
    assert ratio == pytest.approx(40 / 800, rel=1e-12)
    longer = row_config("baseline", profile=profile, phase_kimg=5000.0, **PLACE)
    assert longer.optimiser == config.optimiser


def test_no_real_image_counts_twice():
    """CelebA-HQ holds 30,000."""
    evaluation = row_config("baseline", profile="paper", **PLACE).evaluation
    assert evaluation.snapshot == ("swd16k",)
    assert evaluation.final == ("msssim10k", "fid30k")
