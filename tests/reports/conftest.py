"""Canned run folders: what a run of table 1 leaves behind, without running it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pgbench.results import Record, RunFolder, RunStatus

MakeRun = Callable[..., RunFolder]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


@pytest.fixture
def make_run(results: Path) -> MakeRun:
    """Write one run; `values` maps (metric, key) to a value, `record` changes its fields."""

    def make(
        row: str,
        values: dict[tuple[str, str], float] | None = None,
        *,
        seed: int = 0,
        status: str = "done",
        kimg: float = 90.0,
        dataset: str = "portraits",
        profile: str = "desktop",
        resolution: int = 64,
        lr: float = 1e-3,
        run_id: str | None = None,
        record: dict[str, object] | None = None,
    ) -> RunFolder:
        data = {"name": dataset, "resolution": resolution, "mirror": True, "num_images": None}
        config = {"artefact": "table1", "row": row, "profile": profile, "seed": seed, "data": data}
        config |= {"optimiser": {"lr": lr}, "schedule": {"total_kimg": 90.0}}
        name = run_id or f"table1-{row.replace('*', '-star')}-{profile}-s{seed}-{resolution}-{lr}"
        run = RunFolder.open(results, name, json.loads(json.dumps(config)))
        run.write_status(
            RunStatus.model_validate(
                {"status": status, "kimg": kimg, "total_kimg": 90, "wall_sec": 1800}
            )
        )
        for (metric, key), value in (values or {}).items():
            fields = {
                **{"run_id": name, "artefact": "table1", "row": row, "dataset": dataset},
                **{"dataset_fingerprint": "f0", "resolution": resolution, "profile": profile},
                **{"seed": seed, "kimg": kimg, "metric": metric, "key": key, "value": value},
                **{"stderr": None, "num_images": 2048, "metric_version": 1, "protocol": {}},
                **{"wall_sec": 1.5, "status": "ok", "error": None},
            }
            run.append_record(Record.model_validate(fields | (record or {})))
        return run

    return make
