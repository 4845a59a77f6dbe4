"""Kill runs at random moments until they are done, and compare what they leave with straight runs.

`python benchmarks/kills.py [--kills 50] [--rows g c d] [--seed 0]`

Every row is trained at `smoke` once without a kill and then again and again with SIGKILL after a
random time, until so many kills were made in all. State, snapshots, sheets, statistics and records
must have equal hashes; clocks are left out.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pgbench.checkpoint import load_state

CLOCKS = {"images_per_sec", "train_sec", "peak_memory_mb", "wall_sec"}
LONGEST = 14.0  # seconds before a kill: about as long as a run takes


def command(row: str, out: Path) -> list[str]:
    ours = [sys.executable, "-m", "pgbench", "run", "ablation", "--row", row]
    return [*ours, "--profile", "smoke", "--device", "cpu", "--out", str(out)]


def run(row: str, out: Path, kill_after: float | None) -> bool:
    """Whether the run came to its end before the kill."""
    process = subprocess.Popen(
        command(row, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        if process.wait(kill_after):
            raise SystemExit(f"row {row} ended with exit code {process.returncode}")
        return True
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False


def tensors(value: Any) -> Iterator[bytes]:
    """The bytes of everything in a state, in order."""
    if isinstance(value, torch.Tensor):
        yield value.contiguous().numpy().tobytes()
    elif isinstance(value, dict):
        for name in sorted(value, key=str):
            if name not in CLOCKS:
                yield str(name).encode()
                yield from tensors(value[name])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors(each)
    else:
        yield repr(value).encode()


def contents(run_folder: Path) -> Iterator[bytes]:
    """What a run left, without clocks."""
    yield from tensors(load_state(run_folder / "training-state.pt"))
    for path in sorted([*run_folder.glob("snapshots/*"), *run_folder.glob("samples/*")]):
        yield path.name.encode()
        yield path.read_bytes()
    for name in ("stats.jsonl", "metrics.jsonl"):
        for line in (run_folder / name).read_text().splitlines():
            yield from tensors(json.loads(line))


def digest(out: Path) -> str:
    """SHA-256 of what the one run in `out` left."""
    (config,) = out.glob("*/config.json")
    found = hashlib.sha256()
    for part in contents(config.parent):
        found.update(part)
    return found.hexdigest()


def main() -> None:
    """Print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rows", nargs="+", default=["g", "c", "d"])
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    kills = runs = 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        straight = {}
        for row in options.rows:
            out = Path(folder) / f"straight-{len(straight)}"
            run(row, out, None)
            straight[row] = digest(out)
        while kills < options.kills:
            row = options.rows[runs % len(options.rows)]
            out = Path(folder) / f"killed-{runs}"
            here = 0
            while not run(row, out, moments.uniform(0.5, LONGEST)):
                here += 1
            kills, runs = kills + here, runs + 1
            same = digest(out) == straight[row]
            print(f"row {row}: {here} kills, {'equal' if same else 'DIFFERENT'}", flush=True)
            if not same:
                raise SystemExit(1)
    print(f"{kills} kills, {runs} runs, all equal, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
