"""How fast the sampler feeds training: batches/s at each level, plain and composed, and its memory.

`python benchmarks/sampler.py`; on quiet cores. The stores are made in a temporary folder, then read
memory-mapped. The ratio is to what row g of table 1 trains at the same level on this machine; the
goal is at least 20.
"""

import re
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from training import images_per_sec, kimg_by_resolution

from pgbench.data import ImageStore, Sampler
from pgbench.environment import choose_device
from pgbench.prepare import StoreDraft, build_composed, build_store
from pgbench.reproductions.table1 import row_config
from pgbench.training import Trainer

RESOLUTION = 32
BATCH = 16
SECONDS = 3.0  # per store and level
PLAIN = 20_000  # images
COMPOSED = 1_000_000
GLYPHS = 60_000


def noise(index: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(index)
    return rng.integers(0, 256, (3, RESOLUTION, RESOLUTION), np.uint8)


def stores(folder: Path) -> dict[str, ImageStore]:
    draft = partial(StoreDraft, source="noise", crop="none", resolution=RESOLUTION, mirror=True)
    rng = np.random.default_rng(0)
    glyphs = rng.integers(0, 256, (GLYPHS, RESOLUTION, RESOLUTION), np.uint8)
    index = rng.integers(0, GLYPHS, (COMPOSED, 3), np.uint16)
    return {
        "plain": build_store(folder / "plain", draft("plain", num_images=PLAIN), read=noise),
        "composed": build_composed(
            folder / "composed", draft("composed", num_images=COMPOSED), glyphs, index
        ),
    }


def memory_mib(kind: str) -> float:
    """Resident memory of this process: Anon is its own, File that of mapped files."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"Rss{kind}:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else float("nan")


def batches_per_sec(sampler: Sampler, resolution: int) -> float:
    sampler.batch(0, BATCH, resolution=resolution)  # draws the first epoch
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        sampler.batch(BATCH * count, BATCH, resolution=resolution)
        count += 1
    return count / (time.perf_counter() - started)


def training_rates(store: ImageStore) -> dict[int, float]:
    """Images/s of row g at each level, at the batch size of the row."""
    config = row_config(
        "g", profile="desktop", dataset="portraits", mirror=True, num_images=None, seed=0
    )
    device = choose_device("auto")
    sampler = Sampler(store, num_images=None, mirror=True, seed=0)
    print(f"row g of desktop on {device}, {torch.get_num_threads()} threads")
    points = kimg_by_resolution(config).items()
    return {
        resolution: images_per_sec(Trainer(config, sampler, device), nimg)
        for resolution, (nimg, _) in points
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = stores(Path(folder))
        trained = training_rates(made["plain"])
        for name, store in made.items():
            size = sum(file.stat().st_size for file in store.path.iterdir()) / 1e6
            print(f"{name}: {store.info.num_images} images, {size:.0f} MB on disk")
            sampler = Sampler(store, num_images=None, mirror=True, seed=0)
            sampler.batch(0, BATCH, resolution=RESOLUTION)
            before = {kind: memory_mib(kind) for kind in ("Anon", "File")}
            for lod, resolution in enumerate(store.info.fingerprint):
                rate = batches_per_sec(sampler, resolution)
                images = BATCH * rate
                print(
                    f"  lod {lod}, {resolution:>2}²: {rate:7.0f} batches/s of {BATCH}, "
                    f"{images:8.0f} images/s, {images / trained[resolution]:6.0f} x training "
                    f"({trained[resolution]:.0f} images/s)"
                )
            grown = {kind: memory_mib(kind) - before[kind] for kind in before}
            print(f"  memory grew by {grown['Anon']:.1f} MiB, mapped by {grown['File']:.1f} MiB")


if __name__ == "__main__":
    main()
