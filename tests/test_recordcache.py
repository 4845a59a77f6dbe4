"""What was read of records is kept, and counts only while it is sound and the records the same."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgbench.recordcache import Read, read_runs
from pgbench.records import FIELDS, Columns, Record, read_columns

RUN_ID = "r"
Damage = Callable[[bytes], bytes]


def line(**changes: object) -> str:
    fields: dict[str, object] = {
        **{"run_id": RUN_ID, "artefact": "table1", "row": "g", "dataset": "portraits"},
        **{"dataset_fingerprint": "f0", "resolution": 32, "profile": "smoke", "seed": 0},
        **{"kimg": 90.0, "metric": "swd2k", "key": "16", "value": 5.5, "stderr": None},
        **{"num_images": 2048, "metric_version": 1, "protocol": {"mirror": True, "a": [1]}},
        **{"wall_sec": 1.5, "status": "ok", "error": None},
    }
    return Record.model_validate(fields | changes).model_dump_json(by_alias=True)


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "metrics.jsonl"
    path.parent.mkdir()
    failed = line(key="8", value=None, status="failed", error="diverged \N{BOMB}")
    lines = [line(), line(key="32", value=-0.0), line(key="4", value=0.0), failed, "torn"]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def read(metrics: Path, cache: Path | None, run_id: str = RUN_ID) -> Read:
    return read_runs([(metrics, run_id)], cache=cache)


def same(one: Read, other: Read) -> bool:
    """To the sign of zero and the type of every column."""
    shown = [
        {name: (array.dtype, *array) for name, array in read[0].items()} for read in (one, other)
    ]
    return repr(shown[0]) == repr(shown[1]) and one[1:] == other[1:]


def refuse(path: Path, run_id: str) -> Columns:
    raise AssertionError(f"{path} of {run_id} was read again")


def test_what_is_kept_is_what_was_read(
    metrics: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read(metrics, cache)
    assert same(first, read(metrics, None))
    plain, problems = read_columns(metrics, RUN_ID)
    assert first.problems == problems
    for name, values in plain.items():
        wanted = [np.nan if value is None else value for value in values]
        wanted = values if first.columns[name].dtype == object else wanted
        assert repr(first.columns[name].tolist()) == repr(wanted)
    monkeypatch.setattr("pgbench.recordcache.read_columns", refuse)
    assert same(read(metrics, cache), first)
    assert (cache / ".gitignore").read_text() == "*\n"


def test_columns_are_the_fields(metrics: Path) -> None:
    columns, counts, (problem,) = read(metrics, None)
    assert list(columns) == list(FIELDS.values())
    assert counts == [4]
    assert columns["protocol"].tolist() == ['{"a": [1], "mirror": true}'] * 4
    assert columns["error"].tolist() == [None, None, None, "diverged \N{BOMB}"]
    assert {array.dtype.name for array in columns.values()} == {"object", "int64", "float64"}
    assert problem.startswith(f"{metrics} line 5 is no record (Invalid JSON")


def test_no_file_is_no_records(tmp_path: Path, cache: Path) -> None:
    for _ in range(2):
        columns, counts, problems = read(tmp_path / "metrics.jsonl", cache)
        assert (set(map(len, columns.values())), counts, problems) == ({0}, [0], [])
    assert set(map(len, read_runs([], cache=cache).columns.values())) == {0}


def test_several_runs_and_one_more(metrics: Path, tmp_path: Path, cache: Path) -> None:
    """Texts that an earlier report did not know, and an order that it did not have."""
    other = tmp_path / "other" / "metrics.jsonl"
    other.parent.mkdir()
    other.write_text(line(run_id="other", key="new", row="a\nb") + "\n")
    read(metrics, cache)
    runs = [(other, "other"), (metrics, RUN_ID)]
    for _ in range(2):
        found = read_runs(runs, cache=cache)
        assert same(found, read_runs(runs))
        assert found.counts == [1, 4]
        assert found.columns["key"].tolist() == ["new", "16", "32", "4", "8"]
    assert same(read(metrics, cache), read(metrics, None))


def appended(metrics: Path) -> None:
    with metrics.open("a") as file:
        file.write(line(key="64") + "\n")


def rewritten(metrics: Path) -> None:
    metrics.write_text(metrics.read_text().replace("5.5", "6.5"))


def replaced_with_the_same_size_and_time(metrics: Path) -> None:
    before = metrics.stat()
    other = metrics.with_name("other")
    other.write_text(metrics.read_text().replace("5.5", "6.5"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(metrics)


@pytest.mark.parametrize("change", [appended, rewritten, replaced_with_the_same_size_and_time])
def test_changed_records_are_read_again(
    metrics: Path, cache: Path, change: Callable[[Path], None]
) -> None:
    before = read(metrics, cache)
    change(metrics)
    after = read(metrics, cache)
    assert same(after, read(metrics, None))
    assert not same(after, before)


def test_another_run_id_is_another_reading(metrics: Path, cache: Path) -> None:
    read(metrics, cache)
    columns, _, problems = read(metrics, cache, "other")
    assert len(columns["value"]) == 0
    assert len(problems) == 5


def test_a_name_that_is_no_text_does_no_harm(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "\udcff" / "metrics.jsonl"
    path.parent.mkdir()
    path.write_text("torn\n")
    assert len(read(path, cache).problems) == 1


def with_checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def forged(change: Callable[[dict[str, Any]], object]) -> Damage:
    """A kept file whose header someone edited, with the checksum it needs."""

    def damage(content: bytes) -> bytes:
        _, header, columns = content.split(b"\n", 2)
        told = json.loads(header)
        change(told)
        return with_checksum(json.dumps(told).encode() + b"\n" + columns)

    return damage


def no_texts(header: dict[str, Any]) -> None:
    header["texts"] = {}


def fewer_texts(header: dict[str, Any]) -> None:
    header["texts"]["key"].pop()


def more_records(header: dict[str, Any]) -> None:
    header["counts"] = [5]


def less_than_none(header: dict[str, Any]) -> None:
    header.update(counts=[-4, 8], stamps=[*header["stamps"], ""], problems=[[], []])


def more_runs(header: dict[str, Any]) -> None:
    header["stamps"].append("another")


def of_another_size(header: dict[str, Any]) -> None:
    header["stamps"][0] += "0"


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: b"\x80\x04pickle",
        lambda content: with_checksum(b"["),
        lambda content: with_checksum(b"[" * 100_000 + b"\n"),
        lambda content: with_checksum(b"null\n"),
        *map(forged, (no_texts, fewer_texts, more_records, less_than_none, more_runs)),
        forged(of_another_size),
    ],
)
def test_damaged_files_count_for_nothing_and_are_made_anew(
    metrics: Path, cache: Path, damage: Damage
) -> None:
    read(metrics, cache)
    (file,) = (file for file in cache.iterdir() if file.name != ".gitignore")
    sound = file.read_bytes()
    file.write_bytes(damage(sound))
    assert same(read(metrics, cache), read(metrics, None))
    assert file.read_bytes() == sound


def test_a_folder_that_may_not_be_written_does_no_harm(metrics: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert same(read(metrics, tmp_path / "file" / "cache"), read(metrics, None))


def test_what_changes_while_it_is_read_is_not_kept(
    metrics: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(path: Path, run_id: str) -> Columns:
        found = read_columns(path, run_id)
        appended(path)
        return found

    monkeypatch.setattr("pgbench.recordcache.read_columns", slowly)
    assert read(metrics, cache).counts == [4]
    monkeypatch.undo()
    assert read(metrics, cache).counts == [5]
