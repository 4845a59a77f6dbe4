"""Where memory is short a minibatch is worked on in parts, and the result is that of the whole.

Memory is short here for more than so many images at once. Differences are of float32 sums.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pgbench.config import RunConfig
from pgbench.data import ImageStore, Sampler
from pgbench.errors import out_of_memory
from pgbench.losses import LsganNoise
from pgbench.reproductions.launch import run as launch
from pgbench.results import RunFolder
from pgbench.steps import Steps
from pgbench.training import Trainer

TinyConfig = Callable[..., RunConfig]
Make = Callable[..., Trainer]
Short = Callable[..., None]
ROUNDING = 5e-6  # of weights that move by 3e-4 in row d and 3e-3 in row g; found: 2e-6
ON_CPU = (
    "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 4398046511104 bytes. Error code 12 (Cannot allocate memory)"
)
ERRORS = (torch.OutOfMemoryError("CUDA out of memory."), RuntimeError(ON_CPU))

SPLIT: dict[
    str, tuple[dict[str, Any], str, int]
] = {  # which steps are short of memory, and in how many parts they are made
    "row d": ({"row": "d"}, "dg", 4),
    "grouped stddev": ({"row": "g", "discriminator": {"stddev_group": 4}}, "dg", 4),
    "five critic steps": ({"row": "d", "optimiser": {"n_critic": 5}}, "dg", 4),
    "LSGAN with its noise": ({"row": "d", "loss": {"kind": "lsgan"}}, "dg", 4),
    "a shared step": ({"row": "d", "optimiser": {"shared_step": True}}, "dg", 4),
    "a shared step, in D alone": ({"row": "d", "optimiser": {"shared_step": True}}, "d", 4),
    "a shared step of groups": (
        {"row": "g", "optimiser": {"shared_step": True}, "discriminator": {"stddev_group": 4}},
        "d",
        4,
    ),
    "a minibatch of 6": ({"row": "d", "schedule": {"minibatch_at": ((4, 6),)}}, "dg", 2),
    "a minibatch of 15": ({"row": "d", "schedule": {"minibatch_at": ((4, 15),)}}, "dg", 5),
}
CROSSING: dict[str, dict[str, Any]] = {
    "batch norm": {"row": "c"},
    "minibatch discrimination": {"row": "e*"},
    "stddev of the whole minibatch": {"row": "g"},
}


@pytest.fixture
def make(tiny_store: ImageStore) -> Make:
    """A trainer on the tiny store; LSGAN's is told that D learns badly, so that there is noise."""

    def make(config: RunConfig) -> Trainer:
        sampler = Sampler(tiny_store, num_images=None, mirror=True, seed=config.seed)
        trainer = Trainer(config, sampler, torch.device("cpu"))
        if config.loss.kind == "lsgan":
            trainer.noise = LsganNoise(0.95)
        return trainer

    return make


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Short:
    """Let steps of D, of G or of both, or the penalty, fail for more than `most` images at once."""

    def short(most: int, *, error: Exception = ERRORS[0], steps: str = "dg") -> None:
        names = ("d_scores",) * ("d" in steps) + ("g",) * ("g" in steps)
        names += ("d_penalty",) * ("d" in steps or "p" in steps)
        for name in names:
            monkeypatch.setattr(Steps, name, limited(getattr(Steps, name), most, error))

    def limited(plain: Callable[..., Any], most: int, error: Exception) -> Callable[..., Any]:
        def step(steps: Steps, images: Tensor, *rest: Any) -> Any:
            if len(images) > most:
                raise error
            return plain(steps, images, *rest)

        return step

    return short


def weights(trainer: Trainer) -> list[Tensor]:
    networks = (trainer.G, trainer.D, trainer.G_ema)
    return [weight for network in networks for weight in network.parameters()]


def farthest(one: Trainer, two: Trainer) -> float:
    """The largest difference of any two weights."""
    pairs = zip(weights(one), weights(two), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "cpu"])
@pytest.mark.parametrize("name", SPLIT)
def test_parts_give_what_the_whole_gives(
    name: str, error: Exception, make: Make, tiny_config: TinyConfig, short: Short
) -> None:
    changes, steps, parts = SPLIT[name]
    whole, split = (make(tiny_config(**changes)) for _ in range(2))
    for _ in range(3):
        whole.step()
    short(4, error=error, steps=steps)
    for _ in range(3):
        split.step()
    assert (whole.splits, split.splits) == (1, parts)
    assert torch.equal(split.rng.get_state(), whole.rng.get_state())
    assert split.noise.average == pytest.approx(whole.noise.average, rel=1e-6)
    assert farthest(whole, split) < ROUNDING
    assert split.means.take() == pytest.approx(whole.means.take(), rel=1e-4, abs=1e-6)


