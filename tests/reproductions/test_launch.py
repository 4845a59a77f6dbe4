"""A run survives kills, interruptions and full disks, and ends as if nothing had happened."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace as change
from pathlib import Path
from typing import Any

import pytest
import torch

from pgbench.checkpoint import load_state
from pgbench.config import RunConfig, replace
from pgbench.data import ImageStore
from pgbench.reproductions import table1
from pgbench.reproductions.launch import run as launch
from pgbench.results import RunFolder, RunStatus

Command = Callable[..., Any]
TinyConfig = Callable[..., RunConfig]
TIMING = ("images_per_sec", "train_sec", "peak_memory_mb")
SMALL = {"resolution": 16, "fmap_base": 32, "fmap_max": 8, "phase_kimg": 0.064}
SMALL |= {"total_kimg": 0.352, "tick_kimg": 0.064, "snapshot_ticks": 2, "num_images": None}
SMALL |= {"snapshot_metrics": ("swd64", "msssim16"), "final_metrics": ("swd128",)}

# A program that runs something with a trap in it: `at` calls `act` before the n-th call.
PREPARE = """
import errno, os, resource, signal, sys
from pathlib import Path
import torch
from pgbench import checkpoint, evaluate, training
from pgbench.reproductions import launch, table1
from pgbench.results import RunFolder
torch.set_num_threads(1)
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
    os.kill(os.getpid(), signal.SIGINT)
def terminate():
    os.kill(os.getpid(), signal.SIGTERM)
def write_half(number):
    real = checkpoint.write_atomically
    def trapped(path, write):
        calls.append(path.suffix == ".new")
        half = lambda file: (file.write(b"half"), file.flush(), kill())
        return real(path, half if calls[-1] and sum(calls) == number else write)
    calls, checkpoint.write_atomically = [], trapped
def fill_disk():
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
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
COMMAND = f"""
from dataclasses import replace
from pgbench.cli import main
table1.SCALES["tiny"] = replace(table1.SCALES["smoke"], **{SMALL!r})
main()
"""


@pytest.fixture(autouse=True)
def _tiny_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(table1.SCALES, "tiny", change(table1.SCALES["smoke"], **SMALL))


