"""IS, FID, KID and PRDC: torch-fidelity's own numbers, closed forms, names, checks."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from pgbench.metrics import fidelity, open_images
from pgbench.metrics.extractors import INCEPTION, Extractor, open_efficientnet, open_inception
from pgbench.metrics.features import features
from pgbench.metrics.fidelity import fid, inception_score, kid, prdc
from pgbench.metrics.frechet import Statistics, statistics


def random_images(seed, n, size=16, contrast=1.0):
    """Smooth noise around grey."""
    noise = np.random.default_rng(seed).normal(0, 1, (n, 3, size, size))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 2, 2), mode="wrap")
    return np.clip(128 + 400 * contrast * smooth, 0, 255).astype(np.uint8)


def colours(images):
    """Mean and left upper value of each channel, (N, 6)."""
    scaled = images.float() / 255
    pool = torch.cat([scaled.mean((2, 3)), scaled[:, :, 0, 0]], dim=1)
    return pool, 8 * pool


def colour_extractor(name=INCEPTION, network=colours):
    return Extractor(
        name=name,
        num_features=6,
        weights_sha256="0" * 64,
        resizer="none",
        library="none 1",
        device=torch.device("cpu"),
        network=network,
    )


@pytest.fixture
def extractor():
    return colour_extractor()


@pytest.fixture(scope="module")
def efficientnet():
    return open_efficientnet()


def pool_of(images):
    return features(images, colour_extractor(), cache=False).pool.astype(np.float64)


def transcribed_fid(real, fake):
    """Gaussians' Fréchet distance through the eigenvalues of the product of the covariances."""
    product = np.cov(real, rowvar=False) @ np.cov(fake, rowvar=False)
    overlap = np.sqrt(np.linalg.eigvals(product).astype(complex)).real.sum()
    spread = np.trace(np.cov(real, rowvar=False)) + np.trace(np.cov(fake, rowvar=False))
    return np.sum((real.mean(0) - fake.mean(0)) ** 2) + spread - 2 * overlap


def transcribed_kid(real, fake):
    """Unbiased squared discrepancy, over all images."""
    n, dims = real.shape

    def within(x):
        return sum((x[i] @ x[j] / dims + 1) ** 3 for i in range(n) for j in range(n) if i != j)

    between = sum((x @ y / dims + 1) ** 3 for x in real for y in fake)
    return (within(real) + within(fake)) / (n * (n - 1)) - 2 * between / n**2


# Against torch-fidelity


def write_pngs(folder, images):
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{index:02}.png")
    return folder


@pytest.mark.slow
def test_agrees_with_the_command_line_of_torch_fidelity(inception_file, tmp_path):
    n = 16  # torch.cdist leaves exact distances from 26 images on
    real = write_pngs(tmp_path / "real", random_images(0, n))
    fake = write_pngs(tmp_path / "fake", random_images(1, n, contrast=0.8))
    settings = f"--isc --isc-splits 1 --fid --kid --kid-subsets 1 --kid-subset-size {n} --prc"
    command = [sys.executable, "-m", "torch_fidelity.fidelity", *settings.split()]
    command += ["--input1", str(fake), "--input2", str(real), "--cpu", "--save-cpu-ram"]
    command += ["--feature-extractor", "inception-v3-compat", "--no-cache", "--json", "--silent"]
    command += ["--feature-extractor-weights-path", str(inception_file)]
    limited = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=limited)
    theirs = json.loads(done.stdout)

    options = {"extractor": open_inception(inception_file, allow_other_weights=True)}
    options["cache"] = tmp_path / "cache"
    sets = open_images(real), open_images(fake)
    ours = {
        "inception_score_mean": inception_score(sets[1], splits=1, **options).values["is_mean"],
        "frechet_inception_distance": fid(*sets, **options).values["fid"],
        "kernel_inception_distance_mean": kid(*sets, subsets=1, subset_size=n, **options).values[
            "kid_mean"
        ],
    }
    found = prdc(*sets, **options).values
    ours |= {key: found[key] for key in ("precision", "recall") if key in theirs}  # not in 0.3
    for key, value in ours.items():
        assert value == pytest.approx(theirs[key], rel=1e-4), key
    score = "inception_score_mean"
    assert ours[score] - 1 == pytest.approx(theirs[score] - 1, rel=1e-4)  # at least 1 in any case
    assert 0 < found["precision"] < 1


