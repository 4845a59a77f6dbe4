"""Every artefact but table 1, from pixels to its table: run, evaluate, report on a tiny profile."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pgbench.config import RunConfig
from pgbench.data import ImageStore
from pgbench.reproductions import celebahq, figure4, lsun, table3
from pgbench.reproductions.profiles import Scale
from pgbench.results import RunFolder

pytestmark = pytest.mark.slow
Command = Callable[..., Any]

SCALES = (figure4.SCALES, figure4.RACE_SCALES, table3.SCALES, celebahq.SCALES, lsun.SCALES)
MAPS = {"resolution": 16, "fmap_base": 32, "fmap_max": 8, "num_images": None}
CLOCK = {"phase_kimg": 0.032, "total_kimg": 0.16, "tick_kimg": 0.064, "snapshot_ticks": 2}
ROWS = {
    "figure4": ["a", "b", "fixed", "growing"],
    "cifar10": ["cifar10", "cifar10-gamma1"],
    "celebahq": ["baseline"],
    "lsun": ["bedroom"],
    "lsgan": ["wgan-gp", "lsgan"],
}
FILES = {
    "figure4": "figures/figure4c-tiny-tiny-16.csv",
    "cifar10": "tables/table3-is-effnetlite0-tiny-tiny-16.csv",
    "celebahq": "tables/celebahq-tiny-tiny-16.csv",
    "lsun": "tables/lsun-tiny-16.csv",
    "lsgan": "tables/lsgan-tiny-tiny-16.csv",
}


def tiny(scale: Scale, *, scores: bool) -> Scale:
    measured = ("is-effnetlite0-20",) if scores else ("swd64", "msssim16")
    return replace(scale, **MAPS, **CLOCK, snapshot_metrics=measured, final_metrics=("swd128",))


@pytest.fixture(autouse=True)
def _tiny_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    for scales in SCALES:
        made = tiny(scales["smoke"], scores=scales is table3.SCALES)
        monkeypatch.setitem(scales, "tiny", made)


@pytest.mark.parametrize("command", ROWS)
def test_runs_is_evaluated_and_reported(
    command: str, pgbench: Command, tiny_store: ImageStore, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    chosen = ("--profile", "tiny", "--data", tiny_store.path, "--out", results, "--device", "cpu")
    ended = pgbench("run", command, *chosen)
    assert ended.code == 0, ended.err
    runs = [RunFolder.at(path.parent) for path in sorted(results.glob("*/config.json"))]
    configs = [RunConfig.model_validate(run.config()) for run in runs]
    assert sorted(config.row for config in configs) == sorted(ROWS[command])
    for row in ROWS[command]:
        assert f"row {row}, tiny: done" in " ".join(ended.out.split())
    for run, config in zip(runs, configs, strict=True):
        check_records(run, config)
        evaluated = pgbench("evaluate", run.path, "--metrics", "swd16", "--device", "cpu")
        assert evaluated.code == 0, evaluated.err
        clocks = {record.kimg for record in run.records()[0] if record.metric == "swd16"}
        assert clocks == {kimg for kimg, _ in run.snapshots_done()}
    reported = pgbench("report", results, "--out", tmp_path / "report")
    assert reported.code == 0, reported.err
    assert (tmp_path / "report" / FILES[command]).is_file()
    page = (tmp_path / "report" / "report.md").read_text()
    assert all(run.run_id.replace("*", "") in page for run in runs)


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
