"""The project's own metrics, on fixed images, still give the values of the committed baseline."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

GUARD = Path(__file__).parent / "guard"


@pytest.mark.slow
def test_the_metrics_give_the_values_of_the_baseline(pgbench, tmp_path):
    script = [sys.executable, str(GUARD / "measure.py"), str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    ended = pgbench("check", tmp_path, "--baseline", GUARD / "baseline.json", "--json")
    found = json.loads(ended.out)
    failed = [each for each in found["values"] if each["verdict"] != "passed"]
    assert (ended.code, failed, found["exact"], found["counts"]["passed"]) == (0, [], True, 19)


def test_a_baseline_of_other_images_is_told(pgbench, tmp_path):
    baseline = json.loads((GUARD / "baseline.json").read_text())
    value = next(each for each in baseline["values"] if each["of"]["file"] == "swd")
    value["value"] *= 1 + 3e-7  # three floors
    (tmp_path / "baseline.json").write_text(json.dumps(baseline | {"values": [value]}))
    printed = {
        "schema": 1,
        **{name: value[name] for name in ("metric", "metric_version", "protocol")},
        **{name: value["of"][name] for name in ("num_images", "seed")},
        "values": {value["key"]: value["value"] / (1 + 3e-7)},
        "stderr": {value["key"]: value["stderr"]},
        "noise_floor": None,
        "wall_sec": 1.0,
    }
    (tmp_path / "swd.json").write_text(json.dumps(printed))
    ended = pgbench("check", tmp_path / "swd.json", "--baseline", tmp_path / "baseline.json")
    assert (ended.code, ended.err) == (1, "")
    assert "1 left the band" in ended.out