# Closed forms and invariances


def test_fid_is_the_distance_of_the_features(extractor):
    real, fake = random_images(0, 50), random_images(1, 40, contrast=0.7)
    result = fid(real, fake, extractor=extractor)
    assert result.values["fid"] == pytest.approx(transcribed_fid(pool_of(real), pool_of(fake)))
    assert result.stderr["fid"] > 0
    assert (result.num_images, result.protocol["num_reals"]) == (40, 50)
    assert fid(real, real, extractor=extractor).values["fid"] == pytest.approx(0, abs=1e-9)


def test_kid_is_the_discrepancy_of_the_features(extractor):
    real, fake = random_images(0, 20), random_images(1, 20, contrast=0.7)
    result = kid(real, fake, extractor=extractor, subsets=3, subset_size=20)
    assert result.values["kid_mean"] == pytest.approx(transcribed_kid(pool_of(real), pool_of(fake)))
    assert result.values["kid_std"] == pytest.approx(0, abs=1e-12)
    assert result.stderr == {"kid_mean": None, "kid_std": None}


def test_prdc_of_a_set_with_itself_is_perfect(extractor):
    images = random_images(0, 30)
    values = prdc(images, images, extractor=extractor).values
    assert (values["precision"], values["recall"], values["coverage"]) == (1, 1, 1)
    assert values["density"] >= 1


def test_inception_score_of_sure_and_even_answers_is_the_number_of_classes():
    def network(images):
        logits = 1000 * torch.nn.functional.one_hot(images[:, 0, 0, 0].long() % 5, 5).float()
        return logits, logits

    images = np.zeros((100, 3, 4, 4), np.uint8)
    images[:, 0, 0, 0] = np.arange(100)
    result = inception_score(images, extractor=colour_extractor(network=network), splits=1)
    assert result.values["is_mean"] == pytest.approx(5)
    assert result.values["is_std"] == 0
    sorted_set = images[np.argsort(images[:, 0, 0, 0] % 5, kind="stable")]
    shuffled = inception_score(sorted_set, extractor=colour_extractor(network=network), splits=5)
    assert shuffled.values["is_mean"] > 3.5  # in the order of the set, each split scores 1


def streamed(images, size):
    return (images[start : start + size] for start in range(0, len(images), size))


METRICS = {
    "is": lambda real, fake, **options: inception_score(fake, splits=2, **options),
    "fid": fid,
    "kid": lambda real, fake, **options: kid(real, fake, subset_size=6, subsets=4, **options),
    "prdc": prdc,
}


@pytest.mark.parametrize("name", METRICS)
def test_iterables_give_the_same_value_whatever_their_batches(extractor, name):
    real, fake = random_images(0, 40), random_images(1, 40)
    whole = METRICS[name](real, fake, extractor=extractor)
    for size in (1, 7, 40):
        again = METRICS[name](streamed(real, size), streamed(fake, size), extractor=extractor)
        assert again.values == whole.values


@pytest.mark.parametrize("name", ["fid", "prdc"])
def test_the_order_of_the_images_does_not_matter(efficientnet, name):
    real, fake = random_images(0, 12), random_images(1, 12)
    order = np.random.default_rng(2).permutation(12)
    result = METRICS[name](real, fake, extractor=efficientnet)
    again = METRICS[name](real[order], iter([fake[order]]), extractor=efficientnet)
    assert again.values == pytest.approx(result.values, rel=1e-4)


@pytest.mark.parametrize("name", METRICS)
def test_num_images_takes_the_first(extractor, name):
    real, fake = random_images(0, 40), random_images(1, 40)
    result = METRICS[name](real, fake, extractor=extractor, num_images=24)
    assert result.num_images == 24
    again = METRICS[name](real[:24], iter([fake]), extractor=extractor, num_images=24)
    assert again.values == result.values
    assert result.values == METRICS[name](real[:24], fake[:24], extractor=extractor).values


