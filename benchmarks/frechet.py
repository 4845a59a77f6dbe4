"""Speed of the Fréchet distance next to scipy's square root: python benchmarks/frechet.py"""

import argparse
import time

import numpy as np
from scipy import linalg

from pgbench.metrics.frechet import Statistics, frechet_distance, statistics


def plain_distance(a: Statistics, b: Statistics) -> float:
    """Through the square root of the asymmetric product."""
    root = linalg.sqrtm(a.cov @ b.cov).real
    return float(np.sum((a.mean - b.mean) ** 2) + np.trace(a.cov + b.cov - 2 * root))


def main() -> None:
    """Time both on the same random statistics."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-images", type=int, default=4096)
    parser.add_argument("--num-features", type=int, default=2048)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, options.num_images, options.num_features), np.float32)
    a, b = statistics(x), statistics(y * rng.uniform(0.5, 1.5, options.num_features) + 0.1)
    started = time.perf_counter()
    found = frechet_distance(a, b)
    ours = time.perf_counter() - started
    expected = plain_distance(a, b)
    plain = time.perf_counter() - started - ours
    print(f"Fréchet distance of {options.num_images} images, {options.num_features} features")
    print(f"pgbench {ours:.2f} s, plain {plain:.2f} s, {plain / ours:.1f} times as fast")
    print(f"distance {found:.6f}, plain {expected:.6f}, relative {abs(found / expected - 1):.1e}")


if __name__ == "__main__":
    main()
