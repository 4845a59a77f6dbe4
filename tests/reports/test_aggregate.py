"""Means over seeds: what counts, what is set aside, and how sure a mean is."""

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pgbench.reports.aggregate import COLUMNS, aggregate, interval, row_status
from pgbench.results import RunFolder, load_results, load_runs

AVG = ("swd2k", "avg")
MakeRun = Callable[..., RunFolder]


def test_mean_and_interval_over_three_seeds(make_run: MakeRun, results: Path) -> None:
    for seed, value in enumerate((8.0, 9.0, 13.0)):
        make_run("g", {AVG: value}, seed=seed)
    (line,) = aggregate(load_results(results)).to_dict("records")
    assert list(line) == COLUMNS
    assert (line["n_seeds"], line["kimg"], line["mean"]) == (3, 90.0, 10.0)
    assert line["std"] == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    # Student's t for 2 degrees of freedom has a closed form: t = (2p - 1) sqrt(2 / (4p (1 - p))).
    t = 0.95 * math.sqrt(2 / (4 * 0.975 * 0.025))
    half = t * math.sqrt(7) / math.sqrt(3)
    assert (line["low"], line["high"]) == pytest.approx((10 - half, 10 + half))


def test_interval_of_two_is_the_cauchy_quantile() -> None:
    # One degree of freedom: t = tan(pi (p - 1/2)); values 1 and 3 have std sqrt(2).
    half = math.tan(math.pi * 0.475)
    assert interval(pd.Series([1.0, 3.0])) == pytest.approx((2 - half, 2 + half))


def test_one_seed_has_no_interval(make_run: MakeRun, results: Path) -> None:
    make_run("g", {AVG: 8.0})
    (line,) = aggregate(load_results(results)).to_dict("records")
    assert line["mean"] == 8.0
    assert all(math.isnan(line[name]) for name in ("std", "low", "high"))


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_only_finished_runs_count(make_run: MakeRun, results: Path, status: str) -> None:
    make_run("g", {AVG: 8.0})
    make_run("g", {AVG: 800.0}, seed=1, status=status)
    (line,) = aggregate(load_results(results)).to_dict("records")
    assert (line["mean"], line["n_seeds"]) == (8.0, 1)


def test_only_the_last_clock_counts(make_run: MakeRun, results: Path) -> None:
    make_run("g", {AVG: 50.0}, kimg=30.0)
    make_run("g", {AVG: 8.0, ("swd2k", "16"): 9.0})
    lines = aggregate(load_results(results))
    assert lines["mean"].tolist() == [9.0, 8.0]


def test_a_clock_and_its_rounded_name_are_one(make_run: MakeRun, results: Path) -> None:
    run = make_run("g", {AVG: 8.0, ("msssim1k", "msssim"): 0.3}, kimg=90.048)
    (first, _), _ = run.records()
    run.append_record(first.model_copy(update={"kimg": 90.0, "value": 9.0}))
    lines = aggregate(load_results(results))
    assert lines["mean"].tolist() == [0.3, 9.0]
    assert lines["n_seeds"].tolist() == [1, 1]


def test_profiles_data_sets_and_resolutions_never_mix(make_run: MakeRun, results: Path) -> None:
    make_run("g", {AVG: 1.0}, run_id="a")
    make_run("g", {AVG: 2.0}, run_id="b", profile="smoke")
    make_run("g", {AVG: 3.0}, run_id="c", dataset="scenes")
    make_run("g", {AVG: 4.0}, run_id="d", resolution=128)
    lines = aggregate(load_results(results))
    assert sorted(lines["mean"]) == [1.0, 2.0, 3.0, 4.0]
    assert set(lines["n_seeds"]) == {1}


@pytest.mark.parametrize(
    "changes", [{"lr": 1e-4}, {"record": {"dataset_fingerprint": "f1"}}, {"kimg": 60.0}]
)
def test_the_variant_with_most_seeds_is_shown(
    make_run: MakeRun, results: Path, changes: dict[str, object]
) -> None:
    make_run("g", {AVG: 1.0}, seed=0)
    make_run("g", {AVG: 3.0}, seed=1)
    make_run("g", {AVG: 800.0}, seed=2, run_id="odd", **changes)
    lines = aggregate(load_results(results))
    assert lines["mean"].tolist() == [2.0]
    (problem,) = lines.attrs["problems"]
    assert problem.startswith("Run odd was set aside: its configuration, data or clock is not")


def test_other_metric_versions_are_set_aside_and_listed(make_run: MakeRun, results: Path) -> None:
    make_run("a", {AVG: 1.0}, run_id="old")
    make_run("b", {AVG: 2.0}, run_id="new", record={"metric_version": 2})
    lines = aggregate(load_results(results))
    assert lines["mean"].tolist() == [2.0]
    assert lines.attrs["problems"] == [
        "1 values of swd2k are of the metric's version 1 and were set aside, as 2 is the newest "
        "here; evaluate again: old."
    ]


@pytest.mark.parametrize(("status", "verb"), [("failed", "failed"), ("skipped", "was skipped")])
@pytest.mark.parametrize(("error", "reason"), [("no reals", "no reals"), (None, "no reason given")])
def test_values_that_are_missing_are_told(
    make_run: MakeRun, results: Path, status: str, verb: str, error: str | None, reason: str
) -> None:
    missing = {"value": None, "status": status, "error": error}
    make_run("g", {AVG: 0.0}, run_id="r", record=missing)
    lines = aggregate(load_results(results))
    assert lines.empty
    assert lines.attrs["problems"] == [f"swd2k {verb} for run r at 90 kimg: {reason}."]


