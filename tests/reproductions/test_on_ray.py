"""Runs on a real local Ray: a worker is killed, a cluster is not there, too much is asked for."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from pgbench.checkpoint import load_state
from pgbench.data import ImageStore
from pgbench.reproductions.ray_mirror import Keeper, mirrored
from pgbench.results import RunFolder

Command = Callable[..., Any]
Start = Callable[..., subprocess.Popen[str]]

PGBENCH = """
from dataclasses import replace
from pgbench.cli import main
from pgbench.reproductions import table1
table1.SCALES["smoke"] = replace(table1.SCALES["smoke"], **{small})
if __name__ == "__main__":
    main()
"""


@pytest.fixture
def started(tiny_store: ImageStore, tmp_path: Path, small: dict[str, Any]) -> Iterator[Start]:
    """Two runs of some seconds, in a process of its own, with these options."""
    file = tmp_path / "small.py"
    long_enough = small | {"total_kimg": 6.4, "phase_kimg": 1.6, "tick_kimg": 0.32}
    file.write_text(PGBENCH.replace("{small}", repr(long_enough)))

    processes: list[subprocess.Popen[str]] = []

    def start(out: str, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, file, "run", "ablation", "--row", "g", "--profile", "smoke"]
        command += ["--seeds", "0-1", "--data", tiny_store.path, "--out", tmp_path / out, *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(command, **pipes, text=True, cwd=tmp_path))
        return processes[-1]

    yield start
    for process in processes:
        with process:
            process.kill()


def run_of(out: Path, seed: int) -> RunFolder:
    (path,) = out.glob(f"*-s{seed}-*")
    return RunFolder.at(path)


def wait_for(there: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not there():
        assert time.monotonic() < end
        time.sleep(0.05)


def weights(run: RunFolder) -> list[torch.Tensor]:
    state = load_state(run.state_path)
    assert state is not None
    return [each for name in ("G", "D", "G_ema") for each in state["networks"][name].values()]


def values(run: RunFolder) -> dict[tuple[float, str, str], float | None]:
    records, problems = run.records()
    assert problems == []
    return {(r.kimg, r.metric, r.key): r.value for r in records}


@pytest.mark.slow
def test_a_run_whose_worker_is_killed_goes_on_from_its_last_state(
    started: Start, tmp_path: Path
) -> None:
    process = started("ray", "--launcher", "ray")
    wait_for(lambda: list((tmp_path / "ray").glob("*-s1-*/training-state.pt")))
    run = run_of(tmp_path / "ray", 1)
    title = f"ray::{run.run_id}"
    (worker,) = [
        each
        for each in psutil.process_iter(["cmdline"])
        if " ".join(each.info["cmdline"] or []).strip() == title
    ]
    worker.kill()
    out, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert out.count("row g, smoke: done") == 1  # of both seeds
    here = started("local", "--jobs", "2")
    _, told = here.communicate(timeout=300)
    assert here.returncode == 0, told
    for seed, sessions in ((0, 1), (1, 2)):
        ours, straight = run_of(tmp_path / "ray", seed), run_of(tmp_path / "local", seed)
        noted = json.loads(ours.environment_path.read_text())["sessions"]
        assert len(noted) == sessions
        assert all(map(torch.equal, weights(ours), weights(straight)))
        assert values(ours) == values(straight)
        assert sorted(p.name for p in ours.samples.iterdir()) == sorted(
            p.name for p in straight.samples.iterdir()
        )


@pytest.mark.slow
def test_more_than_a_machine_has_is_refused(started: Start) -> None:
    process = started("ray", "--launcher", "ray", "--gpus", "3")
    _, told = process.communicate(timeout=120)
    assert process.returncode == 2
    assert told.splitlines()[-1] == (
        "Error: a run that takes 3 GPUs fits on no machine of this cluster, of which the largest "
        "has 0; give a smaller --gpus"
    )


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_told(started: Start) -> None:
    process = started("ray", "--launcher", "ray", "--address", "127.0.0.1:1")
    _, told = process.communicate(timeout=120)
    assert process.returncode == 2
    (line,) = [line for line in told.splitlines() if line.startswith("Error: ")]
    assert line.startswith("Error: Ray at 127.0.0.1:1 cannot be reached (")
    assert line.endswith("); start it with ray start --head, or leave --address out")
    assert "Traceback" not in told


def test_an_address_of_a_client_is_refused(
    command: Callable[[Path], list[str]], tmp_path: Path, pgbench: Command
) -> None:
    ended = pgbench(*command(tmp_path), "--launcher", "ray", "--address", "ray://host:10001")
    assert (ended.code, ended.err) == (
        2,
        "Error: --address ray://host:10001 is that of a client; start the command on a machine of "
        "the cluster, with its HOST:PORT or auto\n",
    )


def test_ray_is_an_extra(
    command: Callable[[Path], list[str]],
    tmp_path: Path,
    pgbench: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    ended = pgbench(*command(tmp_path), "--launcher", "ray")
    assert (ended.code, ended.err) == (
        2,
        "Error: --launcher ray needs one more package: pip install 'pgbench[ray]'\n",
    )


class Recording(Keeper):
    """A keeper that also knows in which order it was told."""

    def __init__(self, out: str) -> None:
        super().__init__(out)
        self.written: list[str] = []

    def write(self, run_id: str, name: str, content: bytes) -> None:
        self.written.append(name)
        super().write(run_id, name, content)


class TestMirror:
    @pytest.fixture
    def keeper(self, tmp_path: Path) -> Recording:
        run = tmp_path / "run"
        (run / "samples").mkdir(parents=True)
        (run / "config.json").write_text("{}")
        (run / "samples" / "a.png").write_bytes(b"a")
        (run / ".lock").write_text("")
        return Recording(str(tmp_path))

    def test_a_worker_begins_with_what_is_kept_and_sends_what_it_changed(
        self, keeper: Recording, tmp_path: Path
    ) -> None:
        with mirrored("run", keeper) as out:
            assert sorted(p.name for p in (out / "run").rglob("*")) == [
                "a.png",
                "config.json",
                "samples",
                "snapshots",
            ]
            (out / "run" / "status.json").write_text("s")
            (out / "run" / "training-state.pt").write_text("t")
            (out / "run" / "stats.jsonl").write_text("l")
            (out / "run" / "training-state.pt.new").write_text("half")
            (out / "run" / ".lock").write_text("mine")
        assert keeper.written == ["stats.jsonl", "training-state.pt", "status.json"]
        assert (tmp_path / "run" / "stats.jsonl").read_text() == "l"
        assert not out.exists()

    def test_a_state_is_never_newer_than_what_was_written_ahead_of_it(
        self, keeper: Recording, tmp_path: Path
    ) -> None:
        with mirrored("run", keeper) as out:
            state, stats = out / "run" / "training-state.pt", out / "run" / "stats.jsonl"
            state.write_text("1")
            stats.write_text("1")

            def grows(run_id: str, name: str, content: bytes) -> None:
                if name == "stats.jsonl" and content == b"1":  # a tick while it is being sent
                    fresh = state.with_name("fresh")
                    stats.write_text("1\n2")
                    fresh.write_text("2")
                    fresh.replace(state)
                Recording.write(keeper, run_id, name, content)
                if name == "training-state.pt":
                    kept = (tmp_path / "run" / "stats.jsonl").read_text()
                    assert kept.count("\n") + 1 >= int(content)

            keeper.write = grows  # type: ignore[method-assign]
        assert (tmp_path / "run" / "training-state.pt").read_text() == "1"
