"""What table 1 costs here: images/s of every row at each resolution, and the hours they add up to.

`python benchmarks/training.py [PROFILE] [--rows a g] [--threads N]`, by default every row of
`desktop`; on quiet cores. Fading counts as full resolution and measuring is left out. Beside the
minutes of a row stands which part of them more it takes to save a state at every tick.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from pgbench.cli import SPINNING

os.environ |= SPINNING  # before torch, as the command has it

import torch

from pgbench.checkpoint import save_state
from pgbench.config import RunConfig
from pgbench.data import Sampler
from pgbench.environment import choose_device, keep_memory
from pgbench.reproductions.table1 import ROWS, SCALES, row_config
from pgbench.schedule import level_of_detail
from pgbench.sources import open_dataset
from pgbench.training import Trainer

SECONDS = 4.0  # per row and resolution


def images_per_sec(trainer: Trainer, nimg: int) -> float:
    """The rate of whole steps at the point `nimg` of the schedule."""
    trainer.nimg = nimg
    for _ in range(2):
        trainer.step()
    began, started = trainer.nimg, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        trainer.step()
    return (trainer.nimg - began) / (time.perf_counter() - started)


def kimg_by_resolution(config: RunConfig) -> dict[int, tuple[int, float]]:
    """Resolution -> (nimg at which it is whole, kimg spent at it or fading to it)."""
    full, found = config.data.resolution, dict[int, tuple[int, float]]()
    for kimg in range(int(config.schedule.total_kimg)):
        lod = level_of_detail(kimg * 1000, config.schedule, resolution=full)
        resolution = full >> int(lod)
        whole = kimg * 1000 if lod == int(lod) else -1
        start, spent = found.get(resolution, (-1, 0.0))
        found[resolution] = (start if start >= 0 else whole, spent + 1)
    return found


def cost(config: RunConfig, sampler: Sampler, device: torch.device) -> tuple[str, float, float]:
    """The rates as text, the seconds of the whole run, and those of saving all its states."""
    rates, seconds = [], 0.0
    for resolution, (nimg, kimg) in kimg_by_resolution(config).items():
        trainer = Trainer(config, sampler, device)
        rate = images_per_sec(trainer, nimg)
        rates.append(f"{resolution}²: {rate:.0f}")
        seconds += 1000 * kimg / rate
    ticks = config.schedule.total_kimg / config.schedule.tick_kimg
    return "  ".join(rates), seconds, ticks * seconds_to_save(trainer)


def seconds_to_save(trainer: Trainer) -> float:
    """Of one state, the second time, when there is one to be kept."""
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            started = time.perf_counter()
            save_state(Path(folder) / "training-state.pt", trainer.state())
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profile", nargs="?", choices=list(SCALES), default="desktop")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    profile, device = options.profile, choose_device("auto")
    scale = SCALES[profile]
    keep_memory(large=scale.resolution >= 64)
    store = open_dataset("portraits", resolution=scale.resolution, num_images=scale.num_images)
    sampler = Sampler(store, num_images=None, mirror=True, seed=0)
    print(f"{profile} on {device}, {torch.get_num_threads()} threads, images/s:")
    total = 0.0
    for row in options.rows:
        config = row_config(
            row, profile=profile, dataset="portraits", mirror=True, num_images=None, seed=0
        )
        rates, seconds, saving = cost(config, sampler, device)
        total += seconds
        share = f"states {saving / seconds:.2%}"
        print(f"row {row:<3} {rates:<50} {seconds / 60:6.1f} min  {share}", flush=True)
    print(f"together {total / 3600:.2f} h")


if __name__ == "__main__":
    main()
