"""Every artefact without data of its own: `nox -s reproduce -- --profile smoke`, to the report."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pgbench.config import RunConfig
from pgbench.results import RunFolder

pytestmark = pytest.mark.slow
Command = Callable[..., Any]

ALL = ("run", "all", "--profile", "smoke", "--jobs", "2", "--device", "cpu")
TABLE1 = ["a", "b", "c", "d", "e*", "e", "f", "g", "h"]
ROWS = {
    "table1": [*TABLE1, *TABLE1],  # on portraits and on scenes
    "figure4": ["a", "b", "fixed", "growing"],
    "table3": ["cifar10", "cifar10-gamma1"],
    "celebahq": ["baseline"],
    "lsun": ["bedroom"],
    "lsgan": ["lsgan", "wgan-gp"],
}
FILES = {
    "table1": "tables/table1-scenes-smoke-16-levels.csv",
    "figure4": "figures/figure4c-portraits-smoke-16.csv",
    "table3": "tables/table3-is-effnetlite0-portraits-smoke-16.csv",
    "celebahq": "tables/celebahq-portraits-smoke-16.csv",
    "lsun": "tables/lsun-smoke-16.csv",
    "lsgan": "tables/lsgan-portraits-smoke-16.csv",
}
of_each_artefact = pytest.mark.parametrize("artefact", ROWS)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """The command, which left its results in its folder's `results`."""
    where = tmp_path_factory.mktemp("all")
    command = [sys.executable, "-m", "pgbench", *ALL, "--out", where / "results"]
    alone = os.environ | {"XDG_CACHE_HOME": str(where / "cache")}  # no stores of other tests
    return subprocess.run(
        command, capture_output=True, text=True, timeout=1200, cwd=where, env=alone
    )


@pytest.fixture(scope="module")
def results(ended: subprocess.CompletedProcess[str]) -> Path:
    assert ended.returncode == 0, ended.stderr
    return Path(ended.args[-1])


def runs_of(results: Path, artefact: str) -> dict[RunFolder, RunConfig]:
    folders = [RunFolder.at(path.parent) for path in sorted(results.glob("*/config.json"))]
    configs = {run: RunConfig.model_validate(run.config()) for run in folders}
    return {run: config for run, config in configs.items() if config.artefact == artefact}


def test_it_says_what_it_ran_and_what_it_left_out(
    ended: subprocess.CompletedProcess[str], results: Path
) -> None:
    told = ended.stderr.splitlines()
    assert told[0].startswith("mnist-modes is left out: there is no store of mnist-rgb")
    count = sum(map(len, ROWS.values()))
    assert sum(line.endswith(": done") for line in told) == count
    assert str(results / "report" / "report.md") in ended.stdout


@of_each_artefact
def test_all_its_rows_are_done_and_measured(artefact: str, results: Path) -> None:
    runs = runs_of(results, artefact)
    assert sorted(config.row for config in runs.values()) == sorted(ROWS[artefact])
    for run, config in runs.items():
        check_records(run, config)


@of_each_artefact
def test_it_is_in_the_report(artefact: str, results: Path) -> None:
    assert (results / "report" / FILES[artefact]).is_file()
    page = (results / "report" / "report.md").read_text(encoding="utf-8")
    assert all(run.run_id.replace("*", "") in page for run in runs_of(results, artefact))


@of_each_artefact
def test_its_snapshots_can_be_evaluated_again(
    artefact: str, results: Path, pgbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(results.parent / "cache"))
    run = next(iter(runs_of(results, artefact)))
    evaluated = pgbench("evaluate", run.path, "--metrics", "swd16", "--device", "cpu")
    assert evaluated.code == 0, evaluated.err
    clocks = {record.kimg for record in run.records()[0] if record.metric == "swd16"}
    assert clocks == {kimg for kimg, _ in run.snapshots_done()}


def test_the_same_command_finds_everything_done(
    results: Path, pgbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(results.parent / "cache"))
    records = sorted(results.glob("*/metrics.jsonl"))
    before = [path.stat().st_mtime_ns for path in records]
    again = pgbench(*ALL, "--out", results)
    assert again.code == 0, again.err
    assert ": done" not in again.err  # of runs that came to their end just now
    assert [path.stat().st_mtime_ns for path in records] == before


def check_records(run: RunFolder, config: RunConfig) -> None:
    """All that the configuration asks for was measured, whole, at the end."""
    status = run.read_status()
    assert status is not None
    assert status.status == "done"
    records, problems = run.records()
    assert problems == []
    asked = set(config.evaluation.snapshot + config.evaluation.final)
    final = max(kimg for kimg, _ in run.snapshots_done())
    assert {record.metric for record in records if record.kimg == final} == asked
    assert all(record.status == "ok" for record in records)