def test_parts_are_the_same_where_fakes_are_made_ahead(
    make: Make, tiny_config: TinyConfig, short: Short, two_threads: None
) -> None:
    """The first minibatch is split after its following fakes were made."""
    whole, split = make(tiny_config("d")), make(tiny_config("d"))
    for _ in range(3):
        whole.step()
    short(8, steps="p")
    for _ in range(3):
        split.step()
    assert (whole.splits, split.splits) == (1, 2)
    assert farthest(whole, split) < ROUNDING


def test_it_is_told(
    make: Make, tiny_config: TinyConfig, short: Short, caplog: pytest.LogCaptureFixture
) -> None:
    short(8)
    make(tiny_config("d")).step()
    assert [record.getMessage() for record in caplog.records] == [
        "memory is short: each minibatch is worked on in 2 parts"
    ]


def test_parts_stay_equal_when_minibatches_get_smaller(make: Make, tiny_config: TinyConfig) -> None:
    """Each step from the same weights, as differences grow from step to step.

    Few steps: once in dozens an activation changes its sign by rounding, and its slope jumps.
    """
    phases = {"train_kimg": 0.024, "fade_kimg": 0.024}
    config = tiny_config("d", schedule={"minibatch_at": ((8, 6), (16, 3)), **phases})
    whole, split = make(config), make(config)
    parts, seen = 4, []
    while whole.nimg < 120:
        split.load(copy.deepcopy(whole.state()) | {"splits": parts})
        whole.step()
        split.step()
        parts = split.splits
        seen.append((split.minibatch, parts))
        assert farthest(whole, split) < ROUNDING
    assert list(dict.fromkeys(seen)) == [(16, 4), (6, 6), (3, 3)]


def test_a_state_keeps_the_parts(make: Make, tiny_config: TinyConfig, short: Short) -> None:
    config = tiny_config("d")
    straight, resumed = make(config), make(config)
    short(4)
    straight.step()
    resumed.load(copy.deepcopy(straight.state()))
    assert resumed.splits == 4
    for trainer in (straight, resumed):
        trainer.step()
    assert farthest(straight, resumed) == 0


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "cpu"])
@pytest.mark.parametrize("name", CROSSING)
def test_where_a_statistic_crosses_the_minibatch_it_stays_an_error(
    name: str, error: Exception, make: Make, tiny_config: TinyConfig, short: Short
) -> None:
    trainer = make(tiny_config(**CROSSING[name]))
    short(8, error=error)
    with pytest.raises(type(error), match="memory"):
        trainer.step()
    assert trainer.splits == 1


def test_a_group_stays_whole(make: Make, tiny_config: TinyConfig, short: Short) -> None:
    trainer = make(tiny_config("g", discriminator={"stddev_group": 8}))
    short(4)
    with pytest.raises(torch.OutOfMemoryError):
        trainer.step()
    assert trainer.splits == 2


def test_a_single_image_may_be_too_much(make: Make, tiny_config: TinyConfig, short: Short) -> None:
    trainer = make(tiny_config("d"))
    short(0)
    with pytest.raises(torch.OutOfMemoryError):
        trainer.step()
    assert trainer.splits == 16


def test_other_errors_are_not_of_memory(make: Make, tiny_config: TinyConfig, short: Short) -> None:
    trainer = make(tiny_config("d"))
    short(8, error=RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        trainer.step()
    assert trainer.splits == 1


def test_a_failed_allocation_on_a_cpu_is_known() -> None:
    with pytest.raises(RuntimeError) as failed:
        torch.empty(2**60, dtype=torch.uint8)
    assert not isinstance(failed.value, torch.OutOfMemoryError)
    assert out_of_memory(failed.value)


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "cpu"])
def test_too_little_memory_ends_a_run_with_one_sentence(
    error: Exception, tiny_config: TinyConfig, tiny_store: ImageStore, tmp_path: Path, short: Short
) -> None:
    config = tiny_config("e")
    short(8, error=error)
    with pytest.raises(ValueError, match="cpu has too little memory for this profile; take"):
        launch(config, data=str(tiny_store.path), out=tmp_path, device="cpu")
    status = RunFolder.at(tmp_path / config.run_id).read_status()
    assert status is not None
    assert (status.status, status.error) == ("interrupted", "out of memory")
