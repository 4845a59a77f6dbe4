"""RunConfig: frozen, strict, hashed by content; defaults are the paper's."""

import hashlib
import json
import re

import pytest
from pydantic import ValidationError

from pgbench.config import (
    DataConfig,
    DiscriminatorConfig,
    EvaluationConfig,
    GeneratorConfig,
    LossConfig,
    OptimiserConfig,
    RunConfig,
    ScheduleConfig,
    replace,
)

CONFIG = RunConfig(
    artefact="table1",
    row="e*",
    profile="paper",
    data=DataConfig(name="celeba", resolution=128, mirror=True),
    generator=GeneratorConfig(resolution=128),
    discriminator=DiscriminatorConfig(resolution=128),
)

# CONFIG as plain JSON, written down: the defaults are the baseline of the paper
PLAIN = {
    "artefact": "table1",
    "row": "e*",
    "profile": "paper",
    "seed": 0,
    "data": {"name": "celeba", "resolution": 128, "mirror": True, "num_images": None},
    "generator": {
        "resolution": 128,
        "kind": "progressive",
        "latent_size": 512,
        "normalize_latents": True,
        "fmap_base": 8192,
        "fmap_max": 512,
        "activation": "lrelu",
        "batch_norm": False,
        "pixelnorm": True,
        "output": "linear",
        "equalized_lr": True,
    },
    "discriminator": {
        "resolution": 128,
        "kind": "progressive",
        "fmap_base": 8192,
        "fmap_max": 512,
        "layer_norm": False,
        "batch_norm": False,
        "minibatch_layer": "stddev",
        "stddev_group": None,
        "fused_from": None,
        "equalized_lr": True,
    },
    "loss": {"kind": "wgan-gp", "gp_lambda": 10.0, "gamma": 1.0, "eps_drift": 0.001},
    "optimiser": {
        "lr": 0.001,
        "beta1": 0.0,
        "beta2": 0.99,
        "eps": 1e-08,
        "n_critic": 1,
        "shared_step": False,
        "ema": 0.999,
        "rampup_kimg": 0.0,
    },
    "schedule": {
        "growing": True,
        "train_kimg": 800.0,
        "fade_kimg": 800.0,
        "total_kimg": 19000.0,
        "minibatch": 16,
        "minibatch_at": [],
        "tick_kimg": 20.0,
        "snapshot_ticks": 10,
    },
    "numerics": {"precision": "float32"},
    "evaluation": {"snapshot": [], "final": []},
}

# another value for every field
CHANGES = {
    "artefact": "figure4",
    "row": "e",
    "profile": "desktop",
    "seed": 1,
    "data.name": "portraits",
    "data.resolution": 64,
    "data.mirror": False,
    "data.num_images": 30_000,
    "generator.resolution": 64,
    "generator.kind": "modes",
    "generator.latent_size": 128,
    "generator.normalize_latents": False,
    "generator.fmap_base": 2048,
    "generator.fmap_max": 256,
    "generator.activation": "relu",
    "generator.batch_norm": True,
    "generator.pixelnorm": False,
    "generator.output": "tanh",
    "generator.equalized_lr": False,
    "discriminator.resolution": 64,
    "discriminator.kind": "growing-modes",
    "discriminator.fmap_base": 2048,
    "discriminator.fmap_max": 256,
    "discriminator.layer_norm": True,
    "discriminator.batch_norm": True,
    "discriminator.minibatch_layer": "discrimination",
    "discriminator.stddev_group": 4,
    "discriminator.fused_from": 32,
    "discriminator.equalized_lr": False,
    "loss.kind": "lsgan",
    "loss.gp_lambda": 1.0,
    "loss.gamma": 750.0,
    "loss.eps_drift": 0.0,
    "optimiser.lr": 1e-4,
    "optimiser.beta1": 0.5,
    "optimiser.beta2": 0.9,
    "optimiser.eps": 1e-7,
    "optimiser.n_critic": 5,
    "optimiser.shared_step": True,
    "optimiser.ema": 0.999**20,
    "optimiser.rampup_kimg": 40.0,
    "schedule.growing": False,
    "schedule.train_kimg": 600.0,
    "schedule.fade_kimg": 600.0,
    "schedule.total_kimg": 10_000.0,
    "schedule.minibatch": 64,
    "schedule.minibatch_at": ((256, 14),),
    "schedule.tick_kimg": 10.0,
    "schedule.snapshot_ticks": 5,
    "numerics.precision": "bfloat16",
    "evaluation.snapshot": ("swd16k",),
    "evaluation.final": ("swd16k",),
}

