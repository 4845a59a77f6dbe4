"""Every experiment without data of its own, at smoke: `nox -s reproduce -- --profile smoke`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pgbench.results import load_runs

ARTEFACTS = {"table1", "figure4", "table3", "celebahq", "lsun", "lsgan"}


@pytest.mark.slow
def test_every_experiment_runs_is_measured_and_reported(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pgbench", "run", "all", "--profile", "smoke"]
    command += ["--jobs", "2", "--device", "cpu", "--out", str(tmp_path / "results")]
    alone = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}  # no stores of other tests
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=1200, cwd=tmp_path, env=alone
    )
    assert ended.returncode == 0, ended.stderr
    assert "mnist-modes is left out: there is no store of mnist-rgb" in ended.stderr
    runs = load_runs(tmp_path / "results")
    assert set(runs["status"]) == {"done"}
    assert runs.attrs["problems"] == []
    assert set(runs["artefact"]) == ARTEFACTS
    page = (tmp_path / "results" / "report" / "index.html").read_text(encoding="utf-8")
    for artefact in ARTEFACTS:
        assert f"artefacts/{artefact}.html" in page
