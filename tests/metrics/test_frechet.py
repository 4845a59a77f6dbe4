"""The Fréchet distance in closed form and against scipy, its standard error, its files."""

import contextlib
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from pgbench.metrics import frechet
from pgbench.metrics.frechet import (
    Statistics,
    frechet_distance,
    frechet_stderr,
    holds_statistics,
    is_singular,
    load_statistics,
    save_statistics,
    statistics,
)


def rotation(seed, size):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


def sample(seed, n, size, shift=0.0, spread=0.0):
    """Correlated features: two seeds are two distributions only where shift or spread differ."""
    noise = np.random.default_rng(seed).standard_normal((n, size))
    return shift + noise * np.linspace(1, 1 + spread, size) @ rotation(0, size)


def transcribed(a, b):
    """The definition, through scipy's square root of the asymmetric product."""
    root = linalg.sqrtm(a.cov @ b.cov).real
    return np.sum((a.mean - b.mean) ** 2) + np.trace(a.cov + b.cov - 2 * root)


def psd_power(matrix, power):
    """A power of a positive semi-definite matrix, of its pseudo-inverse where negative."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > 1e-10 * values.max()
    return (vectors[:, kept] * values[kept] ** power) @ vectors[:, kept].T


def transcribed_stderr(real, fake):
    """Every influence by itself, the transport maps from their definition."""
    s1, s2 = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    m1, m2 = real.mean(0), fake.mean(0)
    variance = 0.0
    for x, m, s, other_m, other_s in ((fake, m2, s2, m1, s1), (real, m1, s1, m2, s2)):
        root = psd_power(other_s, 0.5)
        change = np.eye(len(m)) - root @ psd_power(root @ s @ root, -0.5) @ root
        influence = [2 * (m - other_m) @ (row - m) + (row - m) @ change @ (row - m) for row in x]
        variance += np.var(influence, ddof=1) / len(x)
    return variance**0.5


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_statistics_are_mean_and_covariance_in_float64(dtype, monkeypatch):
    features = sample(1, 101, 7, shift=3).astype(dtype)
    monkeypatch.setattr(frechet, "_BLOCK_VALUES", 70)  # ten rows at once, the last block one
    found = statistics(features)
    exact = features.astype(np.float64)
    np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.cov, np.cov(exact, rowvar=False), rtol=1e-11, atol=1e-13)
    assert (found.mean.dtype, found.cov.dtype, found.num_images) == (np.float64, np.float64, 101)


def test_given_features_are_left_as_they_are():
    features = sample(1, 20, 3)
    before = features.copy()
    frechet_stderr(features, features)
    np.testing.assert_array_equal(features, before)


@pytest.mark.parametrize("rank", [6, 3, 0])
def test_gaussians_with_common_axes_in_closed_form(rank):
    """|m1 - m2|² + sum (s1 - s2)² over the standard deviations along the axes; some may be 0."""
    axes = rotation(2, 6)
    s1, s2 = np.array([1, 2, 3, 4, 5, 6.0]), np.array([6, 2, 1, 0.5, 2, 1.0])
    s1[rank:] = 0
    m1, m2 = np.zeros(6), np.arange(6.0)
    a, b = (
        Statistics(m, (axes * s**2) @ axes.T, None) for m, s in ((axes @ m1, s1), (axes @ m2, s2))
    )
    expected = np.sum((m1 - m2) ** 2) + np.sum((s1 - s2) ** 2)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-7)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("size", [1, 2, 48])
def test_agrees_with_scipys_square_root(size):
    a, b = statistics(sample(3, 400, size)), statistics(sample(4, 300, size, 0.2, 2.0))
    assert frechet_distance(a, b) == pytest.approx(transcribed(a, b), rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(10, 12), (12, 10), (10, 200), (200, 10), (2, 2)])
def test_singular_covariances_agree_with_singular_values_of_the_features(n, m):
    """tr (S1^½ S2 S1^½)^½ is the nuclear norm of X Yᵀ / √((n-1)(m-1)), X and Y centred."""
    x, y = sample(5, n, 32), sample(6, m, 32, 0.3, 1.0)
    a, b = statistics(x), statistics(y)
    cross = (x - x.mean(0)) @ (y - y.mean(0)).T / ((n - 1) * (m - 1)) ** 0.5
    overlap = np.linalg.svd(cross, compute_uv=False).sum()
    spread = np.trace(a.cov) + np.trace(b.cov)
    expected = np.sum((a.mean - b.mean) ** 2) + spread - 2 * overlap
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-7)
    assert is_singular(a) == (n <= 32)


def test_fewer_images_than_features_are_singular():
    cov = np.eye(4)
    known = [is_singular(Statistics(np.zeros(4), cov, count)) for count in (None, 4, 5)]
    assert known == [False, True, False]


@pytest.mark.parametrize("n", [300, 20])
def test_identical_sets_are_at_distance_0(n):
    found = statistics(sample(7, n, 32))
    assert 0 <= frechet_distance(found, found) < 1e-6


def test_a_shift_of_the_mean_counts_squared():
    x = sample(8, 100, 5)
    found = frechet_distance(statistics(x), statistics(x + np.array([3, 0, 0, 4, 0])))
    assert found == pytest.approx(25, rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(60, 90), (8, 90), (90, 8), (8, 9)])
def test_the_standard_error_agrees_with_a_plain_transcription(n, m, monkeypatch):
    real, fake = sample(9, n, 12), sample(10, m, 12, 0.5, 1.0)
    expected = transcribed_stderr(real, fake)
    monkeypatch.setattr(frechet, "_BLOCK_VALUES", 100)
    assert frechet_stderr(real, fake) == pytest.approx(expected, rel=1e-6)
    assert frechet_stderr(fake, real) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("shift", "spread", "low", "high"),
    [(0.5, 1.0, 0.85, 1.2), (0.0, 1.0, 0.85, 1.2), (0.0, 0.0, 1.2, 1.6)],
)
def test_the_standard_error_is_that_of_repeated_samples(shift, spread, low, high):
    """At distance 0 it is about 1.4 times too large, as documented."""
    pairs = [(sample(2 * i, 500, 8), sample(2 * i + 1, 500, 8, shift, spread)) for i in range(200)]
    distances = [frechet_distance(statistics(a), statistics(b)) for a, b in pairs]
    errors = [frechet_stderr(a, b) for a, b in pairs]
    assert low < np.mean(errors) / np.std(distances, ddof=1) < high


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((1, 3)), "A covariance needs at least 2 images, not 1"),
        (np.zeros((4, 3), np.uint8), r"floats of shape \(N, D\), not uint8 of shape \(4, 3\)"),
        (np.zeros((4, 3, 1)), r"not float64 of shape \(4, 3, 1\)"),
        (np.zeros((4, 0)), r"of shape \(4, 0\)"),
        (np.array([[1.0], [np.nan], [np.inf]]), "features of image 1 are not finite"),
    ],
)
def test_what_has_no_statistics_is_refused(features, message):
    with pytest.raises(ValueError, match=message):
        statistics(features)


def test_the_first_image_that_is_not_finite_is_named(monkeypatch):
    features = np.zeros((100, 3), np.float32)
    features[70, 2] = features[90, 0] = -np.inf
    monkeypatch.setattr(frechet, "_BLOCK_VALUES", 30)
    with pytest.raises(ValueError, match="image 70 are not finite"):
        statistics(features)


def test_features_of_two_networks_are_refused():
    a, b = sample(1, 9, 3), sample(1, 9, 4)
    with pytest.raises(ValueError, match="has 3 features an image, the other 4"):
        frechet_distance(statistics(a), statistics(b))
    with pytest.raises(ValueError, match="has 3 features an image, the other 4"):
        frechet_stderr(a, b)


@pytest.mark.parametrize("num_images", [None, 30])
def test_statistics_come_back_from_a_file(tmp_path, num_images):
    whole = statistics(sample(11, 30, 5))
    written = Statistics(whole.mean, whole.cov, num_images)
    save_statistics(tmp_path / "reals.npz", written)
    found = load_statistics(tmp_path / "reals.npz")
    np.testing.assert_array_equal(found.mean, written.mean)
    np.testing.assert_array_equal(found.cov, written.cov)
    assert found.num_images == num_images
    assert [file.name for file in tmp_path.iterdir()] == ["reals.npz"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_files_of_pytorch_fid_and_clean_fid_are_read(tmp_path, dtype):
    mu, sigma = np.arange(3, dtype=dtype), np.eye(3, dtype=dtype)
    np.savez(tmp_path / "other.npz", mu=mu, sigma=sigma)
    found = load_statistics(tmp_path / "other.npz")
    np.testing.assert_array_equal(found.cov, np.eye(3))
    assert (found.cov.dtype, found.num_images) == (np.float64, None)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "reals.npz"
    save_statistics(path, statistics(sample(12, 9, 2)))
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_statistics(path, statistics(sample(13, 9, 2)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


MU, SIGMA = np.zeros(2), np.eye(2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": MU}, "lacks the arrays mu and sigma"),
        ({"mu": MU[:1], "sigma": SIGMA}, r"mu of shape \(1,\) and sigma of shape \(2, 2\)"),
        ({"mu": MU[:0], "sigma": SIGMA[:0, :0]}, r"mu of shape \(0,\)"),
        ({"mu": SIGMA, "sigma": SIGMA}, r"mu of shape \(2, 2\)"),
        ({"mu": MU.astype(int), "sigma": SIGMA}, "mu as int64 and sigma as float64, not floats"),
        ({"mu": MU, "sigma": SIGMA.astype(complex)}, "sigma as complex128"),
        ({"mu": MU * np.nan, "sigma": SIGMA}, "not finite"),
        ({"mu": MU, "sigma": np.full((2, 2), np.inf)}, "not finite"),
        ({"mu": MU, "sigma": np.array([[1, 0.5], [0, 1]])}, "not symmetric"),
        ({"mu": MU, "sigma": -SIGMA}, "negative variance"),
        ({"mu": MU, "sigma": SIGMA, "num_images": np.array(1)}, "no whole number from 2"),
        ({"mu": MU, "sigma": SIGMA, "num_images": np.array(9.0)}, "no whole number from 2"),
        ({"mu": MU, "sigma": SIGMA, "num_images": np.array([9])}, "no whole number from 2"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path, arrays, message):
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        load_statistics(path)
    assert str(path) in str(caught.value)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_nothing_is_unpickled(tmp_path):
    trap = Trap(str(tmp_path / "sprung"))
    np.savez(tmp_path / "bad.npz", mu=np.array([trap], object), sigma=SIGMA)
    with zipfile.ZipFile(tmp_path / "raw.npz", "w") as archive:
        archive.writestr("mu.npy", pickle.dumps(trap))
        archive.writestr("sigma.npy", pickle.dumps(trap))
    (tmp_path / "plain.npz").write_bytes(pickle.dumps(trap))
    for name in ("bad.npz", "raw.npz", "plain.npz"):
        with pytest.raises(ValueError, match=f"{name} (cannot be read|holds)"):
            load_statistics(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ValueError, match="There is no file of statistics at"):
        load_statistics(tmp_path / "none.npz")
    with pytest.raises(ValueError, match="cannot be read as a plain"):
        load_statistics(tmp_path)


def test_a_huge_array_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, mu=np.zeros(1000), sigma=np.zeros((1000, 1000)))
    monkeypatch.setattr(frechet, "_MAX_MEMBER_BYTES", 2**20)
    with pytest.raises(ValueError, match="more than 1 GiB"):
        load_statistics(path)


def archived():
    buffer = io.BytesIO()
    np.savez(buffer, mu=MU, sigma=SIGMA, num_images=9)
    return buffer.getvalue()


@settings(deadline=None, max_examples=200)
@given(
    end=st.integers(0, len(archived())),
    changes=st.lists(st.tuples(st.integers(0, len(archived()) - 1), st.integers(0, 255))),
)
def test_damaged_files_give_statistics_or_a_value_error(tmp_path_factory, end, changes):
    data = bytearray(archived())
    for where, value in changes:
        data[where] = value
    path = tmp_path_factory.mktemp("damaged") / "damaged.npz"
    path.write_bytes(data[:end] if len(changes) % 2 else data)
    with contextlib.suppress(ValueError):
        assert isinstance(load_statistics(path), Statistics)


def test_only_an_npz_of_mu_holds_statistics(tmp_path):
    save_statistics(tmp_path / "a.npz", statistics(np.random.default_rng(0).normal(size=(9, 3))))
    np.savez(tmp_path / "images.npz", np.zeros((2, 3, 4, 4), np.uint8))
    found = {file.name: holds_statistics(file) for file in tmp_path.iterdir()}
    assert found == {"a.npz": True, "images.npz": False}
    assert not holds_statistics(tmp_path / "none.npz")
    assert not holds_statistics(tmp_path)


@settings(deadline=None)
@given(data=st.data())
def test_a_damaged_file_holds_statistics_or_not_but_never_more(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "a.npz"
    save_statistics(path, statistics(np.random.default_rng(0).normal(size=(9, 3))))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    assert holds_statistics(path) in (True, False)
