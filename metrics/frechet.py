"""Fréchet distance between the Gaussians of two sets of features, the F of FID (table 3).

|m1 - m2|² + tr S1 + tr S2 - 2 tr (S1^½ S2 S1^½)^½ after Heusel et al. 2017, equation 6, which is
the squared 2-Wasserstein distance of two Gaussians (Dowson and Landau 1982). With S1 = A Aᵀ the
last trace is the sum of the square roots of the eigenvalues of Aᵀ S2 A, a symmetric matrix: no
square root of an asymmetric one, which comes out complex or wrong near a singular covariance.
"""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky

from pgbench.metrics.cache import whole_file

_BLOCK_VALUES = 2**22  # features handled at once in float64: 32 MiB
_MAX_MEMBER_BYTES = 2**30  # covariances of up to 11,585 features
_MAX_ASYMMETRY = 1e-5  # of the largest entry: room for files in float32

Features = NDArray[np.floating[Any]]  # (N, D)
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Statistics:
    """The Gaussian fitted to a set of features.

    Attributes
    ----------
    mean : (D,) float64
    cov : (D, D) float64
        With divisor N - 1.
    num_images : int or None
        How many images it was estimated from, where that is known.
    """

    mean: Floats
    cov: Floats
    num_images: int | None


def statistics(features: Features) -> Statistics:
    """Mean and covariance of features.

    Parameters
    ----------
    features : (N, D), floating
        One row per image, N >= 2. No float64 copy of all of them is made.

    Raises
    ------
    ValueError
        Fewer than two images, or a feature that is not finite.
    """
    check_features(features, least=2, what="A covariance")
    mean = np.zeros(features.shape[1])
    for block in _blocks(features):
        mean += block.sum(axis=0)
    mean /= len(features)
    cov = np.zeros((len(mean), len(mean)))
    for block in _blocks(features):
        block -= mean
        cov += block.T @ block
    return Statistics(mean, cov / (len(features) - 1), len(features))


def is_singular(stats: Statistics) -> bool:
    """Whether there are too few images for a covariance of full rank: at most D of them."""
    return stats.num_images is not None and stats.num_images <= len(stats.mean)


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """Squared 2-Wasserstein distance of two Gaussians, Heusel et al. 2017.

    Parameters
    ----------
    a, b : Statistics
        Of the same number of features. Singular covariances are fine.

    Returns
    -------
    float, >= 0

    Raises
    ------
    ValueError
        The numbers of features differ.
    """
    _check_comparable(a, b)
    if _rank_limit(b) < _rank_limit(a):
        a, b = b, a  # a smaller eigenproblem, of full rank
    factor = _factor(a)
    eigenvalues = np.linalg.eigvalsh(factor.T @ b.cov @ factor)
    overlap = np.sqrt(np.maximum(eigenvalues, 0)).sum()  # rounding may make a zero negative
    shift = a.mean - b.mean
    distance = shift @ shift + np.trace(a.cov) + np.trace(b.cov) - 2 * overlap
    return max(0.0, float(distance))


def frechet_stderr(real_features: Features, fake_features: Features) -> float:
    """Standard error of the Fréchet distance from the choice of the images, by the delta method.

    A fake x moves the distance by 2 (m2 - m1)·(x - m2) + (x - m2)ᵀ (I - T) (x - m2), up to a
    constant, where T = S1^½ (S1^½ S2 S1^½)^-½ S1^½ is the optimal transport map from the fakes'
    Gaussian to the reals'; a real likewise. The squared error is the sum over both sets of the
    variance of these influences divided by the number of images.

    It is of first order: sound where the distance is large next to it and there are many more
    images than features. Near distance 0 the true influences vanish and their noise is measured
    instead: between two samples of one Gaussian it comes out about 1.4 times too large. It does not
    cover the upward bias of the distance at a finite number of images, so that a distance within
    a few standard errors of 0 need not be compatible with 0, nor one far from 0 be incompatible.

    Parameters
    ----------
    real_features : (N, D), floating
    fake_features : (M, D), floating

    Raises
    ------
    ValueError
        As for `statistics` and `frechet_distance`.
    """
    real, fake = statistics(real_features), statistics(fake_features)
    _check_comparable(real, fake)
    if _rank_limit(fake) < _rank_limit(real):
        to_real, to_fake = _transports(fake, real)
    else:
        to_fake, to_real = _transports(real, fake)
    shift = fake.mean - real.mean
    of_fakes = _influences(fake_features, fake.mean, shift, to_real)
    of_reals = _influences(real_features, real.mean, -shift, to_fake)
    variance = of_reals.var(ddof=1) / len(of_reals) + of_fakes.var(ddof=1) / len(of_fakes)
    return float(variance**0.5)


def save_statistics(path: Path, stats: Statistics) -> None:
    """Write `path`, an .npz of `mu` (D,), `sigma` (D, D) and, where known, `num_images`.

    pytorch-fid and clean-fid read and write the first two. The file is there whole or not at all.
    """
    arrays: dict[str, Any] = {"mu": stats.mean, "sigma": stats.cov}
    if stats.num_images is not None:
        arrays["num_images"] = stats.num_images
    with whole_file(path) as file:
        np.savez(file, **arrays)


def holds_statistics(path: Path) -> bool:
    """Whether `path` is an .npz with an array `mu`, which no image set has."""
    if path.suffix.lower() != ".npz" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "mu.npy" in archive.namelist()
    except Exception:  # zipfile raises nearly anything on a damaged file; opening it will say what
        return False


