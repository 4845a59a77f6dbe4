"""Modes of MNIST in three channels: how many of 1000 there are (paper, section 6.3, appendix D).

A classifier reads each channel of an image as a digit; three digits are a mode. The count and the
divergence of the modes' histogram from the uniform one are averaged over several sets of images.
"""

import time

import numpy as np
from numpy.typing import NDArray

from pgbench.metrics.digits import DigitReader
from pgbench.metrics.images import Images, ImageSet, as_image_set
from pgbench.metrics.imageset import Pixels, Progress
from pgbench.metrics.registry import MODES_VERSION, MetricResult

NUM_MODES = 1000
SET_SIZE = 25_600  # images of each set in the paper

_BATCH = 128


def modes(
    images: Images,
    *,
    reader: DigitReader,
    set_size: int = SET_SIZE,
    num_images: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> MetricResult:
    """Number of modes that a generator makes and their KL from uniform, appendix D of the paper.

    Parameters
    ----------
    images : ImageSet, array or iterable of batches
        uint8 NCHW, [0, 255], C = 3, 32x32. The sets are its consecutive parts of `set_size` images;
        what is left at the end is left out.
    reader : DigitReader
        Reads the digits, see `open_digit_reader`.
    set_size : int
        More images find more modes, so that counts of other sizes are not comparable.
    num_images : int, optional
        Only the first so many, by default all.
    seed : int
        Recorded only: nothing here is random.
    progress : callable, optional
        Called with the fraction done.

    Returns
    -------
    MetricResult
        `modes` in [1, 1000] and `kl` in nats, in [0, log 1000], are means over the sets;
        `modes_std` and `kl_std` the standard deviations over them (divisor: the number of sets).

    Raises
    ------
    ValueError
        There are fewer images than one set, or they are not 32x32.
    """
    began = time.monotonic()
    chosen = as_image_set(images, num_images)
    if not 1 <= set_size <= chosen.num_images:
        raise ValueError(
            f"{chosen.name} holds {chosen.num_images} images and a set of modes takes {set_size}; "
            "give more images or a smaller set size."
        )
    count = chosen.num_images // set_size
    found = _read_all(chosen.first(count * set_size), reader, progress)
    values, stderr = _summary(found.reshape(count, set_size))
    return MetricResult(
        metric="modes",
        metric_version=MODES_VERSION,
        num_images=count * set_size,
        seed=seed,
        values=values,
        stderr=stderr,
        protocol={"sets": count, "set_size": set_size, **reader.protocol},
        wall_sec=time.monotonic() - began,
    )


def _read_all(images: ImageSet, reader: DigitReader, progress: Progress | None) -> NDArray[np.intp]:
    """The modes (N,) of a whole set."""
    found: list[NDArray[np.intp]] = []
    for batch in images.batches(_BATCH):
        found.append(read_modes(batch, reader))
        if progress is not None:
            progress(min(1.0, len(found) * _BATCH / images.num_images))
    return np.concatenate(found)


def read_modes(images: Pixels, reader: DigitReader) -> NDArray[np.intp]:
    """The modes (N,), 100 R + 10 G + B of the digits read, of images (N, 3, 32, 32) uint8."""
    digits = reader(images.reshape(-1, *images.shape[2:])).reshape(-1, 3)
    found: NDArray[np.intp] = digits.astype(np.intp) @ np.array([100, 10, 1])
    return found


def count_modes(found: NDArray[np.intp]) -> tuple[int, float]:
    """Number of different modes among `found` (N,), and KL = sum over these of p log(1000 p)."""
    counts = np.bincount(found, minlength=NUM_MODES)
    p = counts[counts > 0] / len(found)
    return len(p), float((p * np.log(NUM_MODES * p)).sum())


def _summary(sets: NDArray[np.intp]) -> tuple[dict[str, float], dict[str, float | None]]:
    """Means and standard deviations over the sets (S, N), and the standard errors of the means."""
    each = dict(zip(("modes", "kl"), np.array([count_modes(one) for one in sets]).T, strict=True))
    values: dict[str, float] = {}
    stderr: dict[str, float | None] = {}
    for key, of_sets in each.items():
        values |= {key: float(of_sets.mean()), f"{key}_std": float(of_sets.std())}
        error = float(of_sets.std(ddof=1)) / len(sets) ** 0.5 if len(sets) > 1 else None
        stderr |= {key: error, f"{key}_std": None}
    return values, stderr