def command(store: ImageStore, out: Path) -> list[str]:
    fixed = ["run", "ablation", "--row", "g", "--profile", "tiny", "--device", "cpu"]
    return [*fixed, "--data", str(store.path), "--out", str(out)]


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
    return {
        "state": state,
        "values": {(r.kimg, r.metric, r.key): (r.value, r.stderr, r.num_images) for r in records},
        "snapshots": {path.name: path.read_bytes() for path in run.snapshots.iterdir()},
        "status": (run.read_status() or RunStatus).model_dump(include={"status", "kimg"}),  # type: ignore[call-arg, arg-type]
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


def pictures(run: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.samples.iterdir()}


# Row g makes 22 steps of 16 images, a tick every 4; a fade lasts from 64 to 128, and the next
# resolution appears after 192. Rows c and e* have other clocks; every trap springs.
MOMENTS = {
    "g": {
        "inside a fade": "at(6, training.Trainer, 'step', kill)",
        "the state half-written": "write_half(1)",
        "statistics written, the state not": "at(1, training, 'save_state', kill)",
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
        "snapshot written, the state not": "at(1, training, 'save_state', kill)",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("row", list(MOMENTS))
def test_killed_again_and_again_it_ends_as_the_straight_run(
    row: str, tiny_config: TinyConfig, tiny_store: ImageStore, tmp_path: Path, program: Command
) -> None:
    minibatch = 4 if row == "c" else 16  # row c shows five minibatches a step
    config, data = tiny_config(row, schedule={"minibatch": minibatch}), str(tiny_store.path)
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
    assert list(killed.path.rglob("*.tmp")) == []
    assert not killed.state_path.with_name("training-state.pt.new").exists()


@pytest.fixture(scope="module")
def straight(tiny_store: ImageStore, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """What the command leaves when nothing happens; not to be changed."""
    out, data = tmp_path_factory.mktemp("straight"), str(tiny_store.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(table1.SCALES, "tiny", change(table1.SCALES["smoke"], **SMALL))
        config = table1.row_config(
            "g", profile="tiny", dataset="tiny", mirror=True, num_images=None, seed=0
        )
    assert launch(config, data=data, out=out, device="cpu").status == "done"
    return only_run(out)


INTERRUPTIONS = {
    "Ctrl-C": "at(6, training.Trainer, 'step', interrupt)",
    "SIGTERM while measuring": "at(2, evaluate, 'load_snapshot', terminate)",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", list(INTERRUPTIONS))
def test_interrupted_it_says_so_and_goes_on(
    how: str,
    straight: RunFolder,
    tiny_store: ImageStore,
    tmp_path: Path,
    program: Command,
    pgbench: Command,
) -> None:
    text = PREPARE.replace("{trap}", INTERRUPTIONS[how]) + COMMAND
    ended = program(text, *command(tiny_store, tmp_path))
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
    assert pgbench(*command(tiny_store, tmp_path)).code == 0
    assert_same_outcome(run, straight)
    assert len(json.loads(run.environment_path.read_text())["sessions"]) == 2


@pytest.mark.slow
def test_a_second_interrupt_is_served_at_once(
    straight: RunFolder, tiny_store: ImageStore, tmp_path: Path, program: Command, pgbench: Command
) -> None:
    trap = "at(6, training.Trainer, 'step', interrupt); at(2, training, 'save_state', interrupt)"
    ended = program(PREPARE.replace("{trap}", trap) + COMMAND, *command(tiny_store, tmp_path))
    run = only_run(tmp_path)
    assert (ended.code, "Traceback" in ended.err) == (130, False)
    status = run.read_status()
    assert status is not None
    assert (status.status, status.kimg) == ("interrupted", 0.064)
    assert pgbench(*command(tiny_store, tmp_path)).code == 0
    assert_same_outcome(run, straight)


def test_a_full_disk_is_one_sentence_and_the_last_state_goes_on(
    straight: RunFolder,
    tiny_store: ImageStore,
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
        ended = pgbench(*command(tiny_store, tmp_path))
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
    assert pgbench(*command(tiny_store, tmp_path)).code == 0
    assert_same_outcome(run, straight)
    assert statistics(run) == statistics(straight)


@pytest.mark.slow
def test_writes_that_really_fail_are_one_sentence_too(
    straight: RunFolder, tiny_store: ImageStore, tmp_path: Path, program: Command, pgbench: Command
) -> None:
    """The limit on a file's size stands for the disk: states do not fit, small files do."""
    trap = "at(11, training.Trainer, 'step', fill_disk)"
    ended = program(PREPARE.replace("{trap}", trap) + COMMAND, *command(tiny_store, tmp_path))
    run = only_run(tmp_path)
    assert (ended.code, ended.out, "Traceback" in ended.err) == (2, "", False)
    assert [line for line in ended.err.splitlines() if not line.startswith("kimg ")] == [
        "Error: File too large; make room or choose another place, then try again"
    ]
    state = load_state(run.state_path)
    assert state is not None
    assert state["nimg"] == 128
    assert pgbench(*command(tiny_store, tmp_path)).code == 0
    assert_same_outcome(run, straight)


def test_a_folder_that_may_not_be_written_is_told(
    tiny_store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pgbench: Command
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    ended = pgbench(*command(tiny_store, tmp_path / "results"))
    assert (ended.code, ended.out) == (2, "")
    why = "Permission denied; make room or choose another place, then try again"
    assert ended.err == f"Error: {tmp_path / 'results'}: {why}\n"


class TestOut:
    def test_a_file_is_no_folder(
        self, tiny_store: ImageStore, tmp_path: Path, pgbench: Command
    ) -> None:
        (tmp_path / "file").touch()
        ended = pgbench(*command(tiny_store, tmp_path / "file" / "results"))
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "Not a directory" in ended.err

    def test_a_finished_run_is_not_run_again(
        self, straight: RunFolder, tiny_store: ImageStore, tmp_path: Path, pgbench: Command
    ) -> None:
        shutil.copytree(straight.path.parent, tmp_path / "results")
        run = only_run(tmp_path / "results")

        def everything() -> dict[Path, tuple[bytes, int]]:
            files = (path for path in run.path.rglob("*") if path.is_file())
            kept = (path for path in files if path != run.log_path)
            return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in kept}

        before, log = everything(), run.log_path.read_text()
        ended = pgbench(*command(tiny_store, tmp_path / "results"))
        assert (ended.code, ended.err) == (0, f"{run.path} is done already\n")
        assert everything() == before
        added = run.log_path.read_text().removeprefix(log)
        assert added.endswith(f"INFO {run.path} is done already\n")
        assert "row g, tiny 16², tiny: done" in ended.out

    def test_another_process_on_it_is_refused(
        self, straight: RunFolder, tiny_store: ImageStore, pgbench: Command
    ) -> None:
        text = (
            "import sys; from pathlib import Path; from pgbench.results import RunFolder\n"
            "with RunFolder.at(Path(sys.argv[1])).lock():\n"
            "    print('held', flush=True); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", text, str(straight.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            for verb in (
                command(tiny_store, straight.path.parent),
                ["evaluate", str(straight.path), "--device", "cpu"],
            ):
                ended = pgbench(*verb)
                assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
                assert f"is being written by another process (pid {other.pid} on " in ended.err

    def test_another_configuration_is_refused(
        self, straight: RunFolder, tiny_store: ImageStore, tmp_path: Path, pgbench: Command
    ) -> None:
        shutil.copytree(straight.path, tmp_path / "results" / straight.run_id)
        run = only_run(tmp_path / "results")
        config = json.loads(run.config_path.read_text())
        config["optimiser"]["lr"] = 0.5
        run.config_path.write_text(json.dumps(config))
        ended = pgbench(*command(tiny_store, tmp_path / "results"))
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "holds another configuration: optimiser.lr is 0.5 there and 0.001 here" in ended.err

    def test_a_run_folder_is_no_place_for_runs(
        self, straight: RunFolder, tiny_store: ImageStore, pgbench: Command
    ) -> None:
        ended = pgbench(*command(tiny_store, straight.path), "--seed", "1")
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "is itself a run folder; choose another --out" in ended.err


class TestData:
    def test_that_changed_between_two_calls_are_refused(self, copied: Any, tmp_path: Path) -> None:
        run = RunFolder.at(copied.run)
        run.status_path.unlink()
        changed = shutil.copytree(copied.store.path, tmp_path / "changed")
        info = json.loads((changed / "dataset.json").read_text())
        info["fingerprint"]["16"] = "0" * 64
        (changed / "dataset.json").write_text(json.dumps(info))
        state = run.state_path.read_bytes()
        with pytest.raises(ValueError, match=f"{changed} holds other pixels than the run began"):
            launch(copied.config, data=str(changed), out=copied.out, device="cpu")
        assert run.state_path.read_bytes() == state
        moved = shutil.copytree(copied.store.path, tmp_path / "moved")
        assert launch(copied.config, data=str(moved), out=copied.out, device="cpu").status == "done"

    def test_of_another_name_are_refused(self, finished: Any, tmp_path: Path) -> None:
        config = replace(finished.config, data={"name": "other"})
        with pytest.raises(ValueError, match="holds tiny and the run is of other"):
            launch(config, data=str(finished.store.path), out=tmp_path, device="cpu")

    def test_too_few_for_the_last_metric_are_told_before_training(
        self, tiny_store: ImageStore, tmp_path: Path, pgbench: Command
    ) -> None:
        arguments = command(tiny_store, tmp_path)
        arguments[arguments.index("tiny")] = "smoke"
        ended = pgbench(*arguments)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "holds 192 images and a metric needs 256; take a smaller profile" in ended.err
        assert pictures(only_run(tmp_path)) == {}

    def test_too_coarse_for_the_profile_are_told_before_training(
        self, tiny_store: ImageStore, tmp_path: Path, pgbench: Command
    ) -> None:
        arguments = command(tiny_store, tmp_path)
        arguments[arguments.index("tiny")] = "desktop"
        ended = pgbench(*arguments)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "has no images of 32x32, only 16, 8, 4; prepare" in ended.err

    def test_a_handful_of_pictures_is_enough_to_train(
        self, tiny_config: TinyConfig, tiny_store: ImageStore, tmp_path: Path
    ) -> None:
        """Fewer than a sheet shows, than a minibatch and than initialise e*."""
        config = tiny_config(
            "e*", data={"num_images": 5}, schedule={"total_kimg": 0.064}, evaluation={"final": ()}
        )
        launch(config, data=str(tiny_store.path), out=tmp_path, device="cpu")
        status = only_run(tmp_path).read_status()
        assert status is not None
        assert status.status == "done"


@pytest.mark.parametrize("damage", ["one", "both", "foreign"])
def test_a_damaged_state(damage: str, copied: Any, caplog: pytest.LogCaptureFixture) -> None:
    run = RunFolder.at(copied.run)
    run.status_path.unlink()
    whole, before = outcome_without_status(run), run.state_path
    previous = before.with_name("training-state-previous.pt")

    def go_on() -> RunStatus:
        data = str(copied.store.path)
        return launch(copied.config, data=data, out=copied.out, device="cpu")

    if damage == "one":
        before.write_bytes(before.read_bytes()[:-1])
        assert go_on().status == "done"
        assert "going on from training-state-previous.pt" in caplog.text
        assert same(outcome_without_status(run), whole)
        return
    if damage == "both":
        for path in (before, previous):
            path.write_bytes(b"")
        why = "every training state in .* is damaged; remove that folder to start anew"
    else:
        from pgbench.checkpoint import save_state

        state = load_state(before)
        assert state is not None
        del state["networks"]["G"]["blocks.0.0.conv.weight"]
        save_state(before, state)
        why = "is no state of this run; remove it"
    with pytest.raises(ValueError, match=why):
        go_on()


def outcome_without_status(run: RunFolder) -> dict[str, Any]:
    run.status_path.unlink(missing_ok=True)
    state = load_state(run.state_path)
    assert state is not None
    del state["train_sec"]
    records = {(r.kimg, r.metric, r.key): r.value for r in run.records()[0]}
    return {"state": state, "records": records, "statistics": statistics(run)[0]}


def test_a_diverged_run_is_exit_code_1_and_the_next_row_is_run(
    tiny_store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pgbench: Command
) -> None:
    bad = replace(table1.G, optimiser={"lr": 1e30})
    monkeypatch.setattr(table1, "ROWS", {"g": bad, "f": table1.F})
    arguments = command(tiny_store, tmp_path)
    arguments[arguments.index("g")] = "all"
    ended = pgbench(*arguments)
    assert (ended.code, "Traceback" in ended.err) == (1, False)
    assert " failed: diverged: " in ended.err
    assert "row g, tiny 16², tiny: failed" in ended.out
    assert "row f, tiny 16², tiny: done" in ended.out


def test_the_folder_tells_what_happened(straight: RunFolder, tiny_store: ImageStore) -> None:
    (session,) = json.loads(straight.environment_path.read_text())["sessions"]
    assert session["data"] == str(tiny_store.path)
    assert (session["threads"], session["deterministic"]) == (1, True)
    log = straight.log_path.read_text().splitlines()
    assert len(log) == 6 + 3 * 2 + 1  # ticks, metrics of the snapshots, the last metric
    assert all(" INFO kimg " in line for line in log)
    status = straight.read_status()
    assert status is not None
    assert (status.status, status.kimg, status.total_kimg) == ("done", 0.352, 0.352)
    assert status.wall_sec > 0


def test_handlers_are_given_back(
    finished: Any, tiny_store: ImageStore, pgbench: Command, tmp_path: Path
) -> None:
    import logging
    import signal

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    handlers = list(logging.getLogger("pgbench").handlers)
    pgbench(*command(tiny_store, tmp_path))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert logging.getLogger("pgbench").handlers == handlers
