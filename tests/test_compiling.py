"""Compiled steps compute what eager ones do, and are chosen where they pay."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from pgbench import compiling
from pgbench.compiling import compiled_resolutions
from pgbench.config import RunConfig
from pgbench.data import ImageStore, Sampler
from pgbench.losses import DLoss
from pgbench.reproductions.launch import run as launch
from pgbench.results import RunFolder
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
    monkeypatch.setattr(compiling, "trouble_here", lambda _: "")
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


COMPILED = """
import json, sys, torch
from pgbench.compiling import compiles, trouble_here
from pgbench.config import RunConfig
config, cpu = RunConfig.model_validate_json(sys.argv[1]), torch.device("cpu")
found = [trouble_here("cpu"), compiles("auto", config, 16, cpu)]
try:
    compiles("on", config, 16, cpu)
except ValueError as error:
    found.append(str(error))
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["none", "without Python.h"])
def test_where_nothing_compiles_auto_does_not_and_on_is_told(
    compiler: str, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    """clang++ is not what torch calls; and a compiler may be there and lack Python's headers."""
    for name in ("clang++", "broken"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    where = {"PATH": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    if compiler != "none":
        where["CXX"] = str(tmp_path / "broken")
    config = tiny_config(schedule={"total_kimg": 1e6}).model_dump_json()
    ended = subprocess.run(
        [sys.executable, "-c", COMPILED, config],
        env=os.environ | where,
        capture_output=True,
        text=True,
        check=True,
    )
    trouble, auto, message = json.loads(ended.stdout.splitlines()[-1])
    assert trouble.startswith("InvalidCxxCompiler: No working C++ compiler found")
    assert not auto
    assert message == (
        f"--compile does not work here ({trouble}); install g++ and Python's headers, or leave it "
        "out"
    )


def test_a_step_that_does_not_compile_ends_the_run_in_one_sentence(
    tiny_store: ImageStore,
    tiny_config: TinyConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(graph: object, inputs: object) -> None:
        raise OSError("no compiler\nat all")

    monkeypatch.setattr(compiling, "trouble_here", lambda _: "")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=failing))
    config = tiny_config(evaluation={"snapshot": (), "final": ()})
    why = r"the steps could not be compiled \(OSError: no compiler\); the same command without"
    with pytest.raises(ValueError, match=why):
        launch(config, data=str(tiny_store.path), out=tmp_path, device="cpu", compiling="on")
    status = RunFolder.at(tmp_path / config.run_id).read_status()
    assert status is not None
    assert (status.status, status.error) == ("interrupted", "the steps could not be compiled")


def test_what_a_cuda_graph_gives_is_copied_with_its_derivative() -> None:
    """The next replay of a graph writes into the same memory."""
    same = torch.ones(2, requires_grad=True) * 3
    loss = DLoss(same.sum(), same.detach(), same.detach(), same.detach())
    found = compiling.kept(lambda: (loss, same))()
    assert isinstance(found[0], DLoss)
    assert torch.equal(found[1], same)
    assert found[1].data_ptr() != same.data_ptr()
    assert torch.equal(torch.autograd.grad(found[0].total, same)[0], torch.ones(2))