PARTS = ["data", "generator", "discriminator", "loss", "optimiser", "schedule", "numerics"]
PARTS += ["evaluation"]


def changed(dotted, value):
    """CONFIG with one field changed; a resolution changes in all three parts."""
    *part, field = dotted.split(".")
    parts = part if field != "resolution" else ["data", "generator", "discriminator"]
    return replace(CONFIG, **({name: {field: value} for name in parts} or {field: value}))


def dotted_fields(plain, prefix=""):
    for name, value in plain.items():
        if isinstance(value, dict):
            yield from dotted_fields(value, f"{name}.")
        else:
            yield prefix + name


def reversed_keys(plain):
    return {
        name: reversed_keys(value) if isinstance(value, dict) else value
        for name, value in reversed(plain.items())
    }


def test_defaults_are_the_papers():
    assert CONFIG.to_json() == PLAIN


def test_json_keeps_the_order_of_the_fields():
    assert list(dotted_fields(CONFIG.to_json())) == list(dotted_fields(PLAIN))


def test_survives_json():
    minibatches = ((256, 14), (512, 6), (1024, 3))
    metrics = {"snapshot": ("swd16k", "msssim10k"), "final": ("swd16k",)}
    config = replace(CONFIG, schedule={"minibatch_at": minibatches}, evaluation=metrics)
    again = RunConfig.model_validate(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert again.schedule.minibatch_at == minibatches
    assert again.hash8 == config.hash8


def test_is_hashable():
    assert len({CONFIG, RunConfig.model_validate(PLAIN), replace(CONFIG, seed=1)}) == 2


@pytest.mark.parametrize("name", PLAIN)
def test_is_frozen(name):
    with pytest.raises(ValidationError, match="frozen"):
        setattr(CONFIG, name, getattr(CONFIG, name))


@pytest.mark.parametrize("part", PARTS)
def test_parts_are_frozen(part):
    config = getattr(CONFIG, part)
    for field in PLAIN[part]:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(config, field, getattr(config, field))


@pytest.mark.parametrize("part", [None, *PARTS])
def test_refuses_a_field_it_does_not_know(part):
    plain = PLAIN | {"typo": 1} if part is None else PLAIN | {part: PLAIN[part] | {"typo": 1}}
    with pytest.raises(ValueError, match="typo"):
        RunConfig.model_validate(plain)


@pytest.mark.parametrize("resolution", [0, 1, 2, 3, 100, 127, 129, 2048, -4])
@pytest.mark.parametrize("part", ["data", "generator", "discriminator"])
def test_refuses_a_resolution_that_is_no_power_of_two(part, resolution):
    with pytest.raises(ValueError, match=f"resolution {resolution} is no power of two"):
        replace(CONFIG, **{part: {"resolution": resolution}})


def test_refuses_such_a_resolution_in_the_minibatches_too():
    with pytest.raises(ValueError, match="resolution 100 is no power of two"):
        ScheduleConfig(minibatch_at=((100, 8),))


@pytest.mark.parametrize("resolution", [4, 8, 16, 32, 64, 128, 256, 512, 1024])
def test_takes_every_power_of_two_up_to_1024(resolution):
    assert GeneratorConfig(resolution=resolution).resolution == resolution


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        ("seed", -1),
        ("seed", 2**31),
        ("data.num_images", 0),
        ("generator.latent_size", 0),
        ("generator.activation", "gelu"),
        ("generator.output", "sigmoid"),
        ("discriminator.minibatch_layer", "both"),
        ("discriminator.stddev_group", 0),
        ("loss.kind", "hinge"),
        ("loss.gp_lambda", -1.0),
        ("loss.gamma", 0.0),
        ("loss.eps_drift", float("nan")),
        ("optimiser.lr", 0.0),
        ("optimiser.lr", float("inf")),
        ("optimiser.beta2", 1.0),
        ("optimiser.ema", 1.0),
        ("optimiser.n_critic", 0),
        ("schedule.train_kimg", 0.0),
        ("schedule.fade_kimg", float("nan")),
        ("schedule.total_kimg", -1.0),
        ("schedule.minibatch", 0),
        ("schedule.minibatch_at", ((256, 0),)),
    ],
)
def test_refuses_a_value_out_of_range(dotted, value):
    with pytest.raises(ValidationError, match=dotted.replace(".", r"\.")):
        changed(dotted, value)


