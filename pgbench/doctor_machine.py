"""The doctor on processor threads, CUDA devices and the C++ compiler."""

import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pgbench.cores import usable_cores
from pgbench.finding import Finding, size_in_words

DRIVER = Path("/proc/driver/nvidia/version")
COMPILER = "clang++" if sys.platform == "darwin" else "g++"  # what torch calls without CXX


def threads() -> Iterator[Finding]:
    """Cores that this process may use, and the threads it is told to use."""
    cores, told = usable_cores(), os.environ.get("OMP_NUM_THREADS", "").strip()
    facts: dict[str, Any] = {"cores": cores, "omp_num_threads": told or None}
    text = f"{cores} cores, OMP_NUM_THREADS {f'is {told}' if told else 'is not set'}"
    wanted = int(told) if told.isascii() and told.isdigit() else cores
    if wanted < cores:
        cure = "Unset OMP_NUM_THREADS to train on all cores, unless other work needs them."
        yield Finding("machine", "threads", "warning", text, cure, facts)
    elif wanted > cores:
        cure = f"Unset OMP_NUM_THREADS or set it to {cores}: more threads than cores are slower."
        yield Finding("machine", "threads", "warning", text, cure, facts)
    else:
        yield Finding("machine", "threads", "ok", text, facts=facts)


def cuda() -> Iterator[Finding]:
    """CUDA devices with their memory; torch is imported only where there is a driver."""
    facts: dict[str, Any] = {"devices": [], "driver": DRIVER.exists()}
    if not DRIVER.exists():
        text = "no NVIDIA driver, so everything runs on the CPU"
        yield Finding("machine", "cuda", "ok", text, facts=facts)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of what is told below
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        devices = [torch.cuda.get_device_properties(number) for number in range(count)]
    if not devices:
        text = f"there is an NVIDIA driver, but torch {torch.__version__} sees no device"
        cure = "Install a torch built for this driver's CUDA, or a newer driver; the CPU works."
        yield Finding("machine", "cuda", "warning", text, cure, facts)
        return
    facts["devices"] = [{"name": one.name, "memory_bytes": one.total_memory} for one in devices]
    text = ", ".join(f"{one.name} with {size_in_words(one.total_memory)}" for one in devices)
    yield Finding("machine", "cuda", "ok", text, facts=facts)


def compiler() -> Iterator[Finding]:
    """The C++ compiler that torch.compile calls."""
    name = os.environ.get("CXX", COMPILER)
    found = shutil.which(name)
    facts: dict[str, Any] = {"path": found}
    if found is None:
        text, cure = f"no {name}, which only --compile needs", f"For --compile install {name}."
        yield Finding("machine", "compiler", "ok", text, cure, facts)
    else:
        yield Finding("machine", "compiler", "ok", f"{found}, for --compile", facts=facts)
