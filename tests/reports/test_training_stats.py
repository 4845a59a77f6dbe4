"""Statistics of training come back as they were written, whatever else lies in the files."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pgbench.reports.training_stats import hours_at, load_stats, run_folders
from pgbench.results import RunFolder

MakeRun = Callable[..., RunFolder]


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


def test_the_first_of_two_runs_of_one_name_counts(make_run: MakeRun, results: Path) -> None:
    run = make_run("a")
    deeper = results / "z" / run.run_id
    deeper.mkdir(parents=True)
    (deeper / "config.json").write_text("{}")
    assert run_folders(results) == {run.run_id: run}


def test_links_that_form_a_circle_end(make_run: MakeRun, results: Path) -> None:
    run = make_run("a")
    (results / "loop").symlink_to(results, target_is_directory=True)
    assert list(run_folders(results)) == [run.run_id]
    assert list(run_folders(run.path)) == [run.run_id]


def test_hours_are_interpolated_from_the_start() -> None:
    ticks = pd.DataFrame({"kimg": [2.0, 3.0, 4.0], "train_sec": [3600.0, np.nan, 10800.0]})
    hours = hours_at(ticks, pd.Series([0.0, 1.0, 2.0, 3.0, 4.0, 4.04, 4.1]))
    assert hours.tolist()[:6] == [0.0, 0.5, 1.0, 2.0, 3.0, 3.0]
    assert np.isnan(hours[6])