def test_refuses_a_shared_step_with_several_of_d():
    with pytest.raises(ValidationError, match="has one D step, not n_critic 5"):
        changed("optimiser", {"shared_step": True, "n_critic": 5})


def test_replace_changes_only_the_named_fields():
    config = replace(CONFIG, row="a", generator={"latent_size": 128}, optimiser={"lr": 1e-4})
    expected = PLAIN | {
        "row": "a",
        "generator": PLAIN["generator"] | {"latent_size": 128},
        "optimiser": PLAIN["optimiser"] | {"lr": 1e-4},
    }
    assert config.to_json() == expected
    assert CONFIG.to_json() == PLAIN


def test_replace_takes_a_whole_part():
    loss = LossConfig(kind="lsgan")
    assert replace(CONFIG, loss=loss).loss == loss
    assert replace(CONFIG, loss={}).loss == CONFIG.loss


def test_replace_works_on_a_part():
    optimiser = replace(OptimiserConfig(), lr=1e-4, n_critic=5)
    assert optimiser == OptimiserConfig(lr=1e-4, n_critic=5)


def test_replace_validates():
    with pytest.raises(ValueError, match="typo"):
        replace(CONFIG, schedule={"typo": 1})
    with pytest.raises(ValueError, match="typo"):
        replace(CONFIG, typo=1)


def test_hash8_is_that_of_the_sorted_json():
    text = json.dumps(PLAIN, sort_keys=True, separators=(",", ":"))
    assert CONFIG.hash8 == hashlib.sha256(text.encode()).hexdigest()[:8]


def test_hash8_does_not_depend_on_the_order_of_the_fields():
    assert RunConfig.model_validate(reversed_keys(PLAIN)).hash8 == CONFIG.hash8


def test_hash8_does_not_depend_on_how_a_number_is_written():
    assert changed("schedule.total_kimg", 19_000).hash8 == CONFIG.hash8
    assert changed("optimiser.lr", 1 / 1000).hash8 == CONFIG.hash8


def test_hash8_differs_for_every_changed_field():
    assert set(CHANGES) == set(dotted_fields(PLAIN))
    hashes = [changed(dotted, value).hash8 for dotted, value in CHANGES.items()]
    assert len({*hashes, CONFIG.hash8}) == len(CHANGES) - 2 + 1  # three resolutions are one


def test_run_id():
    config = replace(CONFIG, row="g", seed=3)
    assert config.run_id == f"table1-g-celeba-paper-s3-{config.hash8}"
    assert re.fullmatch(r"[0-9a-f]{8}", config.hash8)


def test_run_id_of_e_star_is_safe_as_a_folder_name():
    assert CONFIG.run_id == f"table1-e-star-celeba-paper-s0-{CONFIG.hash8}"


def test_evaluation_asks_for_nothing_by_default():
    assert EvaluationConfig() == EvaluationConfig(snapshot=(), final=())


def test_refuses_networks_of_another_resolution_than_the_data():
    with pytest.raises(ValueError, match="have resolutions 8, 8, 16; give them one"):
        replace(
            RunConfig(
                artefact="table1",
                row="g",
                profile="smoke",
                data={"name": "x", "resolution": 8, "mirror": False},
                generator={"resolution": 8},
                discriminator={"resolution": 8},
            ),
            discriminator={"resolution": 16},
        )


def test_run_id_of_a_row_with_a_slash_and_a_space():
    config = replace(CONFIG, artefact="table4", row="K/4 wgan-gp")
    assert config.run_id == f"table4-K4-wgan-gp-celeba-paper-s0-{config.hash8}"
