"""When the steps are compiled, and how: torch.compile, kept on disk for the next run.

Compiling a resolution takes a minute or two on a CPU, so that `auto` does it there only where
the run has enough steps to win them back; on CUDA always.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from platformdirs import user_cache_path

from pgbench.config import RunConfig
from pgbench.schedule import START_RESOLUTION
from pgbench.steps import Steps

Choice = Literal["auto", "on", "off"]
Function = TypeVar("Function", bound=Callable[..., Any])

_ENOUGH_STEPS = 20_000  # at one resolution, for the compiler's minutes


def compiles(choice: Choice, config: RunConfig, resolution: int, device: torch.device) -> bool:
    """Whether the steps at `resolution` are to be compiled; ValueError where it cannot be done."""
    if choice == "off":
        return False
    possible = device.type == "cuda" or has_compiler()
    if choice == "on" and not possible:
        raise ValueError("--compile needs a C++ compiler and none was found; install g++ or clang")
    larger = config.generator.kind == "progressive"  # table 4's have machine code of their own
    worth = larger and _steps_at(config, resolution) >= _ENOUGH_STEPS
    enough = device.type == "cuda" or worth
    return possible and (choice == "on" or enough)


def compiled_resolutions(choice: Choice, config: RunConfig, device: torch.device) -> list[int]:
    """The resolutions of a run at which its steps are compiled."""
    full = config.data.resolution
    first = START_RESOLUTION if config.schedule.growing else full
    sizes = [1 << i for i in range(2, 11) if first <= 1 << i <= full]
    return [size for size in sizes if compiles(choice, config, size, device)]


def has_compiler() -> bool:
    """Whether torch.compile finds what it needs on a CPU."""
    named = os.environ.get("CXX")
    return any(shutil.which(name) for name in (named, "g++", "clang++", "c++") if name)


def compiled(steps: Steps, device: torch.device) -> None:
    """Replace the functions of `steps` by compiled ones; graphs of other resolutions are freed."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(_cache()))
    torch.compiler.reset()
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic)  # tells the compiler, too
    mode = "reduce-overhead" if device.type == "cuda" else None  # CUDA graphs: shapes are fixed
    for name in ("fakes", "d", "g"):
        plain = getattr(type(steps), name).__get__(steps)
        setattr(steps, name, torch.compile(plain, fullgraph=True, dynamic=False, mode=mode))
    steps.is_compiled = True


def _steps_at(config: RunConfig, resolution: int) -> float:
    """How many minibatches D sees at one resolution."""
    schedule = config.schedule
    kimg = schedule.total_kimg
    if schedule.growing:
        whole = resolution == config.data.resolution
        before = (resolution.bit_length() - 3) * (schedule.train_kimg + schedule.fade_kimg)
        before -= schedule.fade_kimg if resolution > 4 else 0
        phase = schedule.train_kimg + (schedule.fade_kimg if resolution > 4 else 0)
        kimg = schedule.total_kimg - before if whole else min(phase, schedule.total_kimg - before)
    minibatch = dict(schedule.minibatch_at).get(resolution, schedule.minibatch)
    return max(0.0, 1000 * kimg / minibatch)


def _cache() -> Path:
    return user_cache_path("pgbench") / "compiled"
