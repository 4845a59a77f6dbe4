"""Speed of reading folders of images next to Pillow in one thread: python benchmarks/decoding.py"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pgbench.metrics import open_images
from pgbench.scenes import load_photograph

ROUNDS = 4

Pixels = NDArray[np.uint8]


def write_crops(folder: Path, suffix: str, num_images: int, size: int) -> list[Path]:
    """Random crops of photographs, resized."""
    rng = np.random.default_rng(0)
    photos = [load_photograph(number) for number in range(3)]
    files = [folder / f"{i:05}{suffix}" for i in range(num_images)]
    for file in files:
        photo = photos[rng.integers(len(photos))]
        side = int(rng.integers(128, min(photo.size)))
        x, y = (int(rng.integers(0, room - side)) for room in photo.size)
        crop = photo.crop((x, y, x + side, y + side)).resize((size, size), Image.Resampling.BICUBIC)
        crop.save(file, quality=95)
    return files


def plain(files: list[Path], batch: int) -> Iterator[Pixels]:
    """NCHW batches, one file after the other."""
    for start in range(0, len(files), batch):
        images = [Image.open(file).convert("RGB") for file in files[start : start + batch]]
        yield np.stack([np.asarray(image).transpose(2, 0, 1) for image in images])


def seconds(read: Iterator[Pixels]) -> float:
    """How long it takes to read all batches."""
    started = time.perf_counter()
    for _ in read:
        pass
    return time.perf_counter() - started


def compare(suffix: str, num_images: int, size: int, batch: int) -> str:
    """Read the same files both ways in turn; the shortest times count."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_crops(Path(folder), suffix, num_images, size)
        images = open_images(Path(folder))
        same = all(map(np.array_equal, images.batches(batch), plain(files, batch)))
        times = [
            (seconds(images.batches(batch)), seconds(plain(files, batch))) for _ in range(ROUNDS)
        ]
    ours, theirs = np.min(times, axis=0)
    return (
        f"{num_images} {suffix} of {size} px: pgbench {num_images / ours:.0f} images/s, "
        f"plain {num_images / theirs:.0f}, {theirs / ours:.2f} times as fast, "
        f"{'equal pixels' if same else 'DIFFERENT PIXELS'}"
    )


def main() -> None:
    """Time small and large images of both formats."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-images", type=int, default=2000, help="of 128 px; and 1/64 of 1024")
    count = parser.parse_args().num_images
    for suffix in (".png", ".jpg"):
        print(compare(suffix, count, size=128, batch=64))
        print(compare(suffix, max(8, count // 64), size=1024, batch=4))


if __name__ == "__main__":
    main()