def load_statistics(path: Path) -> Statistics:
    """Read what `save_statistics`, pytorch-fid or clean-fid wrote; nothing is unpickled.

    Raises
    ------
    ValueError
        Whatever is wrong with the file, naming it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
        known = [name for name in ("mu", "sigma", "num_images") if f"{name}.npy" in sizes]
        if max((sizes[f"{name}.npy"] for name in known), default=0) > _MAX_MEMBER_BYTES:
            raise ValueError("an array of more than 1 GiB")
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: np.asarray(arrays[name]) for name in known}
    except FileNotFoundError as error:
        raise ValueError(f"There is no file of statistics at {path}.") from error
    except Exception as error:  # zipfile and numpy raise nearly anything on damaged files
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(f"{path} cannot be read as a plain .npz ({reason}).") from error
    if not {"mu", "sigma"} <= set(found):
        raise ValueError(f"{path} is no file of statistics: it lacks the arrays mu and sigma.")
    mean, cov = found["mu"], found["sigma"]
    _check_gaussian(path, mean, cov)
    num_images = _checked_count(path, found["num_images"]) if "num_images" in found else None
    return Statistics(mean.astype(np.float64), cov.astype(np.float64), num_images)


def check_features(features: Features, *, least: int, what: str) -> None:
    """Refuse what is no (N, D) array of finite floats with N >= `least`, which `what` needs."""
    if features.ndim != 2 or not features.shape[1] or features.dtype.kind != "f":
        raise ValueError(
            f"Features are floats of shape (N, D), not {features.dtype} of shape {features.shape}."
        )
    if len(features) < least:
        raise ValueError(f"{what} needs at least {least} images, not {len(features)}.")
    start = 0
    for block in _blocks(features):
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            raise ValueError(f"The features of image {start + finite.argmin()} are not finite.")
        start += len(block)


def _blocks(features: Features) -> Iterator[Floats]:
    """Copies of successive rows, float64."""
    rows = max(1, _BLOCK_VALUES // features.shape[1])
    for start in range(0, len(features), rows):
        yield features[start : start + rows].astype(np.float64)


def _check_comparable(a: Statistics, b: Statistics) -> None:
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f"One set has {len(a.mean)} features an image, the other {len(b.mean)}; take both from "
            "the same network."
        )


def _rank_limit(stats: Statistics) -> int:
    """No covariance has a higher rank than this."""
    return min(len(stats.mean), (stats.num_images or len(stats.mean) + 1) - 1)


def _factor(stats: Statistics) -> Floats:
    """A of shape (D, rank) with A Aᵀ = cov."""
    if not is_singular(stats):
        try:
            lower: Floats = cholesky(stats.cov, lower=True)
            return lower
        except np.linalg.LinAlgError:  # singular all the same
            pass
    eigenvalues, vectors = np.linalg.eigh(stats.cov)
    kept = eigenvalues > _noise(eigenvalues)
    kept[: len(kept) - _rank_limit(stats)] = False
    factor: Floats = vectors[:, kept] * np.sqrt(eigenvalues[kept])
    return factor


def _noise(eigenvalues: Floats) -> float:
    """Below this, an eigenvalue is not told from 0 by float64."""
    return float(max(0.0, eigenvalues.max(initial=0)) * len(eigenvalues) * np.finfo(float).eps)


def _transports(a: Statistics, b: Statistics) -> tuple[Floats, Floats]:
    """F of shape (D, rank) such that F Fᵀ is the optimal transport map from a to b; b to a.

    With S1 = A Aᵀ and Aᵀ S2 A = Q Λ Qᵀ, that from b is A Q Λ^-½ Qᵀ Aᵀ, and that from a is
    S2 A Q Λ^-3/2 Qᵀ Aᵀ S2. Inverses are pseudo-inverses.
    """
    factor = _factor(a)
    eigenvalues, vectors = np.linalg.eigh(factor.T @ b.cov @ factor)
    kept = eigenvalues > _noise(eigenvalues)
    root = np.sqrt(eigenvalues[kept])
    basis = factor @ vectors[:, kept]
    return b.cov @ basis / root**1.5, basis / root**0.5


def _influences(features: Features, mean: Floats, towards: Floats, transport: Floats) -> Floats:
    """2 towards·x + xᵀ (I - F Fᵀ) x of each centred x, (N,)."""
    found = []
    for block in _blocks(features):
        block -= mean
        moved = block @ transport
        found.append(
            2 * block @ towards
            + np.einsum("nd,nd->n", block, block)
            - np.einsum("nr,nr->n", moved, moved)
        )
    return np.concatenate(found)


def _check_gaussian(path: Path, mean: NDArray[Any], cov: NDArray[Any]) -> None:
    if mean.ndim != 1 or not len(mean) or cov.shape != (len(mean), len(mean)):
        raise ValueError(
            f"{path} holds mu of shape {mean.shape} and sigma of shape {cov.shape}, which should "
            "be (D,) and (D, D)."
        )
    if mean.dtype.kind != "f" or cov.dtype.kind != "f":
        raise ValueError(f"{path} holds mu as {mean.dtype} and sigma as {cov.dtype}, not floats.")
    if not (np.isfinite(mean).all() and np.isfinite(cov).all()):
        raise ValueError(f"{path} holds statistics that are not finite.")
    if np.abs(cov - cov.T).max() > _MAX_ASYMMETRY * np.abs(cov).max():
        raise ValueError(f"{path} holds a sigma that is not symmetric, so it is no covariance.")
    if np.diagonal(cov).min() < 0:
        raise ValueError(f"{path} holds a sigma with a negative variance.")


def _checked_count(path: Path, count: NDArray[Any]) -> int:
    if count.shape or count.dtype.kind not in "iu" or count < 2:
        raise ValueError(f"{path} holds num_images that is no whole number from 2.")
    return int(count)
