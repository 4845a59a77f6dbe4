"""`pgbench metrics is|fid|kid|prdc`: the contract's object, names, weights, statistics, errors."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from pgbench.metrics import extractors, fid, inception_score, kid, open_efficientnet, prdc, weights
from pgbench.metrics.cache import cache_folder
from pgbench.metrics.features import features
from pgbench.metrics.frechet import Statistics, save_statistics

CONTRACT = [
    "schema",
    "metric",
    "metric_version",
    "num_images",
    "seed",
    "values",
    "stderr",
    "noise_floor",
    "protocol",
    "wall_sec",
]
LITE = ("--extractor", "efficientnet-lite0")
KEYS = {
    "is": ["is_mean", "is_std"],
    "fid": ["fid"],
    "kid": ["kid_mean", "kid_std"],
    "prdc": ["precision", "recall", "density", "coverage"],
}
LITE_KEYS = {
    "is": ["is-effnetlite0_mean", "is-effnetlite0_std"],
    "fid": ["fd-effnetlite0"],
    "kid": ["kd-effnetlite0_mean", "kd-effnetlite0_std"],
    "prdc": [f"{key}-effnetlite0" for key in KEYS["prdc"]],
}
CALLS = {
    "is": ("is", "fake.npy", "--splits", 2),
    "fid": ("fid", "real", "fake.npy"),
    "kid": ("kid", "real", "fake.npy", "--subset-size", 4, "--subsets", 20),
    "prdc": ("prdc", "real", "fake.npy"),
}


def crops(photograph, seed, count):
    """Random 32x32 pieces, NCHW."""
    places = np.random.default_rng(seed).integers(0, 268, (count, 2))
    return np.stack([photograph[y : y + 32, x : x + 32] for y, x in places]).transpose(0, 3, 1, 2)


REAL, FAKE = crops(data.astronaut(), 0, 16), crops(data.chelsea(), 1, 12)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where the command is called: `real` of PNGs and `fake.npy`."""
    monkeypatch.chdir(tmp_path)
    Path("real").mkdir()
    for index, image in enumerate(REAL):
        Image.fromarray(image.transpose(1, 2, 0)).save(f"real/{index:02d}.png")
    np.save("fake.npy", FAKE)
    return tmp_path


@pytest.fixture(scope="module")
def efficientnet():
    return open_efficientnet()


@pytest.fixture
def measured(pgbench):
    """The object that `pgbench metrics ... --json` prints, and nothing else on stdout."""

    def call(*arguments, err=""):
        ended = pgbench("metrics", *arguments, "--json")
        assert (ended.code, ended.err, ended.out.count("\n")) == (0, err, 1)
        found = json.loads(ended.out)
        assert list(found) == CONTRACT
        assert found["schema"] == 1
        assert found["stderr"].keys() == found["values"].keys()
        return found

    return call


def same(found, expected):
    return {**expected.to_json(), "wall_sec": found["wall_sec"]} == found


def assert_refused(ended, why):
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith("Error: ")
    assert why in ended.err


