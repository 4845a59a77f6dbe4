"""`torchrun … -m pgbench`: runs, measurements and images of two processes, lost ones, signals."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pgbench.checkpoint import load_state
from pgbench.data import ImageStore
from pgbench.metrics.cache import cache_folder
from pgbench.results import RunFolder

pytestmark = pytest.mark.slow

Command = Callable[..., Any]
Arguments = Callable[..., list[str]]
Torchrun = Callable[..., subprocess.CompletedProcess[str]]
SMALL: dict[str, Any] = {"fmap_base": 32, "fmap_max": 8, "phase_kimg": 0.064, "num_images": None}
SMALL |= {"total_kimg": 0.352, "tick_kimg": 0.064, "snapshot_ticks": 2}
SMALL |= {"snapshot_metrics": ("swd64",), "final_metrics": ("fd-effnetlite0-80",)}

# Like `python -m pgbench`, with small runs and a trap in one of the processes.
PGBENCH = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import torch
from pgbench import evaluate, grids, training
from pgbench.cli import main
from pgbench.reproductions import table1
table1.SCALES["smoke"] = replace(table1.SCALES["smoke"], **{small})
def at(number, owner, name, act):
    real, calls = getattr(owner, name), []
    def trapped(*arguments, **options):
        calls.append(name)
        if len(calls) == number:
            act()
        return real(*arguments, **options)
    setattr(owner, name, trapped)
def kill():
    os.kill(os.getpid(), signal.SIGKILL)
def terminate_torchrun():
    os.kill(os.getppid(), signal.SIGTERM)
trapped, trap = sys.argv.pop(1).split(":", 1)
if os.environ["RANK"] == trapped:
    exec(trap)
main()
"""


@pytest.fixture(scope="module")
def torchrun(tmp_path_factory: pytest.TempPathFactory) -> Torchrun:
    """Run a command of pgbench in two processes, with `rank:code` as a trap."""
    file = tmp_path_factory.mktemp("torchrun") / "small.py"
    file.write_text(PGBENCH.replace("{small}", repr(SMALL)))

    def run(*arguments: object, trap: str = ":") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", file, trap]
        given = [str(each) for each in [*command, *arguments]]
        return subprocess.run(given, capture_output=True, text=True, timeout=300)

    return run


