"""Precision, recall, density and coverage in closed form and against a plain transcription."""

import numpy as np
import pytest

from pgbench.metrics import manifold
from pgbench.metrics.manifold import precision_recall_density_coverage as prdc


def sample(seed, n, size=4, shift=0.0, dtype=np.float32):
    return (np.random.default_rng(seed).standard_normal((n, size)) + shift).astype(dtype)


def distances(x, y):
    x, y = x.astype(np.float64), y.astype(np.float64)
    return np.sqrt(((x[:, None] - y[None]) ** 2).sum(axis=2))


def radii(x, k):
    """Distance to the k-th nearest other."""
    return np.sort(distances(x, x), axis=1)[:, k]


def transcribed(real, fake):
    between = distances(real, fake)
    in_real_3, in_real_5 = (between <= radii(real, k)[:, None] for k in (3, 5))
    in_fake_3 = between <= radii(fake, 3)[None]
    return {
        "precision": in_real_3.any(axis=0).mean(),
        "recall": in_fake_3.any(axis=1).mean(),
        "density": in_real_5.sum(axis=0).mean() / 5,
        "coverage": in_real_5.any(axis=1).mean(),
    }


@pytest.mark.parametrize("rows", [2048, 17])
@pytest.mark.parametrize(("n", "m", "shift"), [(80, 80, 0.5), (50, 120, 1.5), (120, 6, 1.0)])
def test_agrees_with_a_plain_transcription(n, m, shift, rows, monkeypatch):
    monkeypatch.setattr(manifold, "_BLOCK_ROWS", rows)
    real, fake = sample(1, n), sample(2, m, shift=shift)
    values, _ = prdc(real, fake)
    assert values == pytest.approx(transcribed(real, fake), rel=1e-12)
    assert list(values) == ["precision", "recall", "density", "coverage"]


def test_blocks_shrink_for_long_features(monkeypatch):
    real, fake = sample(3, 40, 9), sample(4, 50, 9, shift=0.4)
    expected = prdc(real, fake)
    monkeypatch.setattr(manifold, "_BLOCK_VALUES", 90)
    assert prdc(real, fake) == expected


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_identical_sets_fill_each_others_regions(offset):
    """Every ball holds its centre and its 5 nearest others: the furthest lies on its surface."""
    x = sample(5, 70, dtype=np.float64) + offset
    values, errors = prdc(x, x[np.random.default_rng(6).permutation(70)])
    assert values == pytest.approx({"precision": 1, "recall": 1, "density": 6 / 5, "coverage": 1})
    assert errors["precision"] == errors["recall"] == errors["coverage"] == 0


def test_copies_of_one_image_are_at_distance_0():
    """The reals' balls are points; half of the fakes lie on them, half do not."""
    real = np.tile(sample(7, 1), (8, 1))
    fake = np.concatenate([real, real + 1])
    values, _ = prdc(real, fake)
    assert values == {"precision": 0.5, "recall": 1.0, "density": 0.5 * 8 / 5, "coverage": 1.0}


def test_sets_far_apart_share_nothing():
    values, errors = prdc(sample(8, 30), sample(9, 30, shift=1e3))
    assert values == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}
    assert errors == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_points_on_a_line_in_closed_form():
    """Reals at 0..9 with radii, to the third and fifth other, of

    3 2 2 2 2 2 2 2 2 3 and 5 4 3 3 3 3 3 3 4 5. The fakes at 1.25 have radius 0, the others reach
    up to 1.25.
    """
    real = np.arange(10.0)[:, None]
    fake = np.array([-3, -3.5, 1.25, 1.25, 1.25, 1.25])[:, None]
    values, _ = prdc(real, fake)
    assert values["precision"] == 5 / 6  # all but -3.5; -3 is just on the surface of a ball
    assert values["recall"] == 2 / 10  # 0 and 1
    held = [2, 1, 5, 5, 5, 5]  # by 0 and 1; by 0; by 0 to 4
    assert values["density"] == pytest.approx(sum(held) / 6 / 5)
    assert values["coverage"] == 5 / 10


def test_standard_errors_are_those_of_counts():
    real, fake = sample(10, 60), sample(11, 90, shift=1.0)
    values, errors = prdc(real, fake)
    for key, count in (("precision", 90), ("recall", 60), ("coverage", 60)):
        p = values[key]
        assert 0 < p < 1
        assert errors[key] == pytest.approx((p * (1 - p) / count) ** 0.5, rel=1e-12)
    held = (distances(real, fake) <= radii(real, 5)[:, None]).sum(axis=0)
    assert errors["density"] == pytest.approx(np.std(held, ddof=1) / 5 / 90**0.5, rel=1e-12)


def test_progress_rises_to_1(monkeypatch):
    monkeypatch.setattr(manifold, "_BLOCK_ROWS", 5)
    seen = []
    prdc(sample(12, 11), sample(13, 7), progress=seen.append)
    assert len(seen) == 6 + 3 + 6
    assert seen == sorted(seen)
    assert seen[-1] == 1


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        ((5, 3), (9, 3), "needs at least 6 images, not 5"),
        ((9, 3), (5, 3), "needs at least 6 images, not 5"),
        ((9, 3), (9, 4), "have 3 features an image, the fakes 4"),
        ((9,), (9, 3), r"floats of shape \(N, D\)"),
    ],
)
def test_what_cannot_be_measured_is_refused(real, fake, message):
    with pytest.raises(ValueError, match=message):
        prdc(np.zeros(real), np.zeros(fake))


def test_features_that_are_not_finite_are_refused():
    fake = sample(14, 9)
    fake[4] = np.nan
    with pytest.raises(ValueError, match="image 4 are not finite"):
        prdc(sample(15, 9), fake)
