"""How fast a folder of CelebA-like JPEGs becomes a store, next to Pillow alone on one core.

`python benchmarks/prepare.py [COUNT]`; on quiet cores. The pictures are 178x218, as the aligned
ones, and cropped to 128x128 around x 89, y 121. Pillow reads, crops and
drops; the store also writes every level to disk and hashes it.
"""

import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pgbench.prepare import Pictures, StoreDraft, build_pictures

COUNT = 4096
DISTINCT = 64  # drawn once, then copied
LEFT, TOP, SIDE = 89 - 64, 121 - 64, 128


@dataclass(frozen=True)
class Cropped:
    """Reads and crops one picture of a folder."""

    folder: Path

    def __call__(self, index: int) -> NDArray[np.uint8]:
        with Image.open(self.folder / f"{index:06d}.jpg") as picture:
            pixels = np.asarray(picture.convert("RGB"))
        crop = pixels[TOP : TOP + SIDE, LEFT : LEFT + SIDE]
        return np.ascontiguousarray(crop.transpose(2, 0, 1))


def write_pictures(folder: Path, count: int) -> None:
    """Smooth noise with some grain, of about the size in bytes of a photograph."""
    rng = np.random.default_rng(0)
    for index in range(min(count, DISTINCT)):
        coarse = Image.fromarray(rng.integers(0, 256, (28, 23, 3), np.uint8))
        smooth = np.asarray(coarse.resize((178, 218), Image.Resampling.BICUBIC), np.int16)
        grain = rng.normal(0, 3, smooth.shape)
        pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:06d}.jpg", quality=90)
    for index in range(DISTINCT, count):
        shutil.copyfile(folder / f"{index % DISTINCT:06d}.jpg", folder / f"{index:06d}.jpg")


def pillow_rate(read: Cropped, count: int) -> float:
    started = time.perf_counter()
    for index in range(count):
        read(index)
    return count / (time.perf_counter() - started)


def build_rate(out: Path, read: Cropped, count: int) -> float:
    crop = f"{SIDE}x{SIDE} centred at x 89, y 121"
    draft = StoreDraft("benchmark", "generated", crop, SIDE, count, mirror=True)
    started = time.perf_counter()
    build_pictures(out, Pictures(draft, read))
    return count / (time.perf_counter() - started)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        write_pictures(pictures, count)
        size = sum(file.stat().st_size for file in pictures.iterdir()) / count / 1000
        print(f"{count} JPEGs of 178x218, {size:.1f} kB each, {os.cpu_count()} cores")
        read = Cropped(pictures)
        pillow_rate(read, min(count, 500))  # the files are in memory now
        alone = pillow_rate(read, count)
        print(f"Pillow alone, one core, crops dropped: {alone:6.0f} images/s")
        built = build_rate(Path(folder) / "store", read, count)
        print(
            f"build_pictures, levels 128 to 4 on disk: {built:6.0f} images/s, {built / alone:.2f} x"
        )


if __name__ == "__main__":
    main()