@pytest.mark.parametrize("name", METRICS)
def test_all_metrics_share_one_pass_through_the_network(name, tmp_path):
    calls = []

    def network(images):
        calls.append(len(images))
        return colours(images)

    real, fake = random_images(0, 20), random_images(1, 20)
    counted = colour_extractor(network=network)
    first = METRICS[name](real, fake, extractor=counted, cache=tmp_path)
    assert calls
    calls.clear()
    assert METRICS[name](real, fake, extractor=counted, cache=tmp_path).values == first.values
    for metric in METRICS.values():
        if name != "is":
            metric(real, fake, extractor=counted, cache=tmp_path)
    assert not calls


def test_mirroring_touches_the_reals_only(extractor):
    real, fake = random_images(0, 60), random_images(1, 60)
    plain = fid(real, fake, extractor=extractor)
    mirrored = fid(real, fake, extractor=extractor, mirror=True)
    assert mirrored.values != plain.values
    assert (mirrored.protocol["mirror"], plain.protocol["mirror"]) == (True, False)
    seen = features(real, extractor, mirror=True, seed=0, cache=False).pool
    expected = transcribed_fid(seen.astype(np.float64), pool_of(fake))
    assert mirrored.values["fid"] == pytest.approx(expected)
    assert fid(real, fake, extractor=extractor, mirror=True).values == mirrored.values
    assert fid(real, fake, extractor=extractor, mirror=True, seed=1).values != mirrored.values


# Statistics instead of reals


def test_statistics_stand_for_the_reals(extractor):
    real, fake = random_images(0, 50), random_images(1, 40)
    held = statistics(features(real, extractor).pool)
    result = fid(held, fake, extractor=extractor)
    assert result.values == pytest.approx(fid(real, fake, extractor=extractor).values)
    assert result.stderr == {"fid": None}
    assert (result.num_images, result.protocol["num_reals"]) == (40, 50)
    assert result.protocol["singular"] is False


@pytest.mark.parametrize(
    ("dims", "options", "message"),
    [
        (6, {"mirror": True}, "neither be mirrored nor halved"),
        (6, {"noise_floor": True}, "neither be mirrored nor halved"),
        (5, {}, "have 5 features, but inception-v3-compat gives 6"),
        (6, {"num_images": 1}, "fid needs at least 2 images, not 1"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(extractor, dims, options, message):
    held = Statistics(np.zeros(dims), np.eye(dims), 100)
    with pytest.raises(ValueError, match=message):
        fid(held, random_images(0, 9), extractor=extractor, **options)


# The noise floor


@pytest.mark.parametrize(
    ("num_reals", "num_fakes", "num_images", "expected"),
    [
        (60, 20, None, 20),
        (60, 40, None, 30),
        (61, 61, None, 30),
        (60, 60, 20, 20),
        (30, 30, 20, 15),
    ],
)
def test_the_noise_floor_compares_disjoint_halves(
    extractor, monkeypatch, num_reals, num_fakes, num_images, expected
):
    compared = []

    def spy(features):
        compared.append({row.tobytes() for row in features})
        return statistics(features)

    monkeypatch.setattr(fidelity, "statistics", spy)
    real, fake = random_images(0, num_reals), random_images(1, num_fakes)
    result = fid(real, fake, extractor=extractor, num_images=num_images, noise_floor=True)
    a, b, _, _ = compared
    assert (len(a), len(b), len(a & b)) == (expected, expected, 0)
    assert result.protocol["noise_floor_images"] == expected
    assert result.protocol["num_reals"] == (num_images or num_reals)
    assert result.noise_floor["fid"] > 0
    plain = fid(real, fake, extractor=extractor, num_images=num_images)
    assert plain.values == result.values
    assert plain.noise_floor is None
    assert "noise_floor_images" not in plain.protocol


def test_the_halves_depend_on_the_seed(extractor):
    real, fake = random_images(0, 40), random_images(1, 20)
    floors = [
        prdc(real, fake, extractor=extractor, seed=seed, noise_floor=True).noise_floor
        for seed in (0, 0, 1)
    ]
    assert floors[0] == floors[1] != floors[2]


# Names, checks


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("is", ["is_mean", "is_std"]),
        ("fid", ["fid"]),
        ("kid", ["kid_mean", "kid_std"]),
        ("prdc", ["precision", "recall", "density", "coverage"]),
    ],
)
def test_results_are_the_contract(extractor, name, keys):
    options = {} if name == "is" else {"noise_floor": True}
    real, fake = random_images(0, 40), random_images(1, 20)
    result = METRICS[name](real, fake, extractor=extractor, seed=3, **options).to_json()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["metric"], result["metric_version"], result["seed"]) == (name, 1, 3)
    assert sorted(result["values"]) == sorted(result["stderr"]) == sorted(keys)
    if name != "is":
        assert sorted(result["noise_floor"]) == sorted(keys)
    assert result["protocol"].items() >= extractor.protocol.items()
    assert result["protocol"]["image_size"] == [16, 16]


