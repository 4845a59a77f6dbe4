"""The doctor tells runs that go on from those that broke off, and leaves all as they are."""

import os
import socket
import subprocess
import sys

from pgbench.doctor_runs import runs
from pgbench.results import RunFolder, RunStatus


def make_run(results, name, **status):
    folder = RunFolder.open(results, name, {"row": "g"})
    if status:
        folder.write_status(RunStatus(total_kimg=9, wall_sec=1, **status))
    return folder


def test_runs_that_go_on_broke_off_failed_or_are_damaged(tmp_path):
    results = tmp_path
    make_run(results, "done", status="done", kimg=9)
    make_run(results, "fresh")
    make_run(results, "stopped", status="interrupted", kimg=3)
    make_run(results, "diverged", status="failed", kimg=4, error="diverged: NaN")
    ours = make_run(results, "ours", status="running", kimg=5)
    killed = make_run(results, "killed", status="running", kimg=6)
    away = make_run(results, "away", status="running", kimg=7)
    unlocked = make_run(results, "unlocked", status="running", kimg=8)
    here = socket.gethostname()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (ours.path / ".lock-owner").write_text(f"pid {os.getpid()} on {here}")
    (killed.path / ".lock-owner").write_text(f"pid {gone.pid} on {here}")
    (away.path / ".lock-owner").write_text(f"pid 1 on not-{here}")
    (unlocked.path / ".lock-owner").write_bytes(b"\xff nonsense")
    make_run(results, "torn").status_path.write_text("{")
    checks = {found.name: found for found in runs(tmp_path)}
    assert checks["results"].facts["counts"] == {
        **{"damaged": 1, "done": 1, "failed": 1, "interrupted": 4, "running": 2}
    }
    assert checks["interrupted"].facts["runs"] == [
        "fresh",
        "killed at 6 of 9 kimg",
        "stopped at 3 of 9 kimg",
        "unlocked at 8 of 9 kimg",
    ]
    failed = checks["failed"]
    assert (failed.state, failed.text, failed.cure) == (
        "warning",
        "diverged at 4 of 9 kimg (diverged: NaN)",
        "Read its log.txt; the same command tries again from the last good state.",
    )
    assert checks["damaged"].text.startswith("torn (")


def test_many_broken_runs_are_counted(tmp_path):
    for number in range(7):
        make_run(tmp_path / "deeper", f"r{number}")
    (told,) = (found for found in runs(tmp_path) if found.name == "interrupted")
    assert told.text == "r0, r1, r2, r3, r4 and 2 more"
