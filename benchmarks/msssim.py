"""MS-SSIM next to a plain numpy and scipy transcription: python benchmarks/msssim.py"""

import argparse
import resource
import time

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from pgbench.metrics import msssim
from pgbench.metrics.similarity import WEIGHTS

Floats = NDArray[np.float64]

C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def plain_terms(a: Floats, b: Floats) -> tuple[float, float]:
    """SSIM and contrast of one pair (3, H, W)."""
    size = min(11, *a.shape[1:])
    axis = np.arange(size) - (size - 1) / 2
    window = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * (1.5 * size / 11) ** 2))
    window = (window / window.sum())[None]
    mean_a, mean_b, aa, bb, ab = (
        signal.convolve(x, window, mode="valid", method="direct")
        for x in (a, b, a * a, b * b, a * b)
    )
    contrast = (2 * (ab - mean_a * mean_b) + C2) / (aa - mean_a**2 + bb - mean_b**2 + C2)
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return float((luminance * contrast).mean()), float(contrast.mean())


def plain_pair(a: Floats, b: Floats) -> float:
    """MS-SSIM of one pair (3, H, W)."""
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        similarity, contrast = plain_terms(a, b)
        product *= max(similarity if scale == len(WEIGHTS) - 1 else contrast, 0) ** weight
        if scale < len(WEIGHTS) - 1:
            blocks = (3, a.shape[1] // 2, 2, a.shape[2] // 2, 2)
            a, b = a.reshape(blocks).mean((2, 4)), b.reshape(blocks).mean((2, 4))
    return product


def main() -> None:
    """Time both on the same random images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-images", type=int, default=128)
    parser.add_argument("--resolution", type=int, default=64)
    options = parser.parse_args()
    shape = (options.num_images, 3, options.resolution, options.resolution)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    started = time.perf_counter()
    found = msssim(images).values["msssim"]
    ours = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    pairs = zip(images[0::2].astype(float), images[1::2].astype(float), strict=True)
    expected = np.mean([plain_pair(a, b) for a, b in pairs])
    plain = time.perf_counter() - started - ours
    started = time.perf_counter()
    num_pairs = msssim(images, pairs="all").protocol["num_pairs"]
    every = time.perf_counter() - started
    print(f"msssim of {options.num_images} images of {options.resolution} px")
    print(f"pgbench {ours:.2f} s, plain {plain:.2f} s, {plain / ours:.1f} times as fast")
    print(f"all {num_pairs} pairs {every:.2f} s, {num_pairs / every:.0f} pairs/s")
    print(f"msssim {found:.6f}, plain {expected:.6f}, difference {abs(found - expected):.1e}")
    every_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"peak memory of the process {peak} MiB, {every_peak} MiB with all pairs and the plain one"
    )


if __name__ == "__main__":
    main()
