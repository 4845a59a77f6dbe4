"""Several runs at once: what they leave, and what one that is lost does to the others."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pgbench.checkpoint import load_state
from pgbench.config import RunConfig, replace
from pgbench.data import ImageStore
from pgbench.reproductions import sweep, table1
from pgbench.reproductions.sweep import Job, side_by_side
from pgbench.results import RunFolder, RunStatus

Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once have a thread each, as the straight run has."""
    monkeypatch.setattr(sweep, "usable_cores", lambda: 2)


def config_of(seed: int, profile: str = "tiny") -> RunConfig:
    return table1.row_config(
        "g", profile=profile, dataset="tiny", mirror=True, num_images=None, seed=seed
    )


@pytest.fixture
def job(tiny_store: ImageStore, tmp_path: Path) -> Callable[[RunConfig], Job]:
    return lambda config: Job(config, str(tiny_store.path), tmp_path, "cpu", "off")


def state_of(run: RunFolder) -> dict[str, Any]:
    state = load_state(run.state_path)
    assert state is not None
    return state


def kill_when_it_trains(run: Path) -> None:
    """SIGKILL for the process of a run once it has saved a state."""
    while not (run / "training-state.pt").exists():
        time.sleep(0.05)
    os.kill(int((run / ".lock-owner").read_text().split()[1]), signal.SIGKILL)


def test_they_are_the_runs_that_one_after_the_other_would_be(
    job: Callable[[RunConfig], Job], straight: RunFolder, tmp_path: Path
) -> None:
    ended = dict(
        (each.config.seed, outcome)
        for each, outcome in side_by_side([job(config_of(seed)) for seed in (0, 1)], at_once=2)
    )
    assert {seed: outcome.status for seed, outcome in ended.items()} == {0: "done", 1: "done"}
    ours = RunFolder.at(tmp_path / straight.run_id)
    for name in ("G", "D", "G_ema"):
        for one, other in zip(
            *(state_of(run)["networks"][name].values() for run in (ours, straight)), strict=True
        ):
            assert torch.equal(one, other)
    sessions = json.loads(ours.environment_path.read_text())["sessions"]
    assert [session["threads"] for session in sessions] == [1]


def test_one_that_is_refused_and_one_that_is_killed_leave_the_others_alone(
    job: Callable[[RunConfig], Job], tmp_path: Path
) -> None:
    larger = {"resolution": 32}
    refused = replace(config_of(1), data=larger, generator=larger, discriminator=larger)
    killed = replace(config_of(2), schedule={"total_kimg": 1000})
    jobs = [job(config) for config in (config_of(0), refused, killed)]
    run = tmp_path / killed.run_id
    threading.Thread(target=kill_when_it_trains, args=(run,), daemon=True).start()
    ended = {each.config.seed: outcome for each, outcome in side_by_side(jobs, at_once=2)}
    assert isinstance(ended[0], RunStatus)
    assert ended[0].status == "done"
    assert isinstance(ended[1], str)
    assert "16" in ended[1]
    assert isinstance(ended[2], RunStatus)
    assert ended[2].status == "interrupted"
    assert ended[2].error == (
        "its process died (signal 9); the same command goes on from its last state"
    )
    saved = load_state(run / "training-state.pt")["nimg"]  # before the status: a tick ahead if torn
    tick = round(1000 * killed.schedule.tick_kimg)
    assert saved - round(1000 * ended[2].kimg) in (0, tick)


SWEEP = """
import signal
from dataclasses import replace
from pgbench.reproductions import table1
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
table1.SCALES["smoke"] = replace(table1.SCALES["smoke"], **{small})
if __name__ == "__main__":
    from pgbench.cli import main
    main()
"""


@pytest.fixture
def started(
    tiny_store: ImageStore, tmp_path: Path, small: dict[str, Any]
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A sweep of long runs, two at once, in a process of its own."""
    file = tmp_path / "sweep.py"
    file.write_text(SWEEP.replace("{small}", repr(small | {"total_kimg": 1000})))

    processes: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, file, "run", "ablation", "--row", "g", "--profile", "smoke"]
        command += ["--seeds", "0-1", "--jobs", "2", "--data", tiny_store.path]
        command += ["--out", tmp_path / "results"]
        processes.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        with process:
            process.kill()


def wait_for_states(out: Path, count: int) -> None:
    end = time.monotonic() + 120
    while len(list(out.glob("*/training-state.pt"))) < count:
        assert time.monotonic() < end
        time.sleep(0.1)


def statuses(out: Path) -> list[str]:
    found = [RunFolder(path).read_status() for path in sorted(out.glob("table1-*"))]
    return [status.status for status in found if status]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_all_save_what_they_have(
    started: Callable[..., subprocess.Popen[str]], tmp_path: Path, number: int
) -> None:
    process = started()
    wait_for_states(tmp_path / "results", 2)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (
        130,
        "interrupted; the same command goes on from there\n",
    )
    assert statuses(tmp_path / "results") == ["interrupted"] * 2


@pytest.mark.slow
def test_they_stop_when_the_command_is_killed(
    started: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = started()
    wait_for_states(tmp_path / "results", 2)
    process.kill()
    process.communicate()
    end = time.monotonic() + 60
    while statuses(tmp_path / "results") != ["interrupted"] * 2:
        assert time.monotonic() < end
        time.sleep(0.1)


class TestTheCommand:
    @pytest.mark.parametrize("jobs", ["0", "-1", "two", "1.5", ""])
    def test_jobs_are_a_number(
        self, command: Callable[[Path], list[str]], tmp_path: Path, pgbench: Command, jobs: str
    ) -> None:
        ended = pgbench(*command(tmp_path), f"--jobs={jobs}")
        why = f"--jobs {jobs!r} is no number of runs; give 1 or more, or auto"
        assert (ended.code, ended.err) == (2, f"Error: {why}\n")

    def test_as_many_as_fit_need_cores_and_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Memory:
            available = 20 * 2**30

        monkeypatch.setattr(sweep.psutil, "virtual_memory", Memory)
        monkeypatch.setattr(sweep, "usable_cores", lambda: 4)
        assert sweep.how_many_fit("cpu") == 4
        monkeypatch.setattr(sweep, "usable_cores", lambda: 64)
        assert sweep.how_many_fit("cpu") == 8
        Memory.available = 2**30
        assert sweep.how_many_fit("cpu") == 1

    @pytest.mark.parametrize("option", ["--address=auto", "--gpus=0.5", "--cpus=2"])
    def test_what_is_for_ray_needs_ray(
        self, command: Callable[[Path], list[str]], tmp_path: Path, pgbench: Command, option: str
    ) -> None:
        ended = pgbench(*command(tmp_path), option)
        assert ended.code == 2
        assert "--address, --cpus and --gpus are for --launcher ray." in ended.err

    def test_jobs_are_of_this_machine(
        self, command: Callable[[Path], list[str]], tmp_path: Path, pgbench: Command
    ) -> None:
        ended = pgbench(*command(tmp_path), "--launcher", "ray", "--jobs", "2")
        assert ended.code == 2
        assert "--jobs is for --launcher local; Ray runs as many as fit." in ended.err

    def test_torchrun_shares_one_run(
        self,
        command: Callable[[Path], list[str]],
        tmp_path: Path,
        pgbench: Command,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "0")
        ended = pgbench(*command(tmp_path), "--jobs", "2")
        assert ended.code == 2
        assert ended.err == (
            "Error: torchrun shares one run among processes; leave --jobs and --launcher out\n"
        )
