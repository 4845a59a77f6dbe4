"""The inception score in closed form, against a plain transcription, and what is refused."""

import numpy as np
import pytest

from pgbench.metrics.scoring import inception_score


def random_logits(seed, n, k, dtype=np.float32):
    return np.random.default_rng(seed).normal(0, 2, (n, k)).astype(dtype)


def transcribed(logits):
    """The score of one split, from probabilities."""
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    q = p.mean(axis=0)
    return np.exp(np.mean([np.sum(row * np.log(row / q)) for row in p]))


def test_agrees_with_a_plain_transcription_of_one_split():
    logits = random_logits(1, 57, 11)
    found = inception_score(logits, seed=3, splits=1)
    assert found.mean == pytest.approx(transcribed(logits), rel=1e-12)
    assert (found.std, found.stderr) == (0, None)


def test_splits_are_a_permutation_of_the_images_in_nearly_equal_parts():
    """With one image a split but in the last, scores tell which images share one."""
    logits = random_logits(2, 23, 5)
    found = inception_score(logits, seed=4, splits=3)
    order = np.random.default_rng((4, 4)).permutation(23)
    scores = [transcribed(logits[order[i:j]]) for i, j in ((0, 7), (7, 15), (15, 23))]
    assert found.mean == pytest.approx(np.mean(scores), rel=1e-12)
    assert found.std == pytest.approx(np.std(scores), rel=1e-12)
    assert found.stderr == pytest.approx(np.std(scores, ddof=1) / 3**0.5, rel=1e-12)


def test_a_certain_and_balanced_classifier_scores_the_number_of_classes():
    logits = np.where(np.eye(10), 1e4, -1e4).repeat(20, axis=0)  # probabilities underflow to 0
    assert inception_score(logits, seed=0, splits=1).mean == pytest.approx(10, rel=1e-12)


def test_an_undecided_classifier_scores_1():
    assert inception_score(np.full((40, 7), 5.0), seed=0).mean == pytest.approx(1, abs=1e-12)


def test_two_answers_in_closed_form():
    """Half the images say (p, 1 - p), half the reverse: KL from (1/2, 1/2)."""
    p = 0.9
    logits = np.log([[p, 1 - p]] * 5 + [[1 - p, p]] * 5)
    expected = np.exp(np.log(2) + p * np.log(p) + (1 - p) * np.log(1 - p))
    assert inception_score(logits, seed=0, splits=1).mean == pytest.approx(expected, rel=1e-12)


def test_a_constant_added_to_an_images_logits_changes_nothing():
    logits = random_logits(5, 40, 9, np.float64)
    shifted = logits + np.random.default_rng(6).normal(0, 100, (40, 1))
    a, b = inception_score(logits, seed=1), inception_score(shifted, seed=1)
    assert a.mean == pytest.approx(b.mean, rel=1e-12)
    assert a.std == pytest.approx(b.std, rel=1e-9)


def test_the_seed_alone_decides():
    logits = random_logits(7, 60, 9)
    assert inception_score(logits, seed=1) == inception_score(logits, seed=1)
    assert inception_score(logits, seed=1) != inception_score(logits, seed=2)


def test_sorting_by_class_does_not_matter():
    logits = np.where(np.eye(4), 9.0, 0.0).repeat(500, axis=0)
    shuffled = logits[np.random.default_rng(8).permutation(2000)]
    a, b = inception_score(logits, seed=0), inception_score(shuffled, seed=0)
    assert a.mean == pytest.approx(b.mean, rel=0.01)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((19, 4), {}, "score of 10 splits needs at least 20 images, not 19"),
        ((1, 4), {"splits": 1}, "score of 1 splits needs at least 2 images, not 1"),
        ((20, 4), {"splits": 0}, "at least 1 split, not 0"),
        ((20, 4), {"seed": -1}, "whole number from 0, not -1"),
        ((20, 4, 1), {}, r"floats of shape \(N, D\)"),
    ],
)
def test_what_cannot_be_scored_is_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        inception_score(np.zeros(shape), **{"seed": 0, **options})


def test_logits_that_are_not_finite_are_refused():
    logits = random_logits(9, 30, 4)
    logits[12, 1] = np.nan
    with pytest.raises(ValueError, match="image 12 are not finite"):
        inception_score(logits, seed=0)
