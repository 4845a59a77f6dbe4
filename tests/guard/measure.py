"""Measure fixed images with the project's own metrics: `python tests/guard/measure.py OUT`.

The images are crops of photographs inside scikit-image's wheel that are stored without loss, so
their pixels are the same everywhere. OUT gets a JSON file per metric, as `pgbench metrics --json`
prints it, for `pgbench check OUT --baseline tests/guard/baseline.json`. With --pixels alone, the
metrics that need no network.
"""

import argparse
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pgbench.cli import cli

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png")
NUM_IMAGES, SIDE = 64, 64
SHA256 = "c32918ded9d55199e26f5bd0423b4ef95e5ad34a1af75de22dd1b13fd97f2c40"
PIXELS = {
    "swd": ("swd", "reals", "fakes"),
    "swd-iid": ("swd", "reals", "fakes", "--directions", "iid", "--mirror", "--seed", "3"),
    "msssim": ("msssim", "fakes"),
    "msssim-all": ("msssim", "fakes", "--pairs", "all", "--num-images", "32"),
}
NETWORK = ("--extractor", "efficientnet-lite0", "--device", "cpu")
FEATURES = {
    "fd": ("fid", "reals", "fakes", *NETWORK),
    "is": ("is", "fakes", *NETWORK),
    "kd": ("kid", "reals", "fakes", "--subset-size", "32", *NETWORK),
    "prdc": ("prdc", "reals", "fakes", *NETWORK),
}

Pixels = NDArray[np.uint8]


def crops(photographs: list[Pixels], seed: int) -> Pixels:
    """Random squares of photographs: NHWC, uint8, [0, 255]."""
    rng = np.random.default_rng(seed)
    found = np.empty((NUM_IMAGES, SIDE, SIDE, 3), np.uint8)
    for image in found:
        photograph = photographs[rng.integers(len(photographs))]
        top, left = (rng.integers(size - SIDE + 1) for size in photograph.shape[:2])
        image[:] = photograph[top : top + SIDE, left : left + SIDE]
    return found


def draw() -> dict[str, Pixels]:
    """The reals, and fakes that lack the finest detail: each 2x2 block is one pixel."""
    photographs = []
    for name in PHOTOGRAPHS:
        with (resources.files("skimage") / "data" / name).open("rb") as file:
            photographs.append(np.asarray(Image.open(file).convert("RGB")))
    coarse = crops(photographs, 1)[:, ::2, ::2]
    return {"reals": crops(photographs, 0), "fakes": coarse.repeat(2, axis=1).repeat(2, axis=2)}


def measure(out: Path, metrics: dict[str, tuple[str, ...]]) -> None:
    """Draw the images into `out`/images and put a JSON file per metric beside them."""
    images = draw()
    digest = hashlib.sha256(b"".join(pixels.tobytes() for pixels in images.values())).hexdigest()
    if digest != SHA256:
        raise ValueError(
            f"the crops have the SHA-256 {digest}: other photographs, or another NumPy"
        )
    (out / "images").mkdir(parents=True, exist_ok=True)
    places = {name: str(out / "images" / f"{name}.npy") for name in images}
    for name, pixels in images.items():
        np.save(places[name], pixels)
    with own_cache():
        for name, arguments in metrics.items():
            words = [places.get(word, word) for word in arguments]
            (out / f"{name}.json").write_text(printed("metrics", *words, "--json"))


def printed(*words: str) -> str:
    """What a command of pgbench prints."""
    text = io.StringIO()
    with redirect_stdout(text):
        cli.main(words, standalone_mode=False)
    return text.getvalue()


@contextmanager
def own_cache() -> Iterator[None]:
    """Share features between the metrics, but not with what this machine kept before."""
    before = os.environ.get("XDG_CACHE_HOME")
    with TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            yield
        finally:
            del os.environ["XDG_CACHE_HOME"]
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pixels", action="store_true", help="Leave out EfficientNet's metrics.")
    arguments = parser.parse_args()
    measure(arguments.out, PIXELS if arguments.pixels else PIXELS | FEATURES)
