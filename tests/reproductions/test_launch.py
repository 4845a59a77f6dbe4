"""Launching: what is refused, what is not done twice, and what a diverged run leaves."""

import errno
import json
import logging
import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pgbench import steps, training
from pgbench.checkpoint import load_state, save_state
from pgbench.config import RunConfig, replace
from pgbench.data import ImageStore
from pgbench.losses import g_loss
from pgbench.reproductions import table1
from pgbench.reproductions.launch import run as launch
from pgbench.results import RunFolder

Command = Callable[..., Any]
TinyConfig = Callable[..., RunConfig]
Arguments = Callable[[Path], list[str]]


def only_run(out: Path) -> RunFolder:
    (config,) = out.glob("*/config.json")
    return RunFolder.at(config.parent)


def statistics(run: RunFolder) -> list[dict[str, float]]:
    return [json.loads(line) for line in run.stats_path.read_text().splitlines()]


def test_a_folder_that_may_not_be_written_is_told(
    command: Arguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pgbench: Command
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    ended = pgbench(*command(tmp_path / "results"))
    assert (ended.code, ended.out) == (2, "")
    why = "Permission denied; make room or choose another place, then try again"
    assert ended.err == f"Error: {tmp_path / 'results'}: {why}\n"


class TestOut:
    def test_a_file_is_no_folder(
        self, command: Arguments, tmp_path: Path, pgbench: Command
    ) -> None:
        (tmp_path / "file").touch()
        ended = pgbench(*command(tmp_path / "file" / "results"))
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "Not a directory" in ended.err

    def test_a_finished_run_is_not_run_again(
        self,
        straight: RunFolder,
        command: Arguments,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        pgbench: Command,
    ) -> None:
        shutil.copytree(straight.path.parent, tmp_path / "results")
        run = only_run(tmp_path / "results")

        def everything() -> dict[Path, tuple[bytes, int]]:
            files = (path for path in run.path.rglob("*") if path.is_file())
            kept = (path for path in files if path != run.log_path)
            return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in kept}

        before, log = everything(), run.log_path.read_text()
        monkeypatch.setenv("COLUMNS", "120")
        ended = pgbench(*command(tmp_path / "results"))
        assert (ended.code, ended.err) == (0, f"{run.path} is done already\n")
        assert everything() == before
        added = run.log_path.read_text().removeprefix(log)
        assert added.endswith(f"INFO {run.path} is done already\n")
        assert "row g, tiny: done" in ended.out
        headings = next(line for line in ended.out.splitlines() if "published" in line)
        assert [cell.strip() for cell in headings.strip("┃").split("┃")] == [
            "",
            "published",
            "ours: tiny 16²",
            "difference",
        ]

    def test_another_process_on_it_is_refused(
        self, straight: RunFolder, command: Arguments, pgbench: Command
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
                command(straight.path.parent),
                ["evaluate", str(straight.path), "--device", "cpu"],
            ):
                ended = pgbench(*verb)
                assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
                assert f"is being written by another process (pid {other.pid} on " in ended.err

    def test_another_configuration_is_refused(
        self, straight: RunFolder, command: Arguments, tmp_path: Path, pgbench: Command
    ) -> None:
        shutil.copytree(straight.path, tmp_path / "results" / straight.run_id)
        run = only_run(tmp_path / "results")
        config = json.loads(run.config_path.read_text())
        config["optimiser"]["lr"] = 0.5
        run.config_path.write_text(json.dumps(config))
        ended = pgbench(*command(tmp_path / "results"))
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "holds another configuration: optimiser.lr is 0.5 there and 0.001 here" in ended.err

    def test_a_run_folder_is_no_place_for_runs(
        self, straight: RunFolder, command: Arguments, pgbench: Command
    ) -> None:
        ended = pgbench(*command(straight.path), "--seed", "1")
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
        self, command: Arguments, tmp_path: Path, pgbench: Command
    ) -> None:
        arguments = command(tmp_path)
        arguments[arguments.index("tiny")] = "smoke"
        ended = pgbench(*arguments)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "holds 192 images and a metric needs 256; take a smaller profile" in ended.err
        assert list(only_run(tmp_path).samples.iterdir()) == []

    def test_too_coarse_for_the_profile_are_told_before_training(
        self, command: Arguments, tmp_path: Path, pgbench: Command
    ) -> None:
        arguments = command(tmp_path)
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