@pytest.mark.parametrize(
    ("name", "metric", "keys"),
    [
        ("is", "is-effnetlite0", ["is-effnetlite0_mean", "is-effnetlite0_std"]),
        ("fid", "fd-effnetlite0", ["fd-effnetlite0"]),
        ("kid", "kd-effnetlite0", ["kd-effnetlite0_mean", "kd-effnetlite0_std"]),
        (
            "prdc",
            "prdc-effnetlite0",
            [f"{it}-effnetlite0" for it in ("precision", "recall", "density", "coverage")],
        ),
    ],
)
def test_numbers_of_efficientnet_have_names_of_their_own(efficientnet, name, metric, keys):
    options = {} if name == "is" else {"noise_floor": True}
    real, fake = random_images(0, 12), random_images(1, 12)
    result = METRICS[name](real, fake, extractor=efficientnet, **options)
    assert result.metric == metric
    assert list(result.values) == list(result.stderr) == keys
    assert name == "is" or list(result.noise_floor) == keys


def test_more_contrast_is_further_away_for_efficientnet(efficientnet):
    real = random_images(0, 24)
    near, far = (random_images(1, 24, contrast=contrast) for contrast in (1.0, 0.3))
    for metric in (METRICS["fid"], METRICS["kid"]):
        values = [
            next(iter(metric(real, fake, extractor=efficientnet).values.values()))
            for fake in (near, far)
        ]
        assert values[0] < values[1]


@pytest.mark.parametrize(("n", "singular"), [(6, True), (7, False)])
def test_too_few_images_for_a_covariance_are_marked(extractor, n, singular):
    result = fid(random_images(0, 20), random_images(1, n), extractor=extractor)
    assert result.protocol["singular"] is singular


@pytest.mark.parametrize(
    ("name", "n", "message"),
    [
        ("is", 3, "An inception score of 2 splits needs at least 4 images, not 3"),
        ("fid", 1, "fid needs at least 2 images, not 1"),
        ("kid", 5, "kid needs at least 6 images, not 5"),
        ("prdc", 5, "prdc needs at least 6 images, not 5"),
    ],
)
def test_too_few_images_are_refused_before_they_are_seen(name, n, message):
    def network(images):
        raise AssertionError

    unused = colour_extractor(network=network)
    with pytest.raises(ValueError, match=message):
        METRICS[name](random_images(0, 20), random_images(1, n), extractor=unused)
    with pytest.raises(ValueError, match=message):
        METRICS[name](
            random_images(0, 20), iter([random_images(1, 20)]), extractor=unused, num_images=n
        )


@pytest.mark.parametrize(("name", "n"), [("is", 3), ("fid", 1), ("kid", 5), ("prdc", 5)])
def test_too_few_images_of_an_iterable_are_refused(extractor, name, n):
    with pytest.raises(ValueError, match="needs at least"):
        METRICS[name](random_images(0, 20), iter([random_images(1, n)]), extractor=extractor)


def test_halves_that_are_too_small_are_refused(extractor):
    with pytest.raises(ValueError, match=r"Each half of the reals.* at least 6 images, not 5"):
        prdc(random_images(0, 10), random_images(1, 10), extractor=extractor, noise_floor=True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("metric", [fid, METRICS["kid"], prdc])
def test_sets_of_different_sizes_are_refused(extractor, metric, stream):
    real, fake = random_images(0, 9, size=16), random_images(0, 9, size=8)
    with pytest.raises(ValueError, match="reals are 16x16, the fakes 8x8"):
        metric(real, iter([fake]) if stream else fake, extractor=extractor)


def test_progress_covers_both_sets(extractor):
    fractions = []
    fid(random_images(0, 40), random_images(1, 40), extractor=extractor, progress=fractions.append)
    assert fractions == sorted(fractions)
    assert 0.5 in fractions
    assert fractions[-1] == 1.0