class TestEfficientNet:
    def test_the_inception_score_is_that_of_the_set(self, measured, efficientnet):
        found = measured(*CALLS["is"], *LITE, "--seed", 3)
        assert list(found["values"]) == LITE_KEYS["is"]
        assert same(found, inception_score(FAKE, extractor=efficientnet, splits=2, seed=3))

    def test_fid_is_that_of_the_sets(self, measured, efficientnet):
        found = measured(*CALLS["fid"], *LITE)
        assert (found["metric"], list(found["values"])) == ("fd-effnetlite0", LITE_KEYS["fid"])
        assert found["noise_floor"] is None
        assert found["protocol"]["singular"] is True
        assert same(found, fid(REAL, FAKE, extractor=efficientnet))

    def test_fid_takes_options(self, measured, efficientnet):
        asked = ("--num-images", 10, "--mirror", "--noise-floor", "--seed", 2, "--no-cache")
        found = measured(*CALLS["fid"], *LITE, *asked)
        options = {"num_images": 10, "mirror": True, "noise_floor": True, "seed": 2}
        assert same(found, fid(REAL, FAKE, extractor=efficientnet, **options))
        assert found["noise_floor"].keys() == found["values"].keys()
        assert found["protocol"]["noise_floor_images"] == 8

    def test_kid_is_that_of_the_sets(self, measured, efficientnet):
        found = measured(*CALLS["kid"], *LITE, "--seed", 1, "--noise-floor")
        assert list(found["values"]) == LITE_KEYS["kid"]
        options = {"seed": 1, "subsets": 20, "subset_size": 4, "noise_floor": True}
        assert same(found, kid(REAL, FAKE, extractor=efficientnet, **options))

    def test_prdc_is_that_of_the_sets(self, measured, efficientnet):
        found = measured(*CALLS["prdc"], *LITE, "--noise-floor")
        assert list(found["values"]) == LITE_KEYS["prdc"]
        assert same(found, prdc(REAL, FAKE, extractor=efficientnet, noise_floor=True))

    def test_the_protocol_says_what_has_seen_the_images(self, measured, efficientnet):
        protocol = measured(*CALLS["prdc"], *LITE)["protocol"]
        assert efficientnet.protocol.items() <= protocol.items()
        assert (protocol["extractor"], protocol["image_size"]) == ("efficientnet-lite0", [32, 32])

    def test_repeats_are_the_mean_over_successive_seeds(self, measured):
        asked = (*CALLS["kid"], *LITE, "--noise-floor")
        found = measured(*asked, "--seed", 5, "--repeats", 3)
        single = [measured(*asked, "--seed", seed) for seed in (5, 6, 7)]
        for part in ("values", "noise_floor"):
            for key, value in found[part].items():
                assert value == pytest.approx(np.mean([each[part][key] for each in single]))
        assert found["protocol"] == single[0]["protocol"] | {"repeats": 3}
        assert found["stderr"]["kd-effnetlite0_std"] is None

    @pytest.mark.parametrize("metric", CALLS)
    def test_the_table_has_a_line_for_each_value(self, pgbench, measured, metric):
        ended = pgbench("metrics", *CALLS[metric], *LITE)
        assert (ended.code, ended.err) == (0, "")
        heading, *lines = ended.out.splitlines()
        found = measured(*CALLS[metric], *LITE)
        assert heading == f"{found['metric']}, 12 images, seed 0"
        numbers = [[key, f"{value:.4f}"] for key, value in found["values"].items()]
        assert [line.split()[:2] for line in lines] == numbers
        errors = found["stderr"].values()
        assert [line.split()[2:] for line in lines] == [
            [] if error is None else ["+-", f"{error:.4f}"] for error in errors
        ]

    def test_the_table_says_how_many_images_the_noise_floor_took(self, pgbench):
        ended = pgbench("metrics", *CALLS["fid"], *LITE, "--noise-floor")
        assert ended.out.endswith(" (8 images)\n")
        ended = pgbench("metrics", *CALLS["fid"], *LITE, "--noise-floor", "--num-images", 8)
        assert "noise floor" in ended.out
        assert "(8 images)" not in ended.out

    def test_a_truncated_file_is_named_or_left_out(self, pgbench, measured, efficientnet):
        Path("real/05.png").write_bytes(Path("real/05.png").read_bytes()[:-300])
        why = "real/05.png is truncated; leave such files out with --skip-broken"
        for metric in ("fid", "kid", "prdc"):
            assert_refused(pgbench("metrics", *CALLS[metric], *LITE), why)
        found = measured(*CALLS["fid"], *LITE, "--skip-broken", err="Skipped real/05.png\n")
        left = fid(np.delete(REAL, 5, axis=0), FAKE, extractor=efficientnet)
        assert found["values"] == left.values
        assert found["protocol"] == left.protocol | {"skipped_files": 1}


