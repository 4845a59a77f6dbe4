"""Statistics of training come back as they were written, whatever else lies in the files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pgbench.reports.training_stats import hours_at
from pgbench.reports.training_stats import load_stats as load_stats_of
from pgbench.results import RunFolder, load_runs

MakeRun = Callable[..., RunFolder]


def load_stats(results: Path, cache: Path | None = None) -> pd.DataFrame:
    return load_stats_of(load_runs(results), cache=cache)


def write(run: RunFolder, *lines: object) -> None:
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    run.stats_path.write_text("\n".join(text) + "\n", encoding="utf-8")


def test_ticks_are_read_by_run_and_clock(make_run: MakeRun, results: Path) -> None:
    write(make_run("b"), {"kimg": 2, "D_loss": -1.5, "note": "text"}, {"kimg": 4.5, "lod": 1.25})
    write(make_run("a"), {"kimg": 1.0, "train_sec": 3.5, "resolution": 8})
    stats = load_stats(results)
    assert stats["kimg"].tolist() == [1.0, 2.0, 4.5]
    assert [name.startswith("table1-b") for name in stats["run_id"]] == [False, True, True]
    assert stats[["train_sec", "resolution"]].iloc[0].tolist() == [3.5, 8.0]
    assert stats["D_loss"].tolist()[1] == -1.5
    assert np.isnan(stats["D_loss"].tolist()[2])
    assert stats.attrs["problems"] == []


@pytest.mark.parametrize(
    "damage",
    [
        '{"kimg": 3.0, "D_lo',
        "[1, 2]",
        '"text"',
        "null",
        '{"kimg": null}',
        '{"kimg": -1}',
        '{"kimg": true}',
        '{"kimg": NaN}',
        '{"kimg": 1e999}',
        '{"D_loss": 1}',
        "[" * 10_000,
        "",
    ],
)
def test_damaged_lines_are_counted_and_set_aside(
    make_run: MakeRun, results: Path, damage: str
) -> None:
    run = make_run("a")
    write(run, {"kimg": 1}, damage, damage, {"kimg": 2})
    stats = load_stats(results)
    assert stats["kimg"].tolist() == [1.0, 2.0]
    assert stats.attrs["problems"] == [f"{run.stats_path}: 2 damaged lines were set aside."]


def test_values_that_are_no_numbers_are_missing(make_run: MakeRun, results: Path) -> None:
    write(make_run("a"), f'{{"kimg": 1, "D_loss": "much", "G_loss": 1{"0" * 400}, "lod": false}}')
    assert load_stats(results)[["D_loss", "G_loss", "lod"]].isna().all(axis=None)


def test_bytes_that_are_no_text_are_set_aside(make_run: MakeRun, results: Path) -> None:
    make_run("a").stats_path.write_bytes(b'\xff\xfe\x00\n{"kimg": 2}\n')
    assert load_stats(results)["kimg"].tolist() == [2.0]


def test_the_last_line_of_one_clock_counts(make_run: MakeRun, results: Path) -> None:
    write(make_run("a"), {"kimg": 5, "lod": 1}, {"kimg": 4, "lod": 2}, {"kimg": 5, "lod": 3})
    stats = load_stats(results)
    assert stats["kimg"].tolist() == [4.0, 5.0]
    assert stats["lod"].tolist() == [2.0, 3.0]


def test_runs_without_statistics_are_fine(make_run: MakeRun, results: Path) -> None:
    make_run("a")
    stats = load_stats(results)
    assert len(stats) == 0
    assert stats["kimg"].dtype == np.float64


def test_what_was_read_is_kept_until_it_changes(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    first, second = make_run("a"), make_run("b")
    write(first, {"kimg": 1.0}, {"kimg": 2.0}, "damage")
    write(second, {"kimg": 3.0})
    fresh = load_stats(results)
    for _ in range(2):
        kept = load_stats(results, tmp_path)
        pd.testing.assert_frame_equal(kept, fresh)
        assert kept.attrs == fresh.attrs
    write(second, {"kimg": 3.0}, {"kimg": 4.0})
    assert load_stats(results, tmp_path)["kimg"].tolist() == [1.0, 2.0, 3.0, 4.0]
    shutil.rmtree(first.path)
    assert load_stats(results, tmp_path)["kimg"].tolist() == [3.0, 4.0]


@pytest.mark.parametrize("damage", [b"", b"PK", b"x" * 1000, None])
def test_a_damaged_cache_only_costs_time(
    make_run: MakeRun, results: Path, tmp_path: Path, damage: bytes | None
) -> None:
    write(make_run("a"), {"kimg": 1.0})
    load_stats(results, tmp_path)
    cache = tmp_path / "stats.npz"
    whole = cache.read_bytes()
    cache.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert load_stats(results, tmp_path)["kimg"].tolist() == [1.0]


def test_a_cache_that_is_a_pickle_is_not_opened(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    write(make_run("a"), {"kimg": 1.0})
    np.savez(tmp_path / "stats.npz", *([np.array([{}], dtype=object)] * 4))
    assert load_stats(results, tmp_path)["kimg"].tolist() == [1.0]


def test_hours_are_interpolated_from_the_start() -> None:
    ticks = pd.DataFrame({"kimg": [2.0, 3.0, 4.0], "train_sec": [3600.0, np.nan, 10800.0]})
    hours = hours_at(ticks, pd.Series([0.0, 1.0, 2.0, 3.0, 4.0, 4.04, 4.1]))
    assert hours.tolist()[:6] == [0.0, 0.5, 1.0, 2.0, 3.0, 3.0]
    assert np.isnan(hours[6])
