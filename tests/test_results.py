"""The run folder and its records: never half-written, never mixed, readable whatever happened."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pgbench.results import (
    RESULT_COLUMNS,
    RUN_COLUMNS,
    Record,
    RunFolder,
    RunStatus,
    load_results,
    load_runs,
)

RUN_ID = "table1-g-portraits-smoke-s0-0123abcd"
CONFIG: dict[str, Any] = {
    "artefact": "table1",
    "row": "g",
    "profile": "smoke",
    "seed": 0,
    "data": {"name": "portraits", "resolution": 32, "mirror": True, "num_images": None},
    "optimiser": {"lr": 1e-3, "beta2": 0.99},
    "schedule": {"total_kimg": 90.0, "minibatch_at": [[4, 64]]},
}


def record(**changes: object) -> Record:
    fields: dict[str, object] = {
        **{"run_id": RUN_ID, "artefact": "table1", "row": "g", "dataset": "portraits"},
        **{"dataset_fingerprint": "f0", "resolution": 32, "profile": "smoke", "seed": 0},
        **{"kimg": 90.0, "metric": "swd2k", "key": "16", "value": 5.5, "stderr": None},
        **{"num_images": 2048, "metric_version": 1, "protocol": {"mirror": True}},
        **{"wall_sec": 1.5, "status": "ok", "error": None},
    }
    return Record.model_validate(fields | changes)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.open(tmp_path / "results", RUN_ID, CONFIG)


def changed(*path: str, to: object) -> dict[str, Any]:
    config = json.loads(json.dumps(CONFIG))
    part = config
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = to
    return config


class TestRecord:
    def test_is_written_with_exactly_the_documented_fields(self) -> None:
        names = (
            "schema run_id artefact row dataset dataset_fingerprint resolution profile seed kimg "
            "metric key value stderr num_images metric_version protocol wall_sec status error"
        )
        assert list(json.loads(record().model_dump_json(by_alias=True))) == names.split()

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
    def test_ok_needs_a_finite_value(self, value: float | None) -> None:
        with pytest.raises(ValidationError):
            record(value=value)

    def test_failed_needs_no_value(self) -> None:
        assert record(value=None, status="failed", error="diverged").value is None

    @pytest.mark.parametrize(
        "changes",
        [
            {"schema": 2},
            {"surprise": 1},
            {"seed": -1},
            {"seed": 2**70},
            {"status": "maybe"},
            {"protocol": {"lr": float("nan")}},
        ],
    )
    def test_refuses_what_is_no_record(self, changes: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            record(**changes)


class TestOpen:
    def test_makes_a_folder_with_its_configuration(self, run: RunFolder) -> None:
        assert json.loads(run.config_path.read_text()) == CONFIG
        assert [path.name for path in run.path.parent.iterdir()] == [RUN_ID]
        assert sorted(path.name for path in run.path.iterdir()) == [
            "config.json",
            "samples",
            "snapshots",
        ]

    def test_opens_the_same_configuration_again(self, run: RunFolder) -> None:
        assert RunFolder.open(run.path.parent, RUN_ID, CONFIG) == run

    @pytest.mark.parametrize(
        ("config", "difference"),
        [
            (changed("optimiser", "lr", to=1e-4), "optimiser.lr is 0.001 there and 0.0001 here"),
            (changed("data", "name", to="scenes"), 'data.name is "portraits" there and "scenes"'),
            (changed("optimiser", "ema", to=0.5), "optimiser.ema is absent there and 0.5 here"),
            (changed("schedule", to={}), "schedule.total_kimg is 90.0 there and absent here"),
            (changed("schedule", "minibatch_at", to=[]), r"minibatch_at is [[4, 64]] there and []"),
        ],
    )
    def test_refuses_another_configuration(
        self, run: RunFolder, config: dict[str, Any], difference: str
    ) -> None:
        with pytest.raises(ValueError, match="choose another --out") as caught:
            RunFolder.open(run.path.parent, RUN_ID, config)
        assert difference in str(caught.value)
        assert "\n" not in str(caught.value)
        assert run.config() == CONFIG

    def test_refuses_a_run_folder_as_out(self, run: RunFolder) -> None:
        with pytest.raises(ValueError, match="is itself a run folder"):
            RunFolder.open(run.path, "another", CONFIG)

    @pytest.mark.parametrize("run_id", ["", ".", "..", ".hidden", "a/b", "../a", "a\n", "a\0"])
    def test_refuses_names_that_lead_elsewhere(self, tmp_path: Path, run_id: str) -> None:
        with pytest.raises(ValueError, match="no plain folder name"):
            RunFolder.open(tmp_path, run_id, CONFIG)
        assert list(tmp_path.iterdir()) == []

    def test_refuses_a_folder_of_something_else(self, tmp_path: Path) -> None:
        (tmp_path / RUN_ID).mkdir()
        with pytest.raises(ValueError, match="is no run folder; move it away"):
            RunFolder.open(tmp_path, RUN_ID, CONFIG)

    @pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, '{"lr": NaN}'])
    def test_refuses_a_damaged_configuration(self, run: RunFolder, text: str) -> None:
        run.config_path.write_text(text)
        with pytest.raises(ValueError, match=r"config\.json is damaged"):
            RunFolder.open(run.path.parent, RUN_ID, CONFIG)

    def test_leaves_nothing_where_it_may_not_write(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(self: Path, target: Path) -> None:
            raise PermissionError(13, "Permission denied", str(target))

        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(PermissionError):
            RunFolder.open(tmp_path, RUN_ID, CONFIG)
        assert list(tmp_path.iterdir()) == []

    def test_a_process_that_is_faster_wins(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rename = Path.rename

        def another_first(self: Path, target: Path) -> None:
            monkeypatch.setattr(Path, "rename", rename)
            RunFolder.open(target.parent, target.name, CONFIG)
            rename(self, target)

        monkeypatch.setattr(Path, "rename", another_first)
        assert RunFolder.open(tmp_path, RUN_ID, CONFIG).config() == CONFIG
        assert [path.name for path in tmp_path.iterdir()] == [RUN_ID]

    def test_at_refuses_what_is_no_run(self, tmp_path: Path, run: RunFolder) -> None:
        assert RunFolder.at(run.path).run_id == RUN_ID
        with pytest.raises(ValueError, match="is no run folder"):
            RunFolder.at(tmp_path)


@contextmanager
def held_by_another(run: RunFolder) -> Iterator["subprocess.Popen[bytes]"]:
    """Another process that holds the lock until its standard input ends."""
    program = (
        "import sys; from pathlib import Path; from pgbench.results import RunFolder\n"
        f"with RunFolder.at(Path({str(run.path)!r})).lock():\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process


class TestLock:
    def test_second_process_is_refused_with_the_first_ones_number(self, run: RunFolder) -> None:
        with held_by_another(run) as first:
            for _ in range(2):
                with (
                    pytest.raises(ValueError, match=rf"another process \(pid {first.pid} on "),
                    run.lock(),
                ):
                    pass
        with run.lock():
            assert (run.path / ".lock-owner").exists()

    def test_is_free_again_after_an_error(self, run: RunFolder) -> None:
        with pytest.raises(KeyError), run.lock():
            raise KeyError
        with run.lock():
            pass

    def test_is_free_again_after_a_kill(self, run: RunFolder) -> None:
        with held_by_another(run) as other:
            other.kill()
            other.wait()
            with run.lock():
                pass


class TestLines:
    def test_statistics_never_hold_nan(self, run: RunFolder) -> None:
        run.append_stats({"kimg": 1.0, "loss": float("nan"), "lod": 2.5})
        assert run.stats_path.read_text() == '{"kimg": 1.0, "loss": null, "lod": 2.5}\n'

    def test_statistics_need_their_clock(self, run: RunFolder) -> None:
        with pytest.raises(ValueError, match="have no kimg"):
            run.append_stats({"loss": 1.0})

    def test_torn_last_line_costs_itself_alone(self, run: RunFolder) -> None:
        run.append_record(record(key="16"))
        whole = run.metrics_path.read_bytes()
        run.metrics_path.write_bytes(whole + whole[:40])
        records, problems = run.records()
        assert [one.key for one in records] == ["16"]
        assert len(problems) == 1
        assert "metrics.jsonl line 2 is no record" in problems[0]
        run.append_record(record(key="32"))
        assert [one.key for one in run.records()[0]] == ["16", "32"]

    def test_line_that_lacks_only_its_end_is_kept(self, run: RunFolder) -> None:
        run.append_record(record(key="16"))
        run.metrics_path.write_bytes(run.metrics_path.read_bytes().rstrip())
        run.append_record(record(key="32"))
        records, problems = run.records()
        assert [one.key for one in records] == ["16", "32"]
        assert problems == []

    @pytest.mark.parametrize(
        "line", [b"\xff\xfe", b"[" * 100_000, b"null", b'{"schema": 2}', b"", b'{"value": NaN}']
    )
    def test_foreign_lines_are_set_aside_with_their_number(
        self, run: RunFolder, line: bytes
    ) -> None:
        run.append_record(record(key="16"))
        run.metrics_path.write_bytes(line + b"\n" + run.metrics_path.read_bytes())
        records, (problem,) = run.records()
        assert [one.key for one in records] == ["16"]
        assert "metrics.jsonl line 1 is no record" in problem

    def test_records_of_another_run_are_set_aside(self, run: RunFolder) -> None:
        run.append_record(record(run_id="other"))
        assert run.records() == (
            [],
            [f"{run.metrics_path} line 1 belongs to run 'other' and was set aside."],
        )


class TestClock:
    def test_snapshots_sort_by_the_clock(self, run: RunFolder) -> None:
        for kimg in (1200.0, 90.0, 90.5):
            run.snapshot_path(kimg).touch()
        (run.snapshots / ".G_ema-000001.0.safetensors.tmp").touch()
        assert [kimg for kimg, _ in run.snapshots_done()] == [90.0, 90.5, 1200.0]
        names = sorted(path.name for path in run.snapshots.glob("G*"))
        assert names == [path.name for _, path in run.snapshots_done()]
        assert names[0] == "G_ema-000090.0.safetensors"

    def test_rewind_drops_what_came_later(self, run: RunFolder) -> None:
        for kimg in (30.0, 60.0, 90.0):
            run.append_stats({"kimg": kimg})
            run.append_record(record(kimg=kimg))
            run.snapshot_path(kimg).touch()
        with run.stats_path.open("a") as file:
            file.write('{"kimg": 9')
        run.rewind(60.0)
        assert run.stats_path.read_text() == '{"kimg": 30.0}\n{"kimg": 60.0}\n'
        assert [one.kimg for one in run.records()[0]] == [30.0, 60.0]
        assert [kimg for kimg, _ in run.snapshots_done()] == [30.0, 60.0]

    def test_rewind_keeps_the_record_of_a_snapshot_whose_name_is_rounded(
        self, run: RunFolder
    ) -> None:
        run.append_stats({"kimg": 59.968})
        run.append_record(record(kimg=60.0))
        run.rewind(59.968)
        assert len(run.records()[0]) == 1
        assert run.stats_path.read_text() == '{"kimg": 59.968}\n'

    def test_rewind_of_a_fresh_run_does_nothing(self, run: RunFolder) -> None:
        run.rewind(0.0)
        assert not run.stats_path.exists()


class TestStatus:
    def test_is_read_as_written(self, run: RunFolder) -> None:
        assert run.read_status() is None
        status = RunStatus(status="running", kimg=45, total_kimg=90, wall_sec=12.5)
        run.write_status(status)
        assert run.read_status() == status
        assert status.updated.utcoffset() is not None

    def test_damage_is_told(self, run: RunFolder) -> None:
        run.status_path.write_text('{"status": "sleeping"}')
        with pytest.raises(ValueError, match=r"status\.json is damaged .*; delete it"):
            run.read_status()


class TestLoad:
    def test_one_value_a_row(self, run: RunFolder) -> None:
        run.write_status(RunStatus(status="done", kimg=90, total_kimg=90, wall_sec=7))
        run.append_record(record(key="16", value=5.5))
        run.append_record(record(key="32", value=None, status="skipped", error="no reals"))
        frame = load_results(run.path.parent)
        assert list(frame.columns) == RESULT_COLUMNS
        assert frame["value"].isna().tolist() == [False, True]
        first = frame.iloc[0]
        assert (first["value"], first["protocol"]) == (5.5, '{"mirror": true}')
        assert (first["run_status"], first["run_kimg"], first["total_kimg"]) == ("done", 90, 90)
        assert load_results(run.path).equals(frame)

    def test_the_last_of_duplicates_wins(self, run: RunFolder) -> None:
        for value, version in ((1.0, 1), (2.0, 1), (3.0, 2)):
            run.append_record(record(value=value, metric_version=version))
        assert load_results(run.path)["value"].tolist() == [2.0, 3.0]

    def test_runs_have_a_row_each(self, run: RunFolder) -> None:
        RunFolder.open(run.path.parent / "more", "second", changed("seed", to=1)).write_status(
            RunStatus(status="failed", kimg=12.5, total_kimg=90, wall_sec=60, error="diverged")
        )
        frame = load_runs(run.path.parent)
        assert list(frame.columns) == RUN_COLUMNS
        columns = ["run_id", "seed", "status", "kimg", "total_kimg", "error"]
        assert frame[columns].to_numpy().tolist() == [
            ["second", 1, "failed", 12.5, 90.0, "diverged"],
            [RUN_ID, 0, "interrupted", 0.0, 90.0, None],
        ]
        assert frame["path"].tolist() == [run.path.parent / "more" / "second", run.path]
        assert frame["config_hash"].nunique() == 1  # only the seed differs

    def test_hidden_folders_and_circles_are_passed_by(self, run: RunFolder) -> None:
        RunFolder.open(run.path.parent / ".trash", "old", CONFIG)
        (run.path.parent / "circle").symlink_to(run.path.parent)
        assert load_runs(run.path.parent)["run_id"].tolist() == [RUN_ID]

    def test_the_same_run_twice_counts_once(self, run: RunFolder) -> None:
        (run.path.parent / "zz").mkdir()
        (run.path.parent / "zz" / RUN_ID).symlink_to(run.path)
        frame = load_runs(run.path.parent)
        assert len(frame) == 1
        assert frame.attrs["problems"][0].endswith(f"{run.path} is the same run.")

    @pytest.mark.parametrize("text", ["{", '{"architectures": ["Bert"]}'])
    def test_foreign_folders_are_set_aside(self, run: RunFolder, text: str) -> None:
        other = run.path.parent / "other"
        other.mkdir()
        (other / "config.json").write_text(text)
        for frame in (load_runs(run.path.parent), load_results(run.path.parent)):
            assert f"{other} was set aside" in frame.attrs["problems"][0]

    def test_empty_folder_makes_empty_frames(self, tmp_path: Path) -> None:
        assert load_results(tmp_path).empty
        assert list(load_results(tmp_path).columns) == RESULT_COLUMNS
        assert list(load_runs(tmp_path).columns) == RUN_COLUMNS

    def test_refuses_what_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match="does not exist"):
            load_results(tmp_path / "nowhere")
        with pytest.raises(ValueError, match="is a file"):
            load_runs(tmp_path / "file")
