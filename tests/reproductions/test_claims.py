"""Claims of the paper: what is published, and the verdicts that canned records lead to."""

import itertools
import json
import math
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pgbench.reproductions import claims
from pgbench.reproductions.claims import CLAIMS, judge, to_markdown
from pgbench.reproductions.experiments import EXPERIMENTS
from pgbench.reproductions.paired import more_seeds
from pgbench.reproductions.table1 import SCALES
from pgbench.reproductions.verdicts import COLUMNS, VERBS, seed_range
from pgbench.results import RESULT_COLUMNS, RUN_COLUMNS

PAPER = Path(__file__).parents[2] / "reports" / "paper"
AVG = ("swd8k", "avg")
PHASES = "{0:g}/{0:g}".format(SCALES["desktop"].phase_kimg)
GROWING, FASTER = "Growing improves quality", "Growing shortens training"
SMALL, HARMLESS = (
    "A small minibatch breaks batch normalisation",
    "Pixelwise normalisation does no harm",
)
BLIND, GAMMA = "MS-SSIM hardly notices what SWD sees", "A gradient norm of 750 beats 1 on CIFAR-10"
MODES, KL = (
    "Minibatch stddev raises the number of modes, K/4",
    ("Minibatch stddev lowers the KL divergence, K/4"),
)
NO_RUN = "at least 2 more seeds: one seed has no scatter"


