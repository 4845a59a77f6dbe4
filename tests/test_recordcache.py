"""What was read of records is kept, and counts only while it is sound and the records the same."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pgbench.recordcache import cached_columns
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


def kept_file(cache: Path) -> Path:
    (file,) = cache.glob("*.json")
    return file


def refuse(path: Path, run_id: str) -> Columns:
    raise AssertionError(f"{path} of {run_id} was read again")


def test_what_is_kept_is_what_was_read(
    metrics: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cached_columns(metrics, RUN_ID, cache=cache)
    assert first == read_columns(metrics, RUN_ID)
    assert first.values["value"] == [5.5, -0.0, 0.0, None]
    monkeypatch.setattr("pgbench.recordcache.read_columns", refuse)
    again = cached_columns(metrics, RUN_ID, cache=cache)
    assert repr(again) == repr(first)  # to the sign of zero and the type of every value
    assert (cache / ".gitignore").read_text() == "*\n"


def test_columns_are_the_fields(metrics: Path) -> None:
    values, (problem,) = read_columns(metrics, RUN_ID)
    assert values.keys() == set(FIELDS.values())
    assert values["protocol"] == ['{"a": [1], "mirror": true}'] * 4
    assert problem.startswith(f"{metrics} line 5 is no record (Invalid JSON")


def test_no_file_is_no_records(tmp_path: Path, cache: Path) -> None:
    for _ in range(2):
        values, problems = cached_columns(tmp_path / "metrics.jsonl", RUN_ID, cache=cache)
        assert (set(map(len, values.values())), problems) == ({0}, [])


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
    cached_columns(metrics, RUN_ID, cache=cache)
    change(metrics)
    assert cached_columns(metrics, RUN_ID, cache=cache) == read_columns(metrics, RUN_ID)


def test_another_run_id_is_another_reading(metrics: Path, cache: Path) -> None:
    cached_columns(metrics, RUN_ID, cache=cache)
    values, problems = cached_columns(metrics, "other", cache=cache)
    assert values["value"] == []
    assert len(problems) == 5


def with_checksum(text: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(text).hexdigest().encode() + b"\n" + text


def forged(change: Callable[[dict[str, object]], object]) -> Damage:
    """A kept file that someone edited, with the checksum it needs."""

    def damage(content: bytes) -> bytes:
        kept = json.loads(content.partition(b"\n")[2])
        change(kept)
        return with_checksum(json.dumps(kept).encode())

    return damage


def no_columns(kept: dict[str, object]) -> None:
    kept["columns"] = {}


def longer(kept: dict[str, object]) -> None:
    kept["length"] = 5


def place_outside(kept: dict[str, object]) -> None:
    kept["columns"]["key"] = {"values": ["16"], "places": [0, 0, 0, 9]}  # type: ignore[index]


def of_another_size(kept: dict[str, object]) -> None:
    kept["stamp"][-3] += 1  # type: ignore[index]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content.replace(b"5.5", b"9.5"),
        lambda content: b"\x80\x04pickle",
        lambda content: with_checksum(b"["),
        lambda content: with_checksum(b"[" * 100_000),
        lambda content: with_checksum(b"null"),
        *map(forged, (no_columns, longer, place_outside, of_another_size)),
    ],
)
def test_damaged_files_count_for_nothing_and_are_made_anew(
    metrics: Path, cache: Path, damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_columns(metrics, RUN_ID, cache=cache)
    file = kept_file(cache)
    sound = file.read_bytes()
    file.write_bytes(damage(sound))
    assert cached_columns(metrics, RUN_ID, cache=cache) == read_columns(metrics, RUN_ID)
    assert file.read_bytes() == sound


def test_a_folder_that_may_not_be_written_does_no_harm(metrics: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = tmp_path / "file" / "cache"
    assert cached_columns(metrics, RUN_ID, cache=cache) == read_columns(metrics, RUN_ID)


def test_what_changes_while_it_is_read_is_not_kept(
    metrics: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(path: Path, run_id: str) -> Columns:
        read = read_columns(path, run_id)
        appended(path)
        return read

    monkeypatch.setattr("pgbench.recordcache.read_columns", slowly)
    assert len(cached_columns(metrics, RUN_ID, cache=cache).values["key"]) == 4
    assert list(cache.glob("*.json")) == []
