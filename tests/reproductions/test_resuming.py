"""A run survives kills, interruptions and full disks, and ends as if nothing had happened."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from pgbench.checkpoint import load_state
from pgbench.config import RunConfig, replace
from pgbench.data import ImageStore
from pgbench.reproductions import table1, table4
from pgbench.reproductions.launch import run as launch
from pgbench.results import RunFolder

Command = Callable[..., Any]
Arguments = Callable[[Path], list[str]]
TinyConfig = Callable[..., RunConfig]
TIMING = ("images_per_sec", "train_sec", "peak_memory_mb")

# A program that runs something with a trap in it: `at` calls `act` before the n-th call.
PREPARE = """
import errno, os, resource, signal, sys
from pathlib import Path
import torch
from pgbench import checkpoint, evaluate, ticks, training
from pgbench.reproductions import launch, table1
from pgbench.results import RunFolder
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
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
def interrupt():
    signal.raise_signal(signal.SIGINT)
def terminate():
    os.kill(os.getpid(), signal.SIGTERM)
def write_half(number):
    real = checkpoint.write_atomically
    def trapped(path, write):
        calls.append(path.suffix == ".new")
        half = lambda file: (file.write(b"half"), file.flush(), kill())
        return real(path, half if calls[-1] and sum(calls) == number else write)
    calls, checkpoint.write_atomically = [], trapped
def fill_disk(size=20_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
def fill_disk_of_the_curves():
    (events,) = Path(sys.argv[sys.argv.index("--out") + 1]).rglob("events.*")
    fill_disk(events.stat().st_size + 200)
{trap}
"""
# One run per trap, each in a fork of a process that has imported everything.
RUNS = """
import json
from pgbench.config import RunConfig
config = RunConfig.model_validate_json(sys.argv[1])
torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])
for trap in json.loads(sys.argv[4]):
    pid = os.fork()
    if not pid:
        exec(trap)
        launch.run(config, data=sys.argv[2], out=Path(sys.argv[3]), device="cpu")
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
COMMAND = """
from dataclasses import replace
from pgbench.cli import main
table1.SCALES["tiny"] = replace(table1.SCALES["smoke"], **{small})
main()
"""


@pytest.fixture
def trapped(program: Command, command: Arguments, small: dict[str, Any]) -> Command:
    """Run the command into a folder, with a trap in it."""

    def run(trap: str, out: Path) -> Any:
        text = PREPARE.replace("{trap}", trap) + COMMAND.replace("{small}", repr(small))
        return program(text, *command(out))

    return run


def only_run(out: Path) -> RunFolder:
    (config,) = out.glob("*/config.json")
    return RunFolder.at(config.parent)


def outcome(run: RunFolder) -> dict[str, Any]:
    """All that must not depend on how often a run was stopped."""
    state = load_state(run.state_path)
    assert state is not None
    del state["train_sec"]
    records, problems = run.records()
    assert problems == []
    status = run.read_status()
    assert status is not None
    return {
        "state": state,
        "values": {(r.kimg, r.metric, r.key): (r.value, r.stderr, r.num_images) for r in records},
        "snapshots": {path.name: path.read_bytes() for path in run.snapshots.iterdir()},
        "status": (status.status, status.kimg),
    }


def same(one: object, two: object) -> bool:
    """Whether two nests of dicts, lists and tensors are equal bit for bit."""
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    return type(one) is type(two) and one == two


def assert_same_outcome(run: RunFolder, straight: RunFolder) -> None:
    one, two = outcome(run), outcome(straight)
    for part in two:
        assert same(one[part], two[part]), part


def statistics(run: RunFolder) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in run.stats_path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMING} for line in lines]