def ours(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """What pgbench wrote to stderr, without the ticks and without torchrun's own lines."""
    lines = ended.stderr.splitlines()
    assert not [line for line in lines if "[rank" in line], ended.stderr  # a traceback
    return [line for line in lines if line.startswith("Error: ") or "interrupted" in line]


@pytest.fixture(scope="module")
def command(tiny_store: ImageStore) -> Arguments:
    """The arguments that run row d into a folder."""
    fixed = ["run", "ablation", "--row", "d", "--profile", "smoke", "--device", "cpu"]
    return lambda out, *options: [
        *fixed,
        "--data",
        str(tiny_store.path),
        "--out",
        str(out),
        *options,
    ]


@pytest.fixture(scope="module")
def straight(
    torchrun: Torchrun, command: Arguments, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What two processes leave of seeds 0 and 1; not to be changed."""
    out = tmp_path_factory.mktemp("straight")
    ended = torchrun(*command(out, "--seeds", "0-1"))
    assert (ended.returncode, ours(ended)) == (0, []), ended.stderr
    assert ended.stdout.count("row d, smoke: done") == 2
    return out


def run_of(out: Path, seed: int) -> RunFolder:
    (path,) = out.glob(f"*-s{seed}-*")
    return RunFolder.at(path)


def state_of(run: RunFolder) -> dict[str, Any]:
    state = load_state(run.state_path)
    assert state is not None
    del state["train_sec"]
    return state


def values(run: RunFolder) -> dict[tuple[float, str, str], tuple[float | None, float | None]]:
    records, problems = run.records()
    assert problems == []
    return {(r.kimg, r.metric, r.key): (r.value, r.stderr) for r in records}


def same(one: object, two: object) -> bool:
    """Whether two nests of dicts, lists and tensors are equal bit for bit."""
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return torch.equal(one, two)
    return type(one) is type(two) and one == two


def test_what_is_done_is_not_done_again(
    straight: Path, torchrun: Torchrun, command: Arguments
) -> None:
    before = [values(run_of(straight, seed)) for seed in (0, 1)]
    ended = torchrun(*command(straight, "--seeds", "0-1"))
    assert ended.returncode == 0
    for seed in (0, 1):
        assert f"{run_of(straight, seed).path} is done already\n" in ended.stderr
    assert [values(run_of(straight, seed)) for seed in (0, 1)] == before


def test_both_processes_measure_and_the_values_are_those_of_one(
    straight: Path, tmp_path: Path, torchrun: Torchrun, pgbench: Command
) -> None:
    """Each with no features kept from before."""
    runs = []
    for name in ("one", "two"):
        run = RunFolder(Path(shutil.copytree(run_of(straight, 1).path, tmp_path / name / "run")))
        run.metrics_path.unlink()
        runs.append(run)
    one, two = runs
    metrics = ["--metrics", "swd64,msssim16,fd-effnetlite0-80,is-effnetlite0-20"]
    shutil.rmtree(cache_folder("features"))
    assert pgbench("evaluate", one.path, *metrics, "--device", "cpu").code == 0
    shutil.rmtree(cache_folder("features"))
    seen = tmp_path / "the second process has worked"
    trap = f"1:at(20, evaluate.Worker, '__call__', lambda: Path('{seen}').touch())"
    ended = torchrun("evaluate", two.path, *metrics, trap=trap)
    assert (ended.returncode, ended.stdout) == (0, f"{two.metrics_path}\n")
    assert seen.exists()
    assert len(values(one)) == 3 * 6
    assert values(two) == values(one)
    trained = values(run_of(straight, 1))
    assert {key: value for key, value in values(two).items() if key in trained} == trained


def test_both_processes_make_images_and_they_are_those_of_one(
    straight: Path, tmp_path: Path, torchrun: Torchrun, pgbench: Command
) -> None:
    run, seeds = run_of(straight, 0).path, ["--seeds", "3-20,40,64-66", "--device", "cpu"]
    seen = tmp_path / "the second process has worked"
    trap = f"1:at(8, grids, 'save_picture', lambda: Path('{seen}').touch())"
    ended = torchrun("generate", run, *seeds, "--out", tmp_path / "two", trap=trap)
    assert (ended.returncode, ended.stdout) == (0, f"{tmp_path / 'two'}\n")
    assert seen.exists()
    assert pgbench("generate", run, *seeds, "--out", tmp_path / "one").code == 0
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    )
    assert len(one) == 22
    assert one == two


def test_what_the_second_process_cannot_do_is_told_by_the_first(
    straight: Path, tmp_path: Path, torchrun: Torchrun
) -> None:
    trap = "1:evaluate.open_efficientnet = lambda _: open('/nope')"
    ended = torchrun(
        "evaluate", run_of(straight, 0).path, "--metrics", "is-effnetlite0-20", trap=trap
    )
    assert ended.returncode != 0
    assert ours(ended) == ["Error: process 1: [Errno 2] No such file or directory: '/nope'"]


def test_lost_processes_cost_no_state(
    straight: Path, tmp_path: Path, torchrun: Torchrun, command: Arguments
) -> None:
    def go(trap: str) -> tuple[list[str], str, int]:
        """What is told, the status and nimg of the state."""
        ended = torchrun(*command(tmp_path, "--seed", "1"), trap=trap)
        assert ended.returncode != 0
        status = run_of(tmp_path, 1).read_status()
        assert status is not None
        return ours(ended), status.status, state_of(run_of(tmp_path, 1))["nimg"]

    lost = "was interrupted: another process of the run was lost; the same command goes on"
    (told,), *left = go("1:at(6, training.Trainer, 'step', kill)")
    assert (lost in told, *left) == (True, "interrupted", 64)
    assert go("0:at(6, training.Trainer, 'step', kill)") == ([], "running", 128)
    (told,), *left = go("1:at(3, evaluate.Worker, '__call__', kill)")
    assert (lost in told, *left) == (True, "interrupted", 256)
    ended = torchrun(*command(tmp_path, "--seed", "1"))
    assert (ended.returncode, ours(ended)) == (0, [])
    runs = [run_of(out, 1) for out in (tmp_path, straight)]
    assert same(*map(state_of, runs))
    assert same(*map(values, runs))


def test_sigterm_to_torchrun_saves_everything(
    straight: Path, tmp_path: Path, torchrun: Torchrun, command: Arguments
) -> None:
    trap = "0:at(7, training.Trainer, 'step', terminate_torchrun)"
    ended = torchrun(*command(tmp_path, "--seed", "1"), trap=trap)
    run = run_of(tmp_path, 1)
    status, state = run.read_status(), state_of(run)
    assert status is not None
    assert (ended.returncode != 0, status.status, status.error) == (True, "interrupted", None)
    assert 0.112 <= status.kimg == state["nimg"] / 1000 < 0.352
    (told,) = ours(ended)
    assert told.endswith("kimg was interrupted; the same command goes on from there")
    ended = torchrun(*command(tmp_path, "--seed", "1"))
    assert ended.returncode == 0
    assert same(state_of(run), state_of(run_of(straight, 1)))
    assert same(values(run), values(run_of(straight, 1)))
