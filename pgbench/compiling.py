"""When the steps are compiled, and how: torch.compile, kept on disk for the next run.

Compiling a resolution takes a minute or two on a CPU, so that `auto` does it there only where
the run has enough steps to win them back; on CUDA always.
"""

import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch
from platformdirs import user_cache_path
from torch import Tensor
from torch.utils._pytree import tree_map_only

from pgbench.config import RunConfig
from pgbench.schedule import minibatch_at, resolutions
from pgbench.steps import Steps

Choice = Literal["auto", "on", "off"]
Function = TypeVar("Function", bound=Callable[..., Any])

log = logging.getLogger(__name__)
_ENOUGH_STEPS = 20_000  # at one resolution, for the compiler's minutes


def compiles(choice: Choice, config: RunConfig, resolution: int, device: torch.device) -> bool:
    """Whether the steps at `resolution` are to be compiled; ValueError where it cannot be done."""
    larger = config.generator.kind == "progressive"  # table 4's have machine code of their own
    worth = larger and _steps_at(config, resolution) >= _ENOUGH_STEPS
    if choice == "off" or (choice == "auto" and device.type != "cuda" and not worth):
        return False
    trouble = trouble_here(device.type)
    if trouble and choice == "on":
        raise ValueError(
            f"--compile does not work here ({trouble}); install g++ and Python's headers, or leave "
            "it out"
        )
    if trouble:
        _warn(trouble)
    return not trouble


def compiled_resolutions(choice: Choice, config: RunConfig, device: torch.device) -> list[int]:
    """The resolutions of a run at which its steps are compiled."""
    sizes = resolutions(config.schedule, full=config.data.resolution)
    return [size for size in sizes if compiles(choice, config, size, device)]


@cache
def trouble_here(device: str) -> str:
    """Why torch.compile compiles nothing for this kind of device, "" where it does; seconds."""
    _keep_graphs()
    try:
        torch.compile(lambda x: x.sin() + 1, fullgraph=True)(torch.ones(3, device=device))
    except (RuntimeError, OSError) as error:
        return told(error)
    return ""


@cache
def _warn(trouble: str) -> None:
    """Once a process."""
    log.warning("steps are not compiled: %s", trouble)


def told(error: Exception) -> str:
    """What a compiler's error says, in a line."""
    cause = getattr(error, "inner_exception", error)
    return f"{type(cause).__name__}: {str(cause).strip().partition(chr(10))[0]}"


def is_of_the_compiler(error: Exception) -> bool:
    """Whether a step failed as it could not be compiled."""
    from torch._dynamo.exc import TorchDynamoException  # takes seconds: only after an error

    return isinstance(error, TorchDynamoException)


def compiled(steps: Steps, device: torch.device) -> None:
    """Replace the functions of `steps` by compiled ones; graphs of other resolutions are freed."""
    _keep_graphs()
    torch.compiler.reset()
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic)  # tells the compiler, too
    mode = "reduce-overhead" if device.type == "cuda" else None  # CUDA graphs: shapes are fixed
    for name in ("fakes", "d", "g"):
        plain = getattr(type(steps), name).__get__(steps)
        graph = torch.compile(plain, fullgraph=True, dynamic=False, mode=mode)
        setattr(steps, name, kept(graph) if mode else graph)
    steps.is_compiled = True


def kept(graph: Function) -> Function:
    """Its results in memory of their own: a CUDA graph writes the next ones where the last lay."""

    def copied(*given: Any, **named: Any) -> Any:
        return tree_map_only(Tensor, torch.clone, graph(*given, **named))

    return cast(Function, copied)


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
    return max(0.0, 1000 * kimg / minibatch_at(resolution, schedule))


def _keep_graphs() -> None:
    """On disk, for the next run."""
    place: Path = user_cache_path("pgbench") / "compiled"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(place))
