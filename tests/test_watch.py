"""Runs that ended well are left in peace, runs that fail are told once, resumed ones alike."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgbench.jsonlines import read_lines
from pgbench.watch import Watch

RESULTS = Path(__file__).parent.parent / "docs" / "results"
Stats = dict[str, Any]


def tick(kimg: float, **changes: Any) -> Stats:
    """Statistics of a healthy tick."""
    usual: Stats = {
        "kimg": kimg,
        "lod": 0.0,
        "resolution": 32,
        "D_grad_norm": 5.0,
        "G_grad_norm": 6.0,
        "real_score": 1.0,
        "fake_score": -2.0,
        "fake_spread": 0.3,
        "real_spread": 0.34,
    }
    return usual | changes


def watching(ticks: int = 5, **changes: Any) -> Watch:
    """A watch that has seen so many ticks."""
    past = [json.dumps(tick(float(k), **changes)).encode() for k in range(ticks)]
    return Watch(past, first_phase_kimg=2.0)


@pytest.mark.parametrize(
    "path", sorted(RESULTS.glob("*/*/stats.jsonl")), ids=lambda path: path.parent.name
)
def test_the_committed_runs_are_left_in_peace(path: Path) -> None:
    train_kimg = json.loads((path.parent / "config.json").read_text())["schedule"]["train_kimg"]
    watch = Watch([], first_phase_kimg=train_kimg)
    said = [watch.warnings(json.loads(line)) for line in read_lines(path)]
    assert len(said) >= 6
    assert not any(said)


class TestGradients:
    @pytest.mark.parametrize("network", ["D", "G"])
    def test_an_explosion_is_told_once_until_it_is_over(self, network: str) -> None:
        watch, name = watching(D_grad_norm=5.0, G_grad_norm=5.0), f"{network}_grad_norm"
        assert watch.warnings(tick(10.0, **{name: 99.0})) == []
        assert watch.warnings(tick(10.5, **{name: 640.0})) == [
            f"At kimg 10.5 the gradient norm of {network} is 640, 128 times its median at 32x32, "
            "so that the run may be diverging; look at its samples."
        ]
        assert watch.warnings(tick(11.0, **{name: 1e9})) == []
        assert watch.warnings(tick(11.5, **{name: 5.0})) == []
        assert len(watch.warnings(tick(12.0, **{name: 640.0}))) == 1

    def test_one_that_lasts_does_not_become_the_usual(self) -> None:
        watch = watching()
        assert len(watch.warnings(tick(10.0, D_grad_norm=640.0))) == 1
        for k in range(40):
            assert watch.warnings(tick(11.0 + k, D_grad_norm=640.0)) == []
        watch.warnings(tick(60.0))
        (said,) = watch.warnings(tick(61.0, D_grad_norm=640.0))
        assert "is 640, 128 times" in said

    def test_the_median_is_of_the_last_twenty_ticks(self) -> None:
        for higher, warned in [(10, True), (11, False)]:
            watch = watching(30, D_grad_norm=1.0)
            for k in range(higher):
                assert watch.warnings(tick(30.0 + k, D_grad_norm=9.0)) == []
            # 10 of 20 are 9: the median is 5; 11 of 20 are: it is 9
            assert bool(watch.warnings(tick(50.0, D_grad_norm=101.0))) == warned

    @pytest.mark.parametrize(
        "changes", [{"resolution": 64, "lod": 0.0}, {"resolution": 32, "lod": 0.25}]
    )
    def test_a_change_of_resolution_or_fade_is_none(self, changes: Stats) -> None:
        watch = watching()
        assert watch.warnings(tick(10.0, D_grad_norm=640.0, **changes)) == []
        told = watch.warnings(tick(10.5, D_grad_norm=640.0, **changes))
        assert bool(told) == (changes["resolution"] == 32)  # another one has its own median

    def test_fading_on_is_no_change(self) -> None:
        watch = watching(lod=0.75)
        assert len(watch.warnings(tick(10.0, lod=0.5, D_grad_norm=640.0))) == 1

    def test_nothing_is_told_of_the_first_ticks(self) -> None:
        watch = Watch([], first_phase_kimg=0.0)
        assert watch.warnings(tick(1.0, D_grad_norm=982.0, real_score=500.0)) == []
        assert watch.warnings(tick(2.0, D_grad_norm=1.0, real_score=500.0, fake_score=0.0)) == []
        assert len(watch.warnings(tick(3.0, D_grad_norm=21.0))) == 1


class TestScores:
    @pytest.mark.parametrize("sign", [1, -1])
    def test_a_drift_is_told_once_until_it_is_over(self, sign: int) -> None:
        watch = watching()
        for k in range(10):  # slowly: what it is compared with does not drift along
            score = sign * 10.0 * (k + 1)
            assert (
                watch.warnings(tick(5.0 + k, real_score=score, fake_score=score - 3 * sign)) == []
            )
        assert watch.warnings(tick(16.0, real_score=sign * 101.0, fake_score=sign * 98.0)) == [
            f"At kimg 16.0 the mean score of reals is {sign * 101} where 3 is the usual gap "
            "between reals and fakes, so that D may be adrift; look at its samples."
        ]
        assert watch.warnings(tick(17.0, real_score=sign * 500.0)) == []
        assert watch.warnings(tick(18.0)) == []
        assert len(watch.warnings(tick(19.0, real_score=sign * 500.0))) == 1

    def test_fakes_may_drift_alone(self) -> None:
        watch = watching()
        (said,) = watch.warnings(tick(10.0, real_score=1.0, fake_score=-101.0))
        assert "the mean score of fakes is -101 where " in said

    def test_large_scores_are_usual_where_gaps_are_large(self) -> None:
        watch = watching(real_score=300.0, fake_score=-300.0)
        assert watch.warnings(tick(10.0, real_score=900.0, fake_score=300.0)) == []
        assert len(watch.warnings(tick(11.0, real_score=6001.0, fake_score=300.0))) == 1

    def test_a_change_of_resolution_is_none(self) -> None:
        assert watching().warnings(tick(10.0, resolution=64, real_score=101.0)) == []


class TestSpread:
    def test_a_collapse_is_told_once_until_it_is_over(self) -> None:
        watch = watching()
        assert watch.warnings(tick(10.0, fake_spread=0.0341)) == []
        assert watch.warnings(tick(11.0, fake_spread=0.02)) == [
            "At kimg 11.0 the samples differ by 0.02 and reals by 0.34 (standard deviation), "
            "so that G may have collapsed; look at its samples."
        ]
        assert watch.warnings(tick(12.0, fake_spread=0.0)) == []
        assert watch.warnings(tick(13.0)) == []
        assert len(watch.warnings(tick(14.0, fake_spread=0.0))) == 1

    def test_the_first_phase_is_left_in_peace(self) -> None:
        watch = Watch([], first_phase_kimg=6.0)
        assert watch.warnings(tick(2.0, fake_spread=0.0)) == []
        assert watch.warnings(tick(6.0, fake_spread=0.0)) == []
        assert len(watch.warnings(tick(6.1, fake_spread=0.0, resolution=64))) == 1

    def test_reals_that_are_all_alike_are_no_measure(self) -> None:
        assert watching().warnings(tick(9.0, fake_spread=0.0, real_spread=0.0)) == []


def test_several_are_told_together() -> None:
    worst = tick(9.0, D_grad_norm=1e3, G_grad_norm=1e3, real_score=-1e3, fake_spread=0.0)
    said = watching().warnings(worst)
    assert len(said) == 4
    assert all(text.startswith("At kimg 9.0 ") and text.count(".") >= 1 for text in said)
    assert all("\n" not in text and text.endswith("; look at its samples.") for text in said)


@pytest.mark.parametrize("name", tick(0.0))
@pytest.mark.parametrize("value", [None, "640", math.nan, math.inf, 10**400, [1.0]], ids=type)
def test_what_is_no_number_is_not_judged_and_changes_nothing(name: str, value: Any) -> None:
    watch = watching()
    assert watch.warnings(tick(9.0) | {name: value}) == []
    without = tick(9.5)
    del without[name]
    assert watch.warnings(without) == []
    exploded = tick(10.0, D_grad_norm=640.0, real_score=640.0, fake_spread=0.0)
    assert len(watch.warnings(exploded)) == 3


def test_runs_without_the_newer_statistics_are_watched_by_the_others() -> None:
    older = tick(9.0, D_grad_norm=640.0)
    del older["fake_spread"], older["real_spread"]
    assert len(watching().warnings(older)) == 1


def test_damaged_lines_are_left_out() -> None:
    lines = [json.dumps(tick(float(k))).encode() for k in range(5)]
    torn = [b"", b"{", b"[]", b"7", b"\xff", lines[0][:50], *lines, lines[0] + lines[1]]
    watch = Watch(torn, first_phase_kimg=0.0)
    assert len(watch.warnings(tick(9.0, D_grad_norm=640.0))) == 1


def random_run(seed: int) -> list[Stats]:
    """Two resolutions, a fade, and statistics that explode, drift and collapse now and then."""
    rng = np.random.default_rng(seed)
    stats = []
    for k in range(60):
        wild = rng.random(4) < 0.25
        stats.append(
            tick(
                k / 2,
                resolution=16 if k < 15 else 32,
                lod=1.0 if k < 15 else max(0.0, 1 - (k - 14) / 10),
                D_grad_norm=rng.lognormal(1, 0.5) * (1000 if wild[0] else 1),
                G_grad_norm=rng.lognormal(1, 0.5) * (1000 if wild[1] else 1),
                real_score=rng.normal() * (1000 if wild[2] else 1),
                fake_spread=0.3 * (0.01 if wild[3] else 1),
            )
        )
    return stats


@pytest.mark.parametrize("seed", range(3))
def test_a_resumed_run_warns_as_an_uninterrupted_one(seed: int) -> None:
    run = random_run(seed)
    lines = [json.dumps(stats).encode() for stats in run]
    straight = Watch([], first_phase_kimg=2.0)
    expected = [straight.warnings(stats) for stats in run]
    assert sum(map(len, expected)) > 20
    for cut in range(len(run) + 1):
        resumed = Watch(lines[:cut], first_phase_kimg=2.0)
        assert [resumed.warnings(stats) for stats in run[cut:]] == expected[cut:]