def protocols(**fields: object) -> dict[str, object]:
    return {"protocol": {"dtype": "float32", "metric_seed": 0} | fields}


def test_protocols_never_mix(make_run: MakeRun, results: Path) -> None:
    make_run("g", {AVG: 1.0}, seed=0, record=protocols())
    make_run("g", {AVG: 3.0}, seed=1, record=protocols(), run_id="shown")
    make_run("g", {AVG: 800.0}, seed=2, run_id="odd", record=protocols(dtype="float16", tf32=True))
    lines = aggregate(load_results(results))
    assert (lines["mean"].tolist(), lines["n_seeds"].tolist()) == ([2.0], [2])
    assert lines["protocol"].tolist() == ['{"dtype": "float32"}']
    (problem,) = lines.attrs["problems"]
    assert problem.startswith("swd2k of run odd was set aside: its protocol is not that of ")
    assert problem.endswith(
        'shown for row g; dtype is "float16" there and "float32" here, and so differ tf32.'
    )


def test_seeds_of_a_protocol_are_no_difference(make_run: MakeRun, results: Path) -> None:
    make_run("g", {AVG: 1.0}, seed=0, record=protocols(fake_seeds="0-9"))
    make_run("g", {AVG: 3.0}, seed=1, record=protocols(metric_seed=1, fake_seeds="10-19"))
    lines = aggregate(load_results(results))
    assert (lines["mean"].tolist(), lines.attrs["problems"]) == ([2.0], [])


def test_of_two_protocols_the_one_of_the_other_rows_is_shown(
    make_run: MakeRun, results: Path
) -> None:
    make_run("a", {AVG: 5.0}, record=protocols(dtype="float16"))
    make_run("g", {AVG: 1.0}, seed=0, record=protocols(dtype="float64"))
    make_run("g", {AVG: 3.0}, seed=1, record=protocols(dtype="float16"))
    lines = aggregate(load_results(results))
    assert lines["mean"].tolist() == [5.0, 3.0]


def test_another_protocol_of_one_metric_leaves_the_others(make_run: MakeRun, results: Path) -> None:
    other = ("msssim1k", "msssim")
    make_run("g", {AVG: 1.0, other: 0.1}, seed=0, record=protocols())
    run = make_run("g", {AVG: 3.0}, seed=1, record=protocols())
    (first, *_), _ = run.records()
    change = {"metric": other[0], "key": other[1], "value": 0.3, "protocol": {"dtype": "float64"}}
    run.append_record(first.model_copy(update=change))
    lines = aggregate(load_results(results)).set_index("metric")
    assert lines["n_seeds"].to_dict() == {"swd2k": 2, "msssim1k": 1}


def test_a_seed_counts_once(make_run: MakeRun, results: Path) -> None:
    make_run("g", {AVG: 1.0}, run_id="first")
    make_run("g", {AVG: 3.0}, run_id="second")
    lines = aggregate(load_results(results))
    assert (lines["mean"].tolist(), lines["n_seeds"].tolist()) == ([1.0], [1])
    told = "Run second was set aside: another run of row g has its seed 0, too."
    assert lines.attrs["problems"] == [told]


def test_a_repeated_record_counts_once(make_run: MakeRun, results: Path) -> None:
    run = make_run("g", {AVG: 1.0})
    (first,), _ = run.records()
    run.append_record(first.model_copy(update={"value": 3.0}))
    (line,) = aggregate(load_results(results)).to_dict("records")
    assert (line["mean"], line["n_seeds"]) == (3.0, 1)


def test_with_best_every_run_counts_at_its_best_snapshot(make_run: MakeRun, results: Path) -> None:
    mean, std = ("is50k", "is_mean"), ("is50k", "is_std")
    early, late = {mean: 8.5, std: 0.1}, {mean: 8.0, std: 0.2}
    make_run("g", late, earlier={30.0: {mean: 7.0, std: 0.3}, 60.0: early}, seed=0)
    make_run("g", {mean: 8.9, std: 0.4}, earlier={60.0: {mean: 8.1, std: 0.5}}, seed=1)
    make_run("g", {}, earlier={60.0: {mean: 99.0, std: 0.5}}, seed=2, status="running")
    lines = aggregate(load_results(results), best="is_mean").set_index("key")
    assert lines["mean"].to_dict() == pytest.approx({"is_mean": 8.7, "is_std": 0.25})
    assert lines.loc["is_mean", "max"] == 8.9
    assert lines["n_seeds"].to_dict() == {"is_mean": 2, "is_std": 2}
    assert math.isnan(lines.loc["is_mean", "kimg"])


def test_status_in_words(make_run: MakeRun, results: Path) -> None:
    make_run("a")
    make_run("b", status="failed")
    make_run("c", status="running", kimg=12.5)
    make_run("d", status="interrupted", kimg=45)
    make_run("d", status="running", kimg=30, seed=1)
    make_run("e", seed=0)
    make_run("e", seed=1)
    make_run("e", seed=2, status="failed")
    words = {name[-1]: status for name, status in row_status(load_runs(results)).items()}
    assert words == {
        "a": "done",
        "b": "failed",
        "c": "unfinished (12.5 of 90 kimg)",
        "d": "unfinished (45 of 90 kimg)",
        "e": "2 done, 1 failed",
    }


def test_nothing_makes_nothing(results: Path) -> None:
    lines = aggregate(load_results(results))
    assert list(lines.columns) == COLUMNS
    assert lines.empty
    assert row_status(load_runs(results)) == {}
