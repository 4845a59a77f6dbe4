"""`pgbench metrics` prints the contract's object, or a table, and nothing else."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from pgbench.cli_metrics import metrics
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
REAL, FAKE = np.random.default_rng(0).integers(0, 256, (2, 6, 3, 32, 32), np.uint8)


@pytest.fixture
def sets(tmp_path):
    paths = tmp_path / "real.npy", tmp_path / "fake.npz"
    np.save(paths[0], REAL)
    np.savez(paths[1], FAKE)
    return [str(path) for path in paths]


def run(*arguments):
    result = CliRunner().invoke(metrics, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stderr == ""
    return result.stdout


def test_swd_prints_the_contract(sets):
    found = json.loads(run("swd", *sets, "--seed", "3", "--num-images", "4", "--mirror", "--json"))
    expected = swd(REAL, FAKE, seed=3, num_images=4, mirror=True)
    assert list(found) == CONTRACT
    assert list(found["values"]) == ["32", "16", "avg"]
    assert (found["schema"], found["metric"], found["noise_floor"]) == (1, "swd", None)
    assert found["values"] == expected.values
    assert {**expected.to_json(), "wall_sec": found["wall_sec"]} == found


def test_msssim_prints_the_contract(sets):
    found = json.loads(run("msssim", sets[1], "--json", "--seed", "2"))
    assert list(found) == CONTRACT
    assert (found["num_images"], found["seed"]) == (6, 2)
    assert found["values"] == msssim(FAKE).values


def test_tables_are_for_people(sets):
    lines = run("swd", *sets).splitlines()
    assert lines[0] == "swd, 6 images, seed 0"
    assert [line.split()[0] for line in lines[1:]] == ["32", "16", "avg"]
    value = msssim(FAKE, num_images=2).values["msssim"]
    assert run("msssim", sets[1], "--num-images", "2").splitlines()[1].split() == [
        "msssim",
        f"{value:.4f}",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("swd", "real.npy", "missing"), "There is no image set at missing"),
        (("swd", "real.npy", "real.npy", "--num-images", "7"), "7 images .* holds 6"),
        (("msssim", "real.npy", "--num-images", "3"), "even number from 2, not 3"),
    ],
)
def test_wrong_input_is_a_value_error(sets, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        CliRunner().invoke(metrics, arguments, catch_exceptions=False)


def test_help_loads_no_numerical_library():
    code = (
        "import sys; import pgbench.cli_metrics; "
        "print(sorted({'numpy', 'torch', 'PIL', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