def curves(run: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows, the times left out."""
    board = EventAccumulator(str(run.path))
    board.Reload()
    names = set(board.Tags()["scalars"]) - set(TIMING)
    return {name: [(event.step, event.value) for event in board.Scalars(name)] for name in names}


def pictures(run: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.samples.iterdir()}


# Row g makes 22 steps of 16 images, a tick every 4; a fade lasts from 64 to 128, and the next
# resolution appears after 192. Rows c and e* have other clocks; every trap springs.
MOMENTS = {
    "g": {
        "inside a fade": "at(6, training.Trainer, 'step', kill)",
        "the state half-written": "write_half(1)",
        "statistics written, the state not": "at(1, ticks, 'save_state', kill)",
        "between the two renames": "at(4, checkpoint.Path, 'replace', kill)",
        "between two records": "at(2, RunFolder, 'append_record', kill)",
        "at a resolution change": "at(2, training.Trainer, 'step', kill)",
        "before the last evaluation": "at(1, evaluate, 'load_snapshot', kill)",
    },
    "c": {
        "inside a fade": "at(6, training.Trainer, 'step', kill)",
        "the state half-written": "write_half(2)",
        "a record half-way": "at(3, RunFolder, 'append_record', kill)",
    },
    "e*": {
        "before the first state": "at(3, training.Trainer, 'step', kill)",
        "before the status": "at(3, RunFolder, 'write_status', kill)",
        "snapshot written, the state not": "at(1, ticks, 'save_state', kill)",
    },
    "K/4 progression": {
        "inside a fade": "at(6, training.Trainer, 'step', kill)",
        "the state half-written": "write_half(2)",
    },
}


def small_config(row: str, tiny_config: TinyConfig) -> RunConfig:
    """A row of table 1 or, with its networks and steps, of table 4, a few seconds long."""
    if row in table1.ROWS:  # row c shows five minibatches a step
        return tiny_config(row, schedule={"minibatch": 4 if row == "c" else 16})
    clock, modes = tiny_config("g", schedule={"minibatch": 4}), table4.ROWS[row]
    networks = {name: {"resolution": 16} for name in ("generator", "discriminator")}
    same = {"data": clock.data, "schedule": clock.schedule, "evaluation": clock.evaluation}
    return replace(modes, profile="tiny", **networks, **same)


@pytest.mark.slow
@pytest.mark.parametrize("row", list(MOMENTS))
def test_killed_again_and_again_it_ends_as_the_straight_run(
    row: str, tiny_config: TinyConfig, tiny_store: ImageStore, tmp_path: Path, program: Command
) -> None:
    config, data = small_config(row, tiny_config), str(tiny_store.path)
    traps = json.dumps(list(MOMENTS[row].values()))
    text = PREPARE.replace("{trap}", "") + RUNS
    ended = program(text, config.model_dump_json(), data, tmp_path / "killed", traps)
    codes = dict(zip(MOMENTS[row], ended.out.split(), strict=True))
    assert codes == dict.fromkeys(MOMENTS[row], "-9"), ended.err
    assert "Traceback" not in ended.err
    status = only_run(tmp_path / "killed").read_status()
    assert status is not None
    assert status.status == "running"
    for out in ("killed", "straight"):
        assert launch(config, data=data, out=tmp_path / out, device="cpu").status == "done"
    killed, straight = (only_run(tmp_path / out) for out in ("killed", "straight"))
    assert_same_outcome(killed, straight)
    assert statistics(killed) == statistics(straight)
    assert pictures(killed) == pictures(straight)
    assert curves(killed) == curves(straight)
    assert list(killed.path.rglob("*.tmp")) == []
    assert not killed.state_path.with_name("training-state.pt.new").exists()


INTERRUPTIONS = {
    "Ctrl-C": "at(6, training.Trainer, 'step', interrupt)",
    "SIGTERM while measuring": "at(2, evaluate, 'load_snapshot', terminate)",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", list(INTERRUPTIONS))
def test_interrupted_it_says_so_and_goes_on(
    how: str,
    straight: RunFolder,
    command: Arguments,
    tmp_path: Path,
    trapped: Command,
    pgbench: Command,
) -> None:
    ended = trapped(INTERRUPTIONS[how], tmp_path)
    run = only_run(tmp_path)
    assert (ended.code, ended.out) == (130, "")
    assert "stopping at the next step, with everything saved" in ended.err
    assert f"{run.path} at 0." in ended.err
    assert "was interrupted; the same command goes on from there" in ended.err
    assert "Traceback" not in ended.err
    status, state = run.read_status(), load_state(run.state_path)
    assert status is not None
    assert state is not None
    assert status.status == "interrupted"
    assert 0 < status.kimg == state["nimg"] / 1000 < 0.352
    assert pgbench(*command(tmp_path)).code == 0
    assert_same_outcome(run, straight)
    assert len(json.loads(run.environment_path.read_text())["sessions"]) == 2


@pytest.mark.slow
def test_stopped_after_its_last_step_a_run_is_done_and_no_other_begins(
    straight: RunFolder, tmp_path: Path, trapped: Command
) -> None:
    last = len(straight.records()[0])
    ended = trapped(f"at({last}, RunFolder, 'append_record', terminate)", tmp_path)
    run = only_run(tmp_path)
    assert (ended.code, ended.out) == (130, "")
    assert_same_outcome(run, straight)
    status = run.read_status()
    assert status is not None
    assert status.status == "done"


@pytest.mark.slow
def test_a_second_interrupt_is_served_at_once(
    straight: RunFolder, command: Arguments, tmp_path: Path, trapped: Command, pgbench: Command
) -> None:
    trap = "at(6, training.Trainer, 'step', interrupt); at(2, ticks, 'save_state', interrupt)"
    ended = trapped(trap, tmp_path)
    run = only_run(tmp_path)
    assert (ended.code, "Traceback" in ended.err) == (130, False)
    status = run.read_status()
    assert status is not None
    assert (status.status, status.kimg) == ("interrupted", 0.064)
    assert pgbench(*command(tmp_path)).code == 0
    assert_same_outcome(run, straight)


def test_a_full_disk_is_one_sentence_and_the_last_state_goes_on(
    straight: RunFolder,
    command: Arguments,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pgbench: Command,
) -> None:
    fsync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        ended = pgbench(*command(tmp_path))
    run = only_run(tmp_path)
    *ticks, last = ended.err.splitlines()
    assert (ended.code, ended.out) == (2, "")
    assert (
        last == "Error: No space left on device; make room or choose another place, then try again"
    )
    assert ticks
    assert all(line.startswith("kimg ") for line in ticks)
    state = load_state(run.state_path)
    assert state is not None
    assert 0 < state["nimg"] < 352
    assert pgbench(*command(tmp_path)).code == 0
    assert_same_outcome(run, straight)
    assert statistics(run) == statistics(straight)


@pytest.mark.slow
@pytest.mark.parametrize("fill", ["fill_disk", "fill_disk_of_the_curves"])
def test_writes_that_really_fail_are_one_sentence_too(
    fill: str,
    straight: RunFolder,
    command: Arguments,
    tmp_path: Path,
    trapped: Command,
    pgbench: Command,
) -> None:
    """The limit on a file's size stands for the disk: what is larger does not fit."""
    ended = trapped(f"at(11, training.Trainer, 'step', {fill})", tmp_path)
    run = only_run(tmp_path)
    assert (ended.code, ended.out, "Traceback" in ended.err) == (2, "", False)
    assert [line for line in ended.err.splitlines() if not line.startswith("kimg ")] == [
        "Error: File too large; make room or choose another place, then try again"
    ]
    state = load_state(run.state_path)
    assert state is not None
    assert state["nimg"] == 128
    assert pgbench(*command(tmp_path)).code == 0
    assert_same_outcome(run, straight)


def test_a_damaged_state_goes_on_from_the_one_before(
    straight: RunFolder,
    command: Arguments,
    tmp_path: Path,
    pgbench: Command,
) -> None:
    run = RunFolder(Path(shutil.copytree(straight.path, tmp_path / straight.run_id)))
    run.status_path.unlink()
    run.state_path.write_bytes(run.state_path.read_bytes()[:-1])
    ended = pgbench(*command(tmp_path))
    assert ended.code == 0
    assert "is damaged or missing; going on from training-state-previous.pt" in ended.err
    assert_same_outcome(run, straight)
    assert statistics(run) == statistics(straight)