class TestState:
    def refused(self, world: Any, why: str) -> None:
        run = RunFolder.at(world.run)
        run.status_path.unlink()
        before = run.metrics_path.read_bytes()
        with pytest.raises(ValueError, match=why):
            launch(world.config, data=str(world.store.path), out=world.out, device="cpu")
        assert run.metrics_path.read_bytes() == before

    def test_when_both_are_damaged_nothing_is_touched(self, copied: Any) -> None:
        for name in ("training-state.pt", "training-state-previous.pt"):
            (copied.run / name).write_bytes(b"")
        self.refused(copied, r"every training state in .* is damaged; remove that folder")

    def test_that_lacks_a_weight_is_told(self, copied: Any) -> None:
        path = copied.run / "training-state.pt"
        state = load_state(path)
        assert state is not None
        del state["networks"]["G"]["blocks.0.0.conv.weight"]
        save_state(path, state)
        self.refused(copied, r"training-state\.pt is no state of this run; remove it")

    def test_that_lacks_a_part_is_told(self, copied: Any) -> None:
        save_state(copied.run / "training-state.pt", {"weights": 1})
        self.refused(copied, r"training-state\.pt is no state of this run; remove it")


@pytest.fixture
def _g_diverges_and_f_is_next() -> Iterator[None]:
    rows = dict(table1.ROWS)
    table1.ROWS.clear()
    table1.ROWS.update(g=replace(table1.G, optimiser={"lr": 1e30}), f=table1.F)
    yield
    table1.ROWS.clear()
    table1.ROWS.update(rows)  # in their order


@pytest.mark.usefixtures("_g_diverges_and_f_is_next")
def test_a_diverged_run_is_exit_code_1_and_the_next_row_is_run(
    command: Arguments, tmp_path: Path, pgbench: Command
) -> None:
    arguments = command(tmp_path)
    arguments[arguments.index("g")] = "all"
    ended = pgbench(*arguments)
    assert (ended.code, "Traceback" in ended.err) == (1, False)
    assert " failed: diverged: " in ended.err
    assert "row g, tiny: failed" in ended.out
    assert "row f, tiny: done" in ended.out


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


def test_what_a_killed_video_left_in_the_folder_goes(
    command: Arguments, pgbench: Command, tmp_path: Path, straight: RunFolder
) -> None:
    shutil.copytree(straight.path, tmp_path / straight.path.name)
    run = only_run(tmp_path)
    run.status_path.unlink()
    left = run.path / ".walk.mp4.abcd1234.tmp"
    left.mkdir()
    (left / "video.mp4").touch()
    (run.path / ".config.json.tmp").touch()
    assert pgbench(*command(tmp_path)).code == 0
    assert list(run.path.glob(".*.tmp")) == []


def test_handlers_are_given_back(command: Arguments, pgbench: Command, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    handlers = list(logging.getLogger("pgbench").handlers)
    pgbench(*command(tmp_path))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert logging.getLogger("pgbench").handlers == handlers


@pytest.fixture
def _nan_after_12_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def bad(scores: Tensor, config: Any) -> Tensor:
        calls.append(1)
        return g_loss(scores, config) * (math.nan if len(calls) > 12 else 1.0)

    monkeypatch.setattr(steps, "g_loss", bad)


class TestDivergence:
    def diverged(self, config: RunConfig, store: ImageStore, out: Path) -> RunFolder:
        status = launch(config, data=str(store.path), out=out, device="cpu")
        assert status.status == "failed"
        assert status.error is not None
        assert status.error.startswith("diverged: ")
        run = RunFolder.at(out / config.run_id)
        assert run.read_status() == status
        return run

    @pytest.mark.usefixtures("_nan_after_12_steps")
    def test_the_last_good_state_is_kept(
        self, tiny_config: TinyConfig, tiny_store: ImageStore, tmp_path: Path
    ) -> None:
        run = self.diverged(tiny_config(), tiny_store, tmp_path)
        status, state = run.read_status(), load_state(run.state_path)
        assert status is not None
        assert state is not None
        assert status.kimg == 0.192  # 12 steps of 16 images: the third tick
        assert state["nimg"] == 192
        for network in state["networks"].values():
            assert all(weight.isfinite().all() for weight in network.values())
        assert [line["kimg"] for line in statistics(run)] == [0.064, 0.128, 0.192]

    def test_a_hopeless_learning_rate_leaves_no_state(
        self, tiny_config: TinyConfig, tiny_store: ImageStore, tmp_path: Path
    ) -> None:
        run = self.diverged(tiny_config(optimiser={"lr": 1e30}), tiny_store, tmp_path)
        assert load_state(run.state_path) is None
        assert not run.stats_path.exists()
        assert run.snapshots_done() == []


def test_too_little_memory_is_one_sentence_and_the_run_can_go_on(
    command: Arguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pgbench: Command
) -> None:
    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB.")

    monkeypatch.setattr(training.Trainer, "step", exhausted)
    ended = pgbench(*command(tmp_path))
    assert ended.code == 2
    assert ended.err.endswith(
        "Error: cpu has too little memory for this profile; take a smaller one\n"
    )
    status = only_run(tmp_path).read_status()
    assert status is not None
    assert (status.status, status.error) == ("interrupted", "out of memory")
