"""`pgbench metrics swd|msssim`: the contract's object, or a table, and errors of one sentence."""

import json
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from pgbench.metrics import msssim, swd

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


def crops(photograph, seed, count=8):
    """Random 32x32 pieces, NCHW."""
    places = np.random.default_rng(seed).integers(0, 268, (count, 2))
    return np.stack([photograph[y : y + 32, x : x + 32] for y, x in places]).transpose(0, 3, 1, 2)


REAL, FAKE = crops(data.astronaut(), 0), crops(data.chelsea(), 1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the command is called: PNGs in `real`, `fake.npz`, and 5 of the fakes in `few.npy`."""
    monkeypatch.chdir(tmp_path)
    Path("real").mkdir()
    for index, image in enumerate(REAL):
        Image.fromarray(image.transpose(1, 2, 0)).save(f"real/{index}.png")
    np.savez("fake.npz", FAKE)
    np.save("few.npy", FAKE[:5])
    return tmp_path


@pytest.fixture
def measured(pgbench, folder):
    """The object that `pgbench metrics ... --json` prints, and nothing else."""

    def call(*arguments):
        ended = pgbench("metrics", *arguments, "--json")
        assert (ended.code, ended.err, ended.out.count("\n")) == (0, "", 1)
        found = json.loads(ended.out)
        assert list(found) == CONTRACT
        assert found["schema"] == 1
        assert found["stderr"].keys() == found["values"].keys()
        assert found["wall_sec"] >= 0
        return found

    return call


def same(found, expected):
    return {**expected.to_json(), "wall_sec": found["wall_sec"]} == found


def assert_refused(ended, why):
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith("Error: ")
    assert why in ended.err


class TestSwd:
    def test_is_that_of_the_two_sets(self, measured):
        found = measured("swd", "real", "fake.npz")
        assert list(found["values"]) == ["32", "16", "avg"]
        assert (found["metric"], found["num_images"], found["seed"]) == ("swd", 8, 0)
        assert found["noise_floor"] is None
        assert same(found, swd(REAL, FAKE))

    @pytest.mark.parametrize(
        ("options", "asked"),
        [
            (("--seed", 3), {"seed": 3}),
            (("--num-images", 4), {"num_images": 4}),
            (("--mirror",), {"mirror": True}),
            (("--directions", "iid"), {"directions": "iid"}),
            (("--noise-floor",), {"noise_floor": True}),
            (("--noise-floor", "--num-images", 3), {"noise_floor": True, "num_images": 3}),
        ],
    )
    def test_takes_options(self, measured, options, asked):
        found = measured("swd", "real", "fake.npz", *options)
        assert same(found, swd(REAL, FAKE, **asked))
        assert found["values"] != swd(REAL, FAKE).values or "noise_floor" in asked

    def test_the_protocol_says_which_directions(self, measured):
        assert "orthonormal" in measured("swd", "real", "fake.npz")["protocol"]["directions"]
        iid = measured("swd", "real", "fake.npz", "--directions", "iid")["protocol"]
        assert iid["directions"] == "gaussian, unit length, independent"

    def test_compares_sets_of_unequal_size(self, measured):
        found = measured("swd", "real", "few.npy")
        assert same(found, swd(REAL, FAKE[:5]))
        assert found["num_images"] == 5
        assert (found["protocol"]["num_reals"], found["protocol"]["num_fakes"]) == (8, 5)

    def test_the_noise_floor_says_what_it_is_of(self, measured):
        found = measured("swd", "real", "fake.npz", "--noise-floor")
        assert found["noise_floor"].keys() == found["values"].keys()
        assert found["protocol"]["noise_floor_images"] == 4

    def test_repeats_are_the_mean_over_successive_seeds(self, measured):
        asked = ("swd", "real", "fake.npz", "--noise-floor")
        found = measured(*asked, "--seed", 2, "--repeats", 3)
        single = [measured(*asked, "--seed", seed) for seed in (2, 3, 4)]
        for part in ("values", "noise_floor"):
            for key, value in found[part].items():
                assert value == pytest.approx(np.mean([each[part][key] for each in single]))
        assert found["seed"] == 2
        assert found["protocol"] == single[0]["protocol"] | {"repeats": 3}


class TestMsssim:
    def test_is_that_of_the_set(self, measured):
        found = measured("msssim", "fake.npz", "--seed", 2)
        assert list(found["values"]) == ["msssim"]
        assert same(found, msssim(FAKE, seed=2))

    def test_takes_all_pairs_and_reals(self, measured):
        found = measured("msssim", "few.npy", "--pairs", "all", "--reals", "real")
        assert list(found["values"]) == ["msssim", "reals"]
        assert same(found, msssim(FAKE[:5], reals=REAL, pairs="all"))
        assert (found["num_images"], found["protocol"]["num_pairs"]) == (5, 10)

    def test_repeats_change_nothing(self, measured):
        found = measured("msssim", "fake.npz", "--repeats", 2)
        once = msssim(FAKE)
        assert (found["values"], found["stderr"]) == (once.values, once.stderr)
        assert found["protocol"]["repeats"] == 2


class TestTable:
    def test_has_a_line_for_each_value(self, pgbench, folder):
        ended = pgbench("metrics", "swd", "real", "fake.npz")
        assert (ended.code, ended.err) == (0, "")
        once = swd(REAL, FAKE)
        assert ended.out.splitlines() == [
            "swd, 8 images, seed 0",
            *(f"{k:>8}  {v:10.4f}  +- {once.stderr[k]:.4f}" for k, v in once.values.items()),
        ]

    def test_says_nothing_of_an_error_that_there_is_not(self, pgbench, folder):
        ended = pgbench("metrics", "msssim", "fake.npz", "--num-images", 2)
        value = msssim(FAKE, num_images=2).values["msssim"]
        assert ended.out == f"msssim, 2 images, seed 0\n  msssim  {value:10.4f}\n"

    def test_says_which_seeds(self, pgbench, folder):
        ended = pgbench("metrics", "msssim", "fake.npz", "--seed", 4, "--repeats", 3)
        assert ended.out.startswith("msssim, 8 images, seeds 4-6\n")

    @pytest.mark.parametrize(("count", "taken"), [(8, " (4 images)"), (4, ""), (3, "")])
    def test_says_how_many_images_the_noise_floor_took(self, pgbench, folder, count, taken):
        asked = ("real", "fake.npz", "--noise-floor", "--num-images", count)
        (*_, average) = pgbench("metrics", "swd", *asked).out.splitlines()
        floor = swd(REAL, FAKE, num_images=count, noise_floor=True).noise_floor["avg"]
        assert average.endswith(f"  noise floor {floor:.4f}{taken}")


class TestBroken:
    @pytest.fixture
    def truncated(self, folder):
        """One PNG of the reals, the fourth, lost its second half."""
        path = folder / "real" / "3.png"
        path.write_bytes(path.read_bytes()[:-400])
        return "real/3.png"

    @pytest.mark.parametrize(
        "asked", [("swd", "real", "fake.npz"), ("swd", "fake.npz", "real"), ("msssim", "real")]
    )
    def test_is_named(self, pgbench, truncated, asked):
        ended = pgbench("metrics", *asked, "--json")
        assert_refused(ended, f"{truncated} is truncated; leave such files out with --skip-broken")

    def test_is_left_out_when_asked(self, pgbench, truncated):
        ended = pgbench("metrics", "swd", "real", "fake.npz", "--skip-broken", "--json")
        assert (ended.code, ended.err) == (0, f"Skipped {truncated}\n")
        found = json.loads(ended.out)
        assert found["protocol"]["skipped_files"] == 1
        assert found["values"] == swd(np.delete(REAL, 3, axis=0), FAKE).values

    def test_both_sets_are_tried_and_counted(self, pgbench, truncated):
        ended = pgbench("metrics", "swd", "real", "real", "--skip-broken", "--json")
        assert ended.err == 2 * f"Skipped {truncated}\n"
        assert json.loads(ended.out)["protocol"]["skipped_files"] == 2

    def test_where_nothing_is_broken_nothing_is_said(self, measured):
        found = measured("swd", "real", "fake.npz", "--skip-broken")
        assert same(found, swd(REAL, FAKE))

    def test_names_do_not_reach_the_terminal_as_they_are(self, pgbench, folder):
        (folder / "real" / "\x1b[2J\n.png").write_bytes(b"no image")
        ended = pgbench("metrics", "swd", "real", "fake.npz", "--skip-broken")
        assert (ended.code, ended.err) == (0, "Skipped 'real/\\x1b[2J\\n.png'\n")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("swd", "real", "missing"), "There is no image set at missing"),
        (("msssim", "missing"), "There is no image set at missing"),
        (("msssim", "fake.npz", "--reals", "missing"), "There is no image set at missing"),
        (
            ("swd", "real", "fake.npz", "--num-images", 9),
            "9 images were asked for, but real holds 8",
        ),
        (("msssim", "fake.npz", "--num-images", 3), "needs an even number from 2, not 3"),
        (("msssim", "fake.npz", "--pairs", "all", "--num-images", 1), "needs at least 2, not 1"),
        (
            ("msssim", "fake.npz", "--reals", "few.npy"),
            "8 images were asked for, but few.npy holds 5",
        ),
        (("swd", "one.npy", "fake.npz", "--noise-floor"), "needs at least 2 reals, but there is 1"),
        (
            ("swd", "wide.npy", "fake.npz"),
            "The reals are of shape (3, 32, 64), the fakes of (3, 32, 32)",
        ),
        (("msssim", "fake.npz", "--reals", "wide.npy"), "bring both to one size"),
        (("swd", "wide.npy", "wide.npy"), "SWD needs square images, not 64x32"),
        (("swd", "real"), "Missing argument 'FAKE'"),
        (("swd", "real", "fake.npz", "--repeats", 0), "--repeats"),
        (("swd", "real", "fake.npz", "--seed", -1), "--seed"),
        (("swd", "real", "fake.npz", "--directions", "all"), "'all' is not one of"),
        (("swd", "real", "fake.npz", "--pairs", "all"), "No such option"),
        (("msssim", "fake.npz", "--noise-floor"), "No such option"),
        (("msssim", "fake.npz", "--mirror"), "No such option"),
        (("fids", "real", "fake.npz"), "No such command 'fids'"),
    ],
)
def test_a_wrong_call_is_told(pgbench, folder, arguments, why):
    np.save("one.npy", REAL[:1])
    np.save("wide.npy", np.concatenate([REAL, REAL], axis=3))
    assert_refused(pgbench("metrics", *arguments), why)


def test_images_of_two_sizes_in_a_folder_are_told(pgbench, folder):
    Image.new("RGB", (16, 16)).save("real/9.png")
    for options in ((), ("--skip-broken",)):
        ended = pgbench("metrics", "swd", "real", "fake.npz", *options)
        assert_refused(
            ended, "real/9.png is 16x16, but the first image of the set, 0.png, is 32x32"
        )


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def pickled(path):
    with zipfile.ZipFile(path, "w") as archive, archive.open("images.npy", "w") as member:
        np.save(member, np.array([Touch(Path("touched"))], dtype=object), allow_pickle=True)


def leaving(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.write("real/0.png", "../../outside.png")


def chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def bomb(path):
    """A PNG of 4 GiB of grey, packed in some bytes."""
    header = struct.pack(">IIBBBBB", 65535, 65535, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(2**16)))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bomb.png", png)


@pytest.mark.parametrize(
    ("name", "make", "why"),
    [
        ("bad.npz", pickled, "bad.npz cannot be read as a plain .npz (Object arrays cannot be"),
        ("bad.npy", lambda path: path.write_bytes(pickle.dumps(Touch(Path("touched")))), "a plain"),
        ("bad.zip", leaving, "its member '../../outside.png' leaves the archive"),
        ("bad.zip", bomb, "bad.zip/bomb.png is refused as a decompression bomb"),
        ("bad.zip", lambda path: path.write_bytes(b"PK\x03\x04" + bytes(99)), "read as a zip"),
        ("bad", Path.mkdir, "bad holds no image; files named"),
        ("bad.txt", Path.touch, "bad.txt is no image set"),
        ("bad\n\x1b[2J.txt", Path.touch, r"'bad\n\x1b[2J.txt' is no image set"),
    ],
)
@pytest.mark.parametrize("command", ["swd", "msssim"])
def test_a_hostile_set_is_refused_in_one_sentence(pgbench, folder, command, name, make, why):
    make(folder / name)
    ended = pgbench("metrics", command, name, *(["fake.npz"] if command == "swd" else []))
    assert_refused(ended, why)
    assert not {"touched", "outside.png"} & {path.name for path in folder.parent.rglob("*")}


def test_help_loads_no_numerical_library():
    code = (
        "import sys; import pgbench.cli; "
        "print(sorted({'numpy', 'torch', 'PIL', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