class Canned:
    """Runs and their records, as `load_runs` and `load_results` give them."""

    def __init__(self) -> None:
        self.results: list[dict[str, object]] = []
        self.runs: list[dict[str, object]] = []
        self.ticks: list[dict[str, object]] = []

    def run(self, row: str, value: float | None = None, seed: int = 0, **changes: Any) -> "Canned":
        """One run with one value at its end, unless `values` maps (metric, key) or clocks to it.

        `hours` is its time, with ticks at the clocks of `curve`, whose lods are `lods` or all 0.
        """
        values = changes.pop("values", {} if value is None else {AVG: value})
        hours, curve = changes.pop("hours", None), changes.pop("curve", {90.0: values})
        lods = changes.pop("lods", [0.0] * len(curve))
        run: dict[str, object] = {"artefact": "table1", "row": row, "dataset": "portraits"}
        run |= {"profile": "desktop", "seed": seed, "resolution": 32, "status": "done"}
        run |= {"kimg": 90.0, "total_kimg": 90.0, "wall_sec": 9.0, "error": None}
        run |= {"config_hash": f"hash of {row}"} | changes.pop("of_run", {})
        run["run_id"] = "-".join(str(run[name]) for name in RUN_COLUMNS[1:8] if name != "status")
        run["run_id"] = f"{run['run_id']}-{run['config_hash']}"
        self.runs.append(run)
        for kimg, at in curve.items():
            for (metric, key), measured in at.items():
                record = {name: run[name] for name in RUN_COLUMNS if name in RESULT_COLUMNS}
                record |= {"schema": 1, "dataset_fingerprint": "f0", "kimg": kimg}
                record |= {"metric": metric, "key": key, "value": measured, "stderr": 0.0}
                record |= {"num_images": 8192, "metric_version": 2, "wall_sec": 1.0, "error": None}
                record |= {"protocol": json.dumps({"metric_seed": seed, "phase_kimg": PHASES})}
                record |= {"status": "ok", "run_status": run["status"], "run_kimg": run["kimg"]}
                self.results.append(record | changes)
        if hours is not None:
            for kimg, lod in zip(curve, lods, strict=True):
                tick = {"run_id": run["run_id"], "kimg": kimg, "lod": lod}
                self.ticks.append(tick | {"train_sec": 3600 * hours * kimg / 90})
        return self

    def seeds(self, row: str, values: Iterable[float], **changes: Any) -> "Canned":
        for seed, value in enumerate(values):
            self.run(row, value, seed, **changes)
        return self

    def ledger(self, *, timed: bool = True) -> pd.DataFrame:
        results = pd.DataFrame(self.results, columns=RESULT_COLUMNS)
        runs = pd.DataFrame(self.runs, columns=RUN_COLUMNS)
        ticks = pd.DataFrame(self.ticks, columns=["run_id", "kimg", "lod", "train_sec"])
        return judge(results, runs, ticks if timed else None)

    def line(self, claim: str, *, timed: bool = True) -> dict[str, Any]:
        """The one line of a claim."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(claims, "CLAIMS", [one for one in CLAIMS if one.name == claim])
            (line,) = self.ledger(timed=timed).to_dict("records")
        return {str(name): value for name, value in line.items()}


@pytest.fixture
def canned() -> Canned:
    return Canned()


# What is claimed


def test_published_values_are_the_certain_ones_of_the_paper() -> None:
    table = pd.read_csv(PAPER / "table1.csv")
    table = table[table["certain"] == "yes"]
    for column, ours in (("swd_avg", claims.PAPER_SWD), ("msssim", claims.PAPER_MSSSIM)):
        for dataset, values in ours.items():
            half = table[table["dataset"] == dataset].set_index("row")[column]
            assert values == half.to_dict()


def test_published_effects_are_on_the_side_the_paper_claims() -> None:
    numbers = [(c.side, value) for c in CLAIMS for value in c.published.values()]
    known = [(side, value) for side, value in numbers if isinstance(value, float)]
    assert len(known) == 2 * 10
    assert all(value < 0 if side == "below" else value > 0 for side, value in known)


def test_published_effects_of_celeba() -> None:
    published = {claim.name: claim.published.get("celeba") for claim in CLAIMS}
    assert published[GROWING] == pytest.approx(4.28 - 9.28)
    assert published[SMALL] == pytest.approx(46.23 - 2 * 4.28)
    assert published[HARMLESS] == pytest.approx(3.56 - 1.1 * 4.39)
    assert published[GAMMA] is None  # nothing but recalled numbers


def test_claims_have_names_of_their_own_and_rows_that_exist() -> None:
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS) == 20
    for claim in CLAIMS:
        assert set(claim.rows) <= set(EXPERIMENTS[VERBS[claim.artefact]].rows)
    assert {row for claim in CLAIMS for row in claim.rows} > set(EXPERIMENTS["ablation"].rows)


def test_tables_with_verdicts_rebuild_without_torch() -> None:
    program = "import sys, pgbench.reproductions.claims; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert told.stdout.split() == [b"False"]


# Verdicts from records


def test_reproduced_with_its_interval_and_all_columns(canned: Canned) -> None:
    first, second = [9.0, 9.5, 10.0], [4.0, 5.0, 4.8]
    canned.seeds("a", first).seeds("b", second)
    line = canned.line(GROWING)
    expected = stats.ttest_rel(second, first).confidence_interval(0.95)
    assert list(line) == COLUMNS
    assert (line["low"], line["high"]) == pytest.approx((expected.low, expected.high))
    assert line["ours"] == pytest.approx(np.mean(second) - np.mean(first))
    assert (line["seeds"], line["verdict"], line["published"]) == (3, "reproduced", -5.0)
    assert (line["dataset"], line["profile"], line["resolution"]) == ("portraits", "desktop", 32)
    assert line["note"] == "b - a; swd8k; means a: 9.5, b: 4.6"
    assert (line["rows"], len(line["runs"])) == (("a", "b"), 6)
    assert (line["missing"], line["command"]) == (None, None)


def test_not_reproduced(canned: Canned) -> None:
    canned.seeds("a", [4.0, 5.0, 4.8]).seeds("b", [9.0, 9.5, 10.0])
    assert canned.line(GROWING)["verdict"] == "not reproduced"


def test_inconclusive_says_how_many_seeds_would_settle_it(canned: Canned) -> None:
    first, second = [9.0, 9.5, 10.0], [8.0, 9.6, 8.8]
    line = canned.seeds("a", first).seeds("b", second).line(GROWING)
    more = more_seeds([b - a for a, b in zip(first, second, strict=True)])
    assert line["verdict"] == "inconclusive"
    assert (
        line["missing"]
        == f"{more} more seeds of each row, should mean and scatter stay as they are"
    )
    assert more is not None
    seeds = f"--data portraits --profile desktop --seeds 3-{2 + more}"
    rows = [f"pgbench run ablation --row {row} {seeds}" for row in "ab"]
    assert line["command"] == " && ".join(rows)


@pytest.mark.parametrize(
    ("second", "missing"),
    [
        ([8.0, 10.0], "no number of seeds: the mean effect is 0"),
        ([-8.0, 26.5], "more than 100 seeds, should mean and scatter stay as they are"),
    ],
)
def test_inconclusive_where_no_number_of_seeds_helps(
    canned: Canned, second: list[float], missing: str
) -> None:
    line = canned.seeds("a", [9.0, 9.0]).seeds("b", second).line(GROWING)
    assert (line["verdict"], line["missing"], line["command"]) == ("inconclusive", missing, None)


@pytest.mark.parametrize(
    ("claim", "rows", "factor"), [(GROWING, "ab", 1), (SMALL, "bc", 2), (HARMLESS, "fg", 1.1)]
)
def test_the_metrics_own_error_counts_by_half_and_once(
    canned: Canned, claim: str, rows: str, factor: float
) -> None:
    first, second = np.array([4.0, 5.0, 4.8]), np.array([9.0, 9.5, 10.0])
    canned.seeds(rows[0], first, stderr=6.0).seeds(rows[1], second, stderr=8.0)
    line = canned.line(claim)
    plain = stats.ttest_rel(second, factor * first).confidence_interval(0.95)
    shared = stats.norm.ppf(0.975) * math.sqrt((factor**2 * 36 + 64) / 2)
    half = math.hypot((plain.high - plain.low) / 2, shared)
    assert line["high"] - line["ours"] == pytest.approx(half)
    assert (line["verdict"], line["command"]) == ("inconclusive", None)
    assert line["missing"].startswith("no number of seeds, but more images: the metric's own error")


def test_an_unknown_error_of_the_metric_is_told(canned: Canned) -> None:
    line = canned.seeds("a", [9.0, 9.1], stderr=None).seeds("b", [4.0, 4.1]).line(GROWING)
    assert line["note"].endswith("own standard error is not recorded and not in the interval")


def test_never_a_verdict_from_one_seed(canned: Canned) -> None:
    line = canned.run("a", 900.0).run("b", 1.0).line(GROWING)
    assert (line["verdict"], line["ours"], line["seeds"]) == ("inconclusive", -899.0, 1)
    assert (line["low"], line["high"], line["missing"]) == (None, None, NO_RUN)
    assert line["command"].count("--seeds 1-2") == 2


def test_only_seeds_of_both_rows_count(canned: Canned) -> None:
    canned.seeds("a", [9.0, 9.1, 9.2, 900.0]).seeds("b", [4.0, 4.5, 4.1])
    line = canned.line(GROWING)
    assert (line["seeds"], line["ours"]) == (3, pytest.approx(4.2 - 9.1))
    assert not [run_id for run_id in line["runs"] if run_id.split("-")[5] == "3"]


def test_no_seed_in_common(canned: Canned) -> None:
    line = canned.run("a", 9.0, 5).run("b", 4.0, 6).line(GROWING)
    assert (line["verdict"], line["seeds"]) == ("inconclusive", None)
    assert line["missing"] == "the rows have no seed in common"
    assert "--row a --data portraits --profile desktop --seeds 0,6 &&" in line["command"]
    assert line["command"].endswith("--row b --data portraits --profile desktop --seeds 0,5")


def test_a_missing_row_is_not_run_and_paired_with_what_is_there(canned: Canned) -> None:
    line = canned.seeds("a", [9.0, 9.1, 9.2, 9.3]).line(GROWING)
    assert (line["verdict"], line["missing"], line["ours"]) == ("not run", "row b: no run", None)
    run = "pgbench run ablation --row b --data portraits --profile desktop --seeds 0-3"
    assert line["command"] == run


def test_nothing_at_all_is_not_run_with_the_commands_to_start(canned: Canned) -> None:
    ledger = canned.ledger()
    assert len(ledger) == len(CLAIMS)
    assert set(ledger["verdict"]) == {"not run"}
    commands = dict(zip(ledger["claim"], ledger["command"], strict=True))
    place = "--profile desktop --seeds 0-2"
    assert commands[GROWING].startswith(
        f"pgbench run ablation --row a --data portraits {place} && "
    )
    assert commands[KL] == " && ".join(
        f"pgbench run mnist-modes --row 'K/4 {column}' --data mnist-rgb {place}"
        for column in ("norm", "stddev")
    )


@pytest.mark.parametrize(
    ("status", "words"),
    [("failed", "failed at 45 kimg"), ("interrupted", "unfinished, 45 of 90 kimg")],
)
def test_failed_and_unfinished_runs_do_not_count(canned: Canned, status: str, words: str) -> None:
    canned.seeds("a", [9.0, 9.1])
    canned.seeds("b", [4.0, 4.1, 4.2], of_run={"status": status, "kimg": 45.0})
    line = canned.line(GROWING)
    assert (line["verdict"], line["missing"]) == ("not run", f"row b: {words}")
    seeds = line["command"].rsplit(" ", 1)[1]
    assert seeds == ("3-5" if status == "failed" else "0-2")  # an unfinished run goes on


def test_failed_runs_beside_finished_ones_are_told(canned: Canned) -> None:
    canned.seeds("a", [9.0, 9.1, 9.2]).seeds("b", [4.0, 4.1])
    canned.run("b", 1.0, 2, of_run={"status": "failed"})
    line = canned.line(GROWING)
    assert line["seeds"] == 2
    assert line["note"].endswith("; not counted: 1 failed of row b")


def test_finished_runs_that_were_not_measured(canned: Canned) -> None:
    line = canned.run("a", 9.0).run("b", values={("msssim4k", "msssim"): 0.3}).line(GROWING)
    assert (line["verdict"], line["seeds"]) == ("inconclusive", None)
    assert line["missing"] == "row b: done, but not measured as the claim needs it"
    assert line["command"].startswith("pgbench evaluate 'results/table1-b-")


def test_profiles_data_sets_and_resolutions_have_a_line_each(canned: Canned) -> None:
    places = [{"profile": "smoke"}, {"dataset": "scenes"}, {"resolution": 64}, {}]
    for number, place in enumerate(places):
        canned.seeds("a", [9.0, 9.0 + number], of_run=place)
        canned.seeds("b", [4.0, 4.0], of_run=place)
    ledger = canned.ledger()
    lines = ledger[ledger["claim"] == GROWING].set_index(["dataset", "profile", "resolution"])
    assert lines["ours"].to_dict() == {
        ("portraits", "desktop", 32): -6.5,
        ("portraits", "desktop", 64): -6.0,
        ("portraits", "smoke", 32): -5.0,
        ("scenes", "desktop", 32): -5.5,
    }
    assert lines["published"].tolist() == [-5.0, -5.0, -5.0, pytest.approx(7.60 - 11.25)]


def test_rows_of_different_profiles_are_never_compared(canned: Canned) -> None:
    canned.seeds("a", [9.0, 9.1]).seeds("b", [4.0, 4.1], of_run={"profile": "smoke"})
    ledger = canned.ledger()
    lines = ledger[ledger["claim"] == GROWING]
    assert lines["missing"].tolist() == ["row b: no run", "row a: no run"]


@pytest.mark.parametrize(
    "change",
    [
        {"metric_version": 1},
        {"protocol": json.dumps({"phase_kimg": "9/9"})},
        {"dataset_fingerprint": "f1"},
        {"of_run": {"config_hash": "other"}},
        {"kimg": 60.0},
        {"status": "failed"},
    ],
)
def test_what_was_made_or_measured_otherwise_is_never_mixed_in(
    canned: Canned, change: dict[str, Any]
) -> None:
    canned.seeds("a", [9.0, 9.1, 9.2]).seeds("b", [4.0, 4.1])
    canned.run("b", 900.0, 2, **change)
    line = canned.line(GROWING)
    assert (line["seeds"], line["ours"]) == (2, pytest.approx(-5.0))


def test_the_metric_of_most_images_that_both_rows_have(canned: Canned) -> None:
    few, many, most = (("swd2k", "avg"), ("swd16k", "avg"), ("swd32k", "avg"))
    for seed in range(2):
        canned.run("a", seed=seed, values={few: 50.0 + seed})
        canned.run("b", seed=seed, values={few: 60.0})
    for record in list(canned.results):
        canned.results.append(record | {"metric": many[0], "value": 7.0, "num_images": 16384})
    canned.results.append(canned.results[0] | {"metric": most[0], "num_images": 32768})
    assert canned.line(GROWING)["note"].startswith("b - a; swd16k; ")


def test_another_length_of_phases_is_in_the_command(canned: Canned) -> None:
    longer = {"protocol": json.dumps({"phase_kimg": "9/9"})}
    line = canned.run("a", 9.0, **longer).run("b", 4.0, **longer).line(GROWING)
    assert line["command"].endswith("--seeds 1-2 --phase-kimg 9")


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ([8.2, 8.4, 8.6], "inconclusive"),  # larger, but not more than twice
        ([12.0, 12.2, 12.4], "reproduced"),
        ([7.0, 7.2, 7.4], "not reproduced"),
    ],
)
def test_much_larger_is_more_than_twice(canned: Canned, second: list[float], expected: str) -> None:
    line = canned.seeds("b", [4.0, 4.3, 4.2]).seeds("c", second).line(SMALL)
    assert line["verdict"] == expected
    assert line["ours"] == pytest.approx(np.mean(second) - 2 * np.mean([4.0, 4.3, 4.2]))


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ([10.2, 10.5, 10.4], "reproduced"),  # worse, but by less than a tenth
        ([11.6, 11.9, 11.8], "not reproduced"),
        ([10.8, 11.4, 11.0], "inconclusive"),
    ],
)
def test_no_harm_allows_for_a_tenth(canned: Canned, second: list[float], expected: str) -> None:
    first = [10.0, 10.3, 10.2]
    line = canned.seeds("f", first).seeds("g", second).line(HARMLESS)
    interval = stats.ttest_rel(second, 1.1 * np.array(first)).confidence_interval(0.95)
    assert (line["low"], line["high"]) == pytest.approx((interval.low, interval.high))
    assert (line["verdict"], line["note"].split(";")[0]) == (expected, "g - 1.1 * f")


def test_msssim_varies_less_than_swd(canned: Canned) -> None:
    rng = np.random.default_rng(1)
    values = {}
    for seed in range(3):
        values[seed] = rng.uniform(5, 50, 8), rng.uniform(0.28, 0.3, 8)
        for row, swd, msssim in zip("abcd*efg", *values[seed], strict=True):
            name = "e*" if row == "*" else row
            both = {AVG: swd, ("msssim4k", "msssim"): msssim}
            canned.run(name, seed=seed, values=both, stderr=0.5)
    effects, variances = [], []
    for swd, msssim in values.values():
        effects.append(stats.variation(msssim, ddof=1) - stats.variation(swd, ddof=1))
        steps = np.eye(8) * 1e-5
        slopes = [
            (stats.variation(swd + h, ddof=1) - stats.variation(swd - h, ddof=1)) for h in steps
        ]
        variances.append(sum((slope / 2e-5 * 0.5) ** 2 for slope in slopes) / 2)
    line, plain = canned.line(BLIND), stats.ttest_1samp(effects, 0).confidence_interval(0.95)
    half = math.hypot((plain.high - plain.low) / 2, 1.959964 * math.sqrt(np.mean(variances)))
    assert line["ours"] == pytest.approx(np.mean(effects))
    assert line["high"] - line["low"] == pytest.approx(2 * half, rel=1e-5)
    assert (line["verdict"], line["seeds"], len(line["runs"])) == ("reproduced", 3, 24)
    assert "msssim4k and swd8k; means msssim4k: 0.0" in line["note"]


def test_rows_that_are_all_equal_do_not_vary(canned: Canned) -> None:
    for seed, row in itertools.product(range(2), ("a", "b", "c", "d", "e*", "e", "f", "g")):
        canned.run(row, seed=seed, values={AVG: 5.0, ("msssim4k", "msssim"): 0.25}, stderr=0.5)
    line = canned.line(BLIND)
    assert (line["ours"], line["verdict"]) == (0.0, "inconclusive")


def inception(canned: Canned, metric: str, key: str) -> None:
    place = {"artefact": "table3", "dataset": "cifar10", "profile": "paper"}
    for row, scores in {"cifar10": (8.8, 8.6, 8.7), "cifar10-gamma1": (7.0, 7.2, 7.3)}.items():
        for seed, score in enumerate(scores):  # falls behind as fast as it got there
            curve = {60.0: {(metric, key): score}, 90.0: {(metric, key): score - len(row)}}
            canned.run(row, seed=seed, curve=curve, of_run=place)


@pytest.mark.parametrize(
    ("metric", "key"),
    [("is50k", "is_mean"), ("is-effnetlite0-50k", "is-effnetlite0_mean")],
)
def test_scores_count_at_the_best_snapshot(canned: Canned, metric: str, key: str) -> None:
    inception(canned, metric, key)
    line = canned.line(GAMMA)
    assert (line["verdict"], line["published"]) == ("reproduced", None)
    assert line["ours"] == pytest.approx(8.7 - 21.5 / 3)
    assert f"best snapshot, {metric};" in line["note"]


def test_modes_of_mnist_each_against_the_column_before(canned: Canned) -> None:
    place = {"artefact": "table4", "dataset": "mnist-rgb", "profile": "paper"}
    for column, modes, kl in (("norm", 850, 1.0), ("stddev", 880, 1.3)):
        for seed in range(3):
            values = {("modes25k", "modes"): modes + seed % 2, ("modes25k", "kl"): kl + seed / 100}
            values[AVG] = 1.0
            canned.run(f"K/4 {column}", seed=seed, values=values, of_run=place, stderr=99.0)
    more, divergence = canned.line(MODES), canned.line(KL)
    assert (more["verdict"], more["ours"], more["published"]) == ("reproduced", 30.0, None)
    assert (divergence["verdict"], divergence["ours"]) == ("not reproduced", pytest.approx(0.3))


def race(canned: Canned, row: str, seed: int, hours: float, *swd: float, **changes: Any) -> None:
    clocks = np.linspace(0, 90, len(swd) + 1)[1:]
    curve = {kimg: {("swd2k", "avg"): value} for kimg, value in zip(clocks, swd, strict=True)}
    canned.run(row, seed=seed, curve=curve, hours=hours, **changes)


def test_hours_to_the_best_that_row_a_reaches(canned: Canned) -> None:
    for seed, hours in enumerate((9.0, 9.3, 9.6)):
        race(canned, "a", seed, hours, 50, 30, 31)
        race(canned, "b", seed, 3.0, 60, 30, 5)
    line = canned.line(FASTER)
    effects = [2 - 2 / 3 * hours for hours in (9.0, 9.3, 9.6)]
    expected = stats.ttest_1samp(effects, 0).confidence_interval(0.95)
    assert (line["low"], line["high"]) == pytest.approx((expected.low, expected.high))
    assert (line["verdict"], line["artefact"]) == ("reproduced", "figure4")
    assert line["note"].startswith("b - a; hours to the SWD that the first row reaches, swd2k;")
    assert isinstance(line["published"], str)


def test_enlarged_images_of_fewer_layers_reach_nothing(canned: Canned) -> None:
    for seed, hours in enumerate((9.0, 9.3, 9.6)):
        race(canned, "a", seed, hours, 50, 30, 31)
        race(canned, "b", seed, 3.0, 20, 25, 28, lods=[1.0, 0.5, 0.0])
    assert canned.line(FASTER)["ours"] == pytest.approx(3 - 2 / 3 * 9.3)


def test_own_runs_of_figure4_go_before_those_of_table1(canned: Canned) -> None:
    for row in "ab":
        race(canned, row, 0, 99.0, 50, 30)
        race(canned, row, 0, 9.0, 50, 30, of_run={"artefact": "figure4"})
    line = canned.line(FASTER)
    assert {run_id.split("-")[0] for run_id in line["runs"]} == {"figure4"}
    assert line["command"].startswith("pgbench run figure4 --row a ")


def test_a_row_that_never_gets_there_is_never_faster(canned: Canned) -> None:
    for seed, hours in enumerate((9.0, 9.3, 9.6)):
        race(canned, "a", seed, hours, 50, 30)
        race(canned, "b", seed, 3.0, 60, 40)
    line = canned.line(FASTER)
    assert line["high"] < 0
    assert (line["verdict"], line["command"]) == ("inconclusive", None)
    assert line["missing"] == "row b trained until it gets there"
    assert line["note"].endswith(
        "row b never got there in 3 of 3 seeds: all its hours count instead"
    )


def test_a_row_that_takes_longer_without_getting_there_is_slower(canned: Canned) -> None:
    for seed, hours in enumerate((9.0, 9.3, 9.6)):
        race(canned, "a", seed, hours, 50, 30)
        race(canned, "b", seed, 30.0, 60, 40)
    assert canned.line(FASTER)["verdict"] == "not reproduced"


def test_without_times_nothing_is_said_of_hours(canned: Canned) -> None:
    race(canned, "a", 0, 9.0, 50, 30)
    race(canned, "b", 0, 3.0, 50, 30)
    line = canned.line(FASTER, timed=False)
    assert (line["verdict"], line["seeds"], line["command"]) == ("inconclusive", None, None)


# What the ledger is read as


def test_the_ledger_as_markdown(canned: Canned) -> None:
    canned.seeds("a", [9.0, 9.5, 10.0]).seeds("b", [4.0, 5.0, 4.8])
    canned.run("a", 1.0, of_run={"dataset": "a|b<i>"})
    lines = to_markdown(canned.ledger()).splitlines()
    assert lines[0] == ("| claim | data set | profile | paper | ours | seeds | verdict | missing |")
    assert lines[2].startswith(
        f"| {GROWING} (section 6.1, table 1) | a\\|b&lt;i&gt; | desktop |  |"
    )
    low, high = stats.ttest_rel([4.0, 5.0, 4.8], [9.0, 9.5, 10.0]).confidence_interval(0.95)
    ours = f"-4.9 ({low:+.4g} to {high:+.4g})"
    assert f"| portraits | desktop | -5 | {ours} | 3 | reproduced |  |" in lines[3]


@pytest.mark.parametrize(
    ("seeds", "text"), [({0}, "0"), ({2, 0, 1}, "0-2"), ({0, 1, 3, 5, 6}, "0-1,3,5-6")]
)
def test_seeds_as_the_command_line_reads_them(seeds: set[int], text: str) -> None:
    assert seed_range(seeds) == text
