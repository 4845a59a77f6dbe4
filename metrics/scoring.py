"""Inception score: how sure a classifier is of each image, and how varied its answers (table 3).

exp of the mean over images of KL(p(y|x) || p(y)), Salimans et al. 2016, where p(y) is the mean of
p(y|x) over the images of a split; mean and standard deviation over the splits.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from pgbench.metrics.frechet import check_features

_ORDER = 4  # what the random stream is for


@dataclass(frozen=True)
class InceptionScore:
    """The score over the splits.

    Attributes
    ----------
    mean : float
        In [1, K].
    std : float
        With divisor `splits`, as the score is always quoted.
    stderr : float or None
        Of the mean, from the spread over the splits (divisor splits - 1); None for one split. The
        score grows with the number of images in a split, and no standard error covers that.
    """

    mean: float
    std: float
    stderr: float | None


def inception_score(
    logits: NDArray[np.floating[Any]], *, seed: int, splits: int = 10
) -> InceptionScore:
    """Inception score, Salimans et al. 2016.

    Parameters
    ----------
    logits : (N, K), floating
        Of a classifier, one row per image.
    seed : int
        Of the order in which images are dealt to the splits: a sorted set has one class in each.
    splits : int
        Nearly equal parts; split i is images floor(i N / splits) to floor((i + 1) N / splits) of
        that order.

    Raises
    ------
    ValueError
        Fewer than two images per split, or a logit that is not finite.
    """
    if splits < 1:
        raise ValueError(f"An inception score needs at least 1 split, not {splits}.")
    if seed < 0:
        raise ValueError(f"A seed is a whole number from 0, not {seed}.")
    check_features(logits, least=2 * splits, what=f"An inception score of {splits} splits")
    order = np.random.default_rng((seed, _ORDER)).permutation(len(logits))
    edges = [i * len(logits) // splits for i in range(splits + 1)]
    scores = [_score(logits[order[start:end]]) for start, end in pairwise(edges)]
    stderr = float(np.std(scores, ddof=1)) / splits**0.5 if splits > 1 else None
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)), stderr)


def _score(logits: NDArray[np.floating[Any]]) -> float:
    """The score of one split, (n, K)."""
    log_conditional = log_softmax(logits.astype(np.float64), axis=1)
    log_marginal = logsumexp(log_conditional, axis=0) - np.log(len(logits))
    divergences = (np.exp(log_conditional) * (log_conditional - log_marginal)).sum(axis=1)
    return float(np.exp(divergences.mean()))
