"""What table 1 costs here: images/s of every row at each resolution, and the hours they add up to.

`python benchmarks/training.py [PROFILE] [ROW ...]`, by default every row of `desktop`; on quiet
cores. Fading counts as full resolution and measuring is left out.
"""

import sys
import time

import torch

from pgbench.config import RunConfig
from pgbench.data import Sampler
from pgbench.environment import choose_device
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


def cost(config: RunConfig, sampler: Sampler, device: torch.device) -> tuple[str, float]:
    """The rates as text and the seconds of the whole run."""
    rates, seconds = [], 0.0
    for resolution, (nimg, kimg) in kimg_by_resolution(config).items():
        rate = images_per_sec(Trainer(config, sampler, device), nimg)
        rates.append(f"{resolution}²: {rate:.0f}")
        seconds += 1000 * kimg / rate
    return "  ".join(rates), seconds


def main() -> None:
    profile = sys.argv[1] if len(sys.argv) > 1 else "desktop"
    device = choose_device("auto")
    scale = SCALES[profile]
    store = open_dataset("portraits", resolution=scale.resolution, num_images=scale.num_images)
    sampler = Sampler(store, num_images=None, mirror=True, seed=0)
    print(f"{profile} on {device}, {torch.get_num_threads()} threads, images/s:")
    total = 0.0
    for row in sys.argv[2:] or ROWS:
        config = row_config(
            row, profile=profile, dataset="portraits", mirror=True, num_images=None, seed=0
        )
        rates, seconds = cost(config, sampler, device)
        total += seconds
        print(f"row {row:<3} {rates:<50} {seconds / 60:6.1f} min", flush=True)
    print(f"together {total / 3600:.2f} h")


if __name__ == "__main__":
    main()
