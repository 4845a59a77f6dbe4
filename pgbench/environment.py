"""Seeds, devices and versions: what a run depends on besides its configuration."""

import ctypes
import json
import os
import platform
import resource
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import JsonValue

from pgbench.atomic import write_text_atomically

_PACKAGES = ("pgbench", "torch", "numpy", "scipy", "scikit-image", "pillow", "safetensors")

# glibc's M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX and M_ARENA_MAX.
_KEEPING = ((-1, 2**31 - 1), (-2, 256 << 20), (-4, 0))
_ONE_ARENA = (-8, 1)


def seeded(seed: int, purpose: int) -> torch.Generator:
    """A CPU random generator of its own for each purpose of a run."""
    state = np.random.SeedSequence([seed, purpose]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def choose_device(name: str, *, tf32: bool = False) -> torch.device:
    """`auto`, `cpu` or `cuda` (of several, that of this process); deterministic on a CPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda is not available here; take --device cpu or auto")
    cuda = name != "cpu" and torch.cuda.is_available()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    # Of two ways to say it the one that does not import the compiler, which takes seconds.
    torch.set_deterministic_debug_mode("default" if cuda else "error")
    # Filling what is then overwritten costs a sixth of a step at 8x8.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if not cuda:
        return torch.device("cpu")
    number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= count:
        raise ValueError(f"there are {count} CUDA devices here; start no more processes than that")
    device = torch.device("cuda", number)
    torch.cuda.set_device(device)
    return device


def keep_memory(*, large: bool) -> None:
    """Have glibc keep freed memory: new pages for every tensor cost up to a third of a step.

    `large` tensors do not fit into the 64 MB heaps that threads have of their own.
    """
    tell = getattr(ctypes.CDLL(None), "mallopt", lambda option, value: None)
    for option, value in (*_KEEPING, *[_ONE_ARENA] * large):
        tell(option, value)


def describe(device: torch.device) -> dict[str, JsonValue]:
    """Versions and hardware, as plain JSON values."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {package: version(package) for package in _PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "tf32": torch.backends.cudnn.allow_tf32,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def note_session(path: Path, device: torch.device, *, data: str, **how: JsonValue) -> None:
    """Add this go at a run to its environment.json; `data` is what `--data` named."""
    sessions = _sessions(path) if path.exists() else []
    started = datetime.now(UTC).isoformat(timespec="seconds")
    sessions.append({"started": started, "data": data} | how | describe(device))
    write_text_atomically(path, json.dumps({"sessions": sessions}, indent=2) + "\n")


def last_data(path: Path) -> str:
    """What `--data` named at the last go; ValueError when environment.json does not say."""
    try:
        return str(_sessions(path)[-1]["data"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path} does not say which data the run used; give --data") from error


def _sessions(path: Path) -> list[Any]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["sessions"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged; remove it") from error


def peak_memory_mb() -> float:
    """The largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def memory_peaks(device: torch.device) -> dict[str, float]:
    """The largest memory so far, as statistics: of this process, and of its tensors on a GPU."""
    peaks = {"peak_memory_mb": peak_memory_mb()}
    if device.type == "cuda":
        peaks["peak_gpu_memory_mb"] = torch.cuda.max_memory_allocated(device) / 1e6
    return peaks


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