class TestStatistics:
    def test_are_those_of_the_reals(self, measured, efficientnet):
        measured(*CALLS["fid"], *LITE, "--save-stats", "s.npz", err="Wrote s.npz\n")
        pool = features(REAL, efficientnet).pool.astype(np.float64)
        with np.load("s.npz") as held:
            assert sorted(held) == ["mu", "num_images", "sigma"]
            assert held["num_images"] == 16
            assert np.allclose(held["mu"], pool.mean(axis=0), rtol=1e-12, atol=0)
            assert np.allclose(held["sigma"], np.cov(pool.T), rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("options", [(), ("--num-images", 10), ("--mirror", "--seed", 4)])
    def test_take_the_place_of_the_reals(self, measured, options):
        saving = ("--save-stats", "s.npz")
        whole = measured(*CALLS["fid"], *LITE, *options, *saving, err="Wrote s.npz\n")
        again = measured(
            "fid", "s.npz", "fake.npy", *LITE, *(o for o in options if o != "--mirror")
        )
        assert again["values"] == whole["values"]
        assert again["stderr"] == {"fd-effnetlite0": None}
        assert again["protocol"]["num_reals"] == whole["protocol"]["num_reals"]
        assert again["protocol"]["mirror"] is None

    def test_of_other_projects_are_read(self, measured, efficientnet):
        pool = features(REAL, efficientnet).pool.astype(np.float64)
        np.savez("other.npz", mu=pool.mean(axis=0), sigma=np.cov(pool.T))
        found = measured("fid", "other.npz", "fake.npy", *LITE)
        expected = fid(REAL, FAKE, extractor=efficientnet).values["fd-effnetlite0"]
        assert found["values"]["fd-effnetlite0"] == pytest.approx(expected, rel=1e-6)
        assert found["protocol"]["num_reals"] is None

    @pytest.mark.parametrize(
        ("arrays", "why"),
        [
            (
                {"mu": np.full(1280, np.nan), "sigma": np.eye(1280)},
                "statistics that are not finite",
            ),
            ({"mu": np.zeros(1280), "sigma": np.eye(3)}, "sigma of shape (3, 3), which should be"),
            ({"mu": np.zeros(1280)}, "it lacks the arrays mu and sigma"),
            ({"mu": np.zeros(1280), "sigma": -np.eye(1280)}, "a negative variance"),
            ({"mu": np.zeros(4), "sigma": np.eye(4)}, "have 4 features, but efficientnet-lite0"),
            ({"mu": np.array([Path("x")]), "sigma": np.eye(1)}, "cannot be read as a plain .npz"),
        ],
    )
    def test_that_are_none_are_refused(self, pgbench, arrays, why):
        np.savez("bad.npz", **arrays)
        assert_refused(pgbench("metrics", "fid", "bad.npz", "fake.npy", *LITE), why)

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (("s.npz", "fake.npy", "--mirror"), "--mirror needs the real images, not statistics"),
            (("s.npz", "fake.npy", "--noise-floor"), "--noise-floor needs the real images, not"),
            (("s.npz", "fake.npy", "--save-stats", "t.npz"), "a file of statistics already; leave"),
            (("real", "s.npz"), "s.npz cannot be read as a plain .npz (it holds ['mu.npy'"),
            (("real", "fake.npy", "--save-stats", "no/s.npz"), "There is no folder no for"),
            (("real", "fake.npy", "--save-stats", "s"), "takes the name of an .npz file, not s."),
            (("real", "fake.npy", "--save-stats", "d.npz"), "the name of an .npz file, not d.npz."),
        ],
    )
    def test_do_not_go_with_everything(self, pgbench, arguments, why):
        save_statistics(Path("s.npz"), Statistics(np.zeros(1280), np.eye(1280), 99))
        Path("d.npz").mkdir()
        assert_refused(pgbench("metrics", "fid", *arguments, *LITE), why)

    def test_are_only_for_fid(self, pgbench):
        save_statistics(Path("s.npz"), Statistics(np.zeros(1280), np.eye(1280), 99))
        for metric in ("kid", "prdc", "swd"):
            lite = LITE if metric != "swd" else ()
            ended = pgbench("metrics", metric, "s.npz", "fake.npy", *lite)
            assert_refused(ended, "s.npz cannot be read as a plain .npz (it holds ['mu.npy'")


