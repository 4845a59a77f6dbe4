"""Compiled steps compute what eager ones do, and are chosen where they pay."""

import shutil
from collections.abc import Callable
from functools import partial

import pytest
import torch

from pgbench import compiling
from pgbench.compiling import compiled_resolutions, compiles
from pgbench.config import RunConfig
from pgbench.data import ImageStore, Sampler
from pgbench.training import Trainer

TinyConfig = Callable[..., RunConfig]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SLOW = {"lr": 1e-7}


def trained(config: RunConfig, store: ImageStore, steps: int) -> list[Trainer]:
    """An eager trainer and a compiled one after so many steps."""
    trainers = []
    for choice in ("off", "on"):
        sampler = Sampler(store, num_images=None, mirror=True, seed=0)
        trainers.append(Trainer(config, sampler, CPU, compiling=choice))
    for _ in range(steps):
        assert trainers[0].step() == trainers[1].step()
    return trainers


def same(eager: Trainer, compiled: Trainer) -> None:
    """Losses, scores, penalty and gradient norms, at a rate too low for Adam to part the two.

    Its first step is as large as the rate, whatever the gradient: rounding decides its sign.
    """
    means = [trainer.means.take() for trainer in (eager, compiled)]
    assert means[1] == pytest.approx(means[0], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("loss", ["wgan-gp", "lsgan"])
def test_one_graph_serves_a_phase_and_its_fade(
    loss: str,
    tiny_store: ImageStore,
    tiny_config: TinyConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Traced and differentiated as for the compiler, then run op by op."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    config = tiny_config(loss={"kind": loss}, optimiser=SLOW)
    eager, compiled = trained(config, tiny_store, 11)
    assert compiled.steps.is_compiled
    assert compiled.point().resolution == 8
    same(eager, compiled)


@pytest.mark.slow
def test_the_compiler_computes_the_same(tiny_store: ImageStore, tiny_config: TinyConfig) -> None:
    small = {"fmap_max": 4}
    config = tiny_config(generator=small, discriminator=small, optimiser=SLOW)
    same(*trained(config, tiny_store, 2))


def test_auto_compiles_where_there_are_enough_steps(
    tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "has_compiler", lambda: True)
    enough = compiling._ENOUGH_STEPS * 16 / 1000  # kimg, at a minibatch of 16
    short = {"train_kimg": enough / 4, "fade_kimg": enough / 4, "total_kimg": 2 * enough}
    config = tiny_config(schedule=short)
    # 4x4 has a phase and no fade, 8x8 both, 16x16 what is left of two times enough
    assert compiled_resolutions("auto", config, CPU) == [16]
    assert compiled_resolutions("auto", config, CUDA) == [4, 8, 16]
    assert compiled_resolutions("on", config, CPU) == [4, 8, 16]
    assert compiled_resolutions("off", config, CUDA) == []
    fixed = tiny_config(schedule=short | {"growing": False})
    assert compiled_resolutions("auto", fixed, CPU) == [16]


def test_without_a_compiler_auto_does_not_and_on_is_told(
    tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    config = tiny_config(schedule={"total_kimg": 1e6})
    assert not compiles("auto", config, 16, CPU)
    with pytest.raises(ValueError, match="needs a C\\+\\+ compiler and none was found"):
        compiles("on", config, 16, CPU)