class TestInception:
    @pytest.mark.parametrize("metric", CALLS)
    def test_keys_are_the_contract_s_and_other_weights_are_named(
        self, measured, inception_file, metric
    ):
        np.save("six.npy", FAKE[:6])
        arguments = ["six.npy" if each in ("real", "fake.npy") else each for each in CALLS[metric]]
        found = measured(*arguments, "--weights", inception_file, "--allow-other-weights")
        assert (found["metric"], list(found["values"])) == (metric, KEYS[metric])
        protocol = found["protocol"]
        assert protocol["extractor"] == extractors.INCEPTION
        digest = hashlib.sha256(inception_file.read_bytes()).hexdigest()
        assert protocol["weights_sha256"] == digest != weights.SHA256

    @pytest.mark.parametrize("metric", CALLS)
    def test_other_weights_are_refused(self, pgbench, metric):
        Path("w.pth").write_bytes(b"weights")
        ended = pgbench("metrics", *CALLS[metric], "--weights", "w.pth")
        digest = hashlib.sha256(b"weights").hexdigest()
        assert_refused(ended, f"w.pth has the SHA-256 {digest}, but the Inception weights")
        assert "allow other weights" in ended.err

    def test_weights_that_are_none_are_refused_all_the_same(self, pgbench):
        Path("w.pth").write_bytes(b"weights")
        asked = ("--weights", "w.pth", "--allow-other-weights")
        ended = pgbench("metrics", *CALLS["fid"], *asked)
        assert_refused(ended, "The weights file w.pth is refused: it is damaged, or holds more")

    def test_without_weights_the_error_says_all_there_is_to_do(
        self, pgbench, monkeypatch, tmp_path
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr(weights, "URL", "file:///nowhere/weights.pth")
        ended = pgbench("metrics", *CALLS["fid"])
        assert_refused(ended, "could not be downloaded from file:///nowhere/weights.pth")
        place = cache_folder("weights") / weights.NAME
        assert str(place).startswith(str(tmp_path))
        for told in (weights.NAME, weights.SHA256, str(place), "--weights FILE", *LITE):
            assert told in ended.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("is", "fake.npy"), "splits needs at least 20 images, not 12"),
        (("is", "fake.npy", "--splits", 2, "--num-images", 3), "needs at least 4 images, not 3"),
        (("fid", "real", "one.npy"), "fd-effnetlite0 needs at least 2 images, not 1"),
        (
            ("fid", "two.npy", "fake.npy", "--noise-floor"),
            "fd-effnetlite0, needs at least 2 images",
        ),
        (("prdc", "five.npy", "fake.npy"), "prdc-effnetlite0 needs at least 6 images, not 5"),
        (("prdc", "real", "fake.npy", "--num-images", 5), "needs at least 6 images, not 5"),
        (
            ("kid", "real", "fake.npy"),
            "Subsets of 1000 images need at least 1000 in each set, not 12; give more images or a "
            "smaller --subset-size.",
        ),
        (
            ("kid", "real", "fake.npy", "--subset-size", 9, "--noise-floor"),
            "Subsets of 9 images need at least 9 in each half of the reals, for the noise floor, "
            "not 8; give more images or a smaller --subset-size.",
        ),
        (
            ("kid", "real", "fake.npy", "--subset-size", 9, "--num-images", 8),
            "need at least 9 in each set, not 8;",
        ),
        (("fid", "real", "fake.npy", "--num-images", 13), "fake.npy holds 12"),
        (("kid", "real", "fake.npy", "--num-images", 1013), "real holds 16"),
    ],
)
def test_too_few_images_are_told_with_how_many_are_needed(pgbench, arguments, why):
    for name, count in (("one", 1), ("two", 2), ("five", 5)):
        np.save(f"{name}.npy", REAL[:count])
    assert_refused(pgbench("metrics", *arguments, *LITE), why)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("is", "missing", *LITE), "There is no image set at missing"),
        (("fid", "missing", "fake.npy", *LITE), "There is no image set at missing"),
        (("fid", "missing.npz", "fake.npy", *LITE), "There is no image set at missing.npz"),
        (("kid", "real", "missing", *LITE), "There is no image set at missing"),
        (("fid", "small.npy", "fake.npy", *LITE), "The reals are 16x32, the fakes 32x32; bring"),
        (("prdc", "real", "small.npy", *LITE), "The reals are 32x32, the fakes 16x32; bring"),
        (("fid", "real", "fake.npy", *LITE, "--weights", "w"), "--weights are those of Inception"),
        (("fid", "real", "fake.npy", "--allow-other-weights"), "about --weights FILE; give both"),
        (("fid", "real", "fake.npy", "--weights", "none"), "There is no weights file at none"),
        (("fid", "real", "fake.npy", "--extractor", "vgg"), "'vgg' is not one of"),
        (("fid", "real", "fake.npy", *LITE, "--device", "tpu"), "'tpu' is not one of"),
        (("kid", "real", "fake.npy", *LITE, "--subset-size", 1), "--subset-size"),
        (("kid", "real", "fake.npy", *LITE, "--save-stats", "s.npz"), "No such option"),
        (("is", "fake.npy", *LITE, "--noise-floor"), "No such option"),
        (("prdc", "real", *LITE), "Missing argument 'FAKE'"),
    ],
)
def test_a_wrong_call_is_told(pgbench, arguments, why):
    np.save("small.npy", REAL[..., :16])
    assert_refused(pgbench("metrics", *arguments), why)
