"""The schedule at points computed by hand, and its properties."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgbench.config import ScheduleConfig
from pgbench.schedule import level_of_detail, minibatch_at, training_point
from pgbench.schedule import resolutions as trained_at

# table 1: 128x128, so 5 doublings from 4x4, each 800 kimg of training and 800 of fading
TABLE1 = ScheduleConfig(train_kimg=800, fade_kimg=800, total_kimg=10_000, minibatch=16)
BASELINE_MINIBATCHES = ((256, 14), (512, 6), (1024, 3))


def point(nimg, schedule=TABLE1, *, resolution=128, rampup_kimg=0.0):
    return training_point(nimg, schedule, resolution=resolution, rampup_kimg=rampup_kimg)


def exact_lod(nimg, schedule, resolution):
    """lod_start - floor(phase) - max(0, (kimg_in_phase - train)/fade), in exact fractions."""
    train, fade = (Fraction(str(x)) * 1000 for x in (schedule.train_kimg, schedule.fade_kimg))
    phase = nimg // (train + fade)
    in_phase = nimg - phase * (train + fade)
    lod_start = int(math.log2(resolution)) - 2
    return max(Fraction(0), lod_start - phase - max(Fraction(0), (in_phase - train) / fade))


@pytest.mark.parametrize(
    ("nimg", "lod", "resolution", "active_lods"),
    [
        (0, 5.0, 4, (5, 5)),
        (799_999, 5.0, 4, (5, 5)),
        (800_000, 5.0, 4, (5, 5)),  # the fade begins
        (1_000_000, 4.75, 8, (4, 5)),
        (1_200_000, 4.5, 8, (4, 5)),
        (1_600_000, 4.0, 8, (4, 4)),  # the fade has ended
        (2_400_000, 4.0, 8, (4, 4)),
        (2_800_000, 3.5, 16, (3, 4)),
        (3_200_000, 3.0, 16, (3, 3)),
        (4_400_000, 2.5, 32, (2, 3)),
        (4_800_000, 2.0, 32, (2, 2)),
        (6_000_000, 1.5, 64, (1, 2)),
        (6_400_000, 1.0, 64, (1, 1)),
        (7_200_000, 1.0, 64, (1, 1)),
        (7_600_000, 0.5, 128, (0, 1)),
        (7_800_000, 0.25, 128, (0, 1)),
        (8_000_000, 0.0, 128, (0, 0)),
        (8_800_000, 0.0, 128, (0, 0)),
        (9_200_000, 0.0, 128, (0, 0)),  # the formula alone would say -0.5
        (10_000_000, 0.0, 128, (0, 0)),
    ],
)
def test_table1(nimg, lod, resolution, active_lods):
    here = point(nimg)
    assert (here.nimg, here.lod) == (nimg, lod)
    assert (here.resolution, here.active_lods) == (resolution, active_lods)
    assert (here.minibatch, here.lr_factor) == (16, 1.0)


def test_one_image_into_a_fade_both_resolutions_are_active():
    here = point(800_001)
    assert here.lod == pytest.approx(5 - 1 / 800_000, abs=1e-12)
    assert (here.resolution, here.active_lods) == (8, (4, 5))


def test_unequal_train_and_fade():
    schedule = ScheduleConfig(train_kimg=500, fade_kimg=2000)  # MNIST: 32x32, 3 doublings
    expected = {0: 3, 500: 3, 1500: 2.5, 2500: 2, 3000: 2, 3500: 1.75, 5000: 1, 7000: 0.25, 7500: 0}
    lods = {kimg: point(kimg * 1000, schedule, resolution=32).lod for kimg in expected}
    assert lods == expected


@pytest.mark.parametrize(
    ("resolution", "lod_start"), [(4, 0), (8, 1), (32, 3), (256, 6), (1024, 8)]
)
def test_starts_at_4x4(resolution, lod_start):
    here = point(0, resolution=resolution)
    assert (here.lod, here.resolution) == (lod_start, 4)


@pytest.mark.parametrize("nimg", [0, 1_200_000, 10_000_000])
def test_without_growing_it_is_full_resolution_from_the_start(nimg):
    here = point(nimg, ScheduleConfig(growing=False, minibatch=64))
    assert (here.lod, here.resolution, here.active_lods) == (0.0, 128, (0, 0))
    assert here.minibatch == 64


@pytest.mark.parametrize(
    ("kimg", "resolution", "minibatch"),
    [
        (0, 4, 16),
        (7_200, 64, 16),
        (8_000, 128, 16),
        (8_800, 128, 16),  # lod exactly 3
        (9_000, 256, 14),  # lod 2.75: G makes and D sees 256x256
        (9_600, 256, 14),
        (10_600, 512, 6),
        (11_200, 512, 6),
        (12_000, 512, 6),
        (12_001, 1024, 3),
        (12_800, 1024, 3),
        (19_000, 1024, 3),
    ],
)
def test_minibatch_is_that_of_the_resolution_of_floor_lod(kimg, resolution, minibatch):
    schedule = ScheduleConfig(minibatch_at=BASELINE_MINIBATCHES)
    here = point(kimg * 1000, schedule, resolution=1024)
    assert (here.resolution, here.minibatch) == (resolution, minibatch)


@pytest.mark.parametrize(
    ("nimg", "factor"),
    [
        (0, 0.006737946999085467),  # exp(-5)
        (20_000, 0.2865047968601901),  # exp(-5/4)
        (30_000, 0.7316156289466418),  # exp(-5/16)
        (40_000, 1.0),
        (40_001, 1.0),
        (10_000_000, 1.0),
    ],
)
def test_learning_rate_ramps_up_over_40_kimg(nimg, factor):
    assert point(nimg, rampup_kimg=40.0).lr_factor == pytest.approx(factor, rel=1e-12)


def test_resolutions_that_are_trained_at():
    assert trained_at(ScheduleConfig(), full=32) == [4, 8, 16, 32]
    assert trained_at(ScheduleConfig(growing=False), full=1024) == [1024]
    later = ScheduleConfig(minibatch=16, minibatch_at=((8, 6),))
    assert [minibatch_at(side, later) for side in (4, 8, 16)] == [16, 6, 16]


def test_adam_starts_afresh_twice_for_each_doubling():
    """floor(lod) changes when a fade begins, ceil(lod) when it ends."""
    steps = [point(nimg) for nimg in range(0, 10_000_000, 1600)]
    changes = {
        after.nimg: after.active_lods
        for before, after in pairwise(steps)
        if before.active_lods != after.active_lods
    }
    assert changes == {
        801_600: (4, 5),
        1_600_000: (4, 4),
        2_401_600: (3, 4),
        3_200_000: (3, 3),
        4_001_600: (2, 3),
        4_800_000: (2, 2),
        5_601_600: (1, 2),
        6_400_000: (1, 1),
        7_201_600: (0, 1),
        8_000_000: (0, 0),
    }


tenths = st.integers(1, 10_000).map(lambda n: n / 10)
schedules = st.builds(ScheduleConfig, train_kimg=tenths, fade_kimg=tenths)
resolutions = st.sampled_from([4, 8, 16, 32, 64, 128, 256, 512, 1024])
clocks = st.integers(0, 20_000_000)


@given(nimg=clocks, schedule=schedules, resolution=resolutions)
def test_agrees_with_exact_arithmetic(nimg, schedule, resolution):
    measured = level_of_detail(nimg, schedule, resolution=resolution)
    assert measured == pytest.approx(float(exact_lod(nimg, schedule, resolution)), abs=1e-9)


@given(nimg=clocks, schedule=schedules, resolution=resolutions)
def test_what_holds_at_a_point_fits_together(nimg, schedule, resolution):
    here = point(nimg, schedule, resolution=resolution)
    assert 0 <= here.lod <= math.log2(resolution / 4)
    assert here.resolution == resolution / 2 ** math.floor(here.lod)
    assert 4 <= here.resolution <= resolution
    assert here.active_lods == (math.floor(here.lod), math.ceil(here.lod))


@given(clock=st.tuples(clocks, clocks).map(sorted), schedule=schedules, resolution=resolutions)
def test_lod_never_rises(clock, schedule, resolution):
    before, after = (level_of_detail(nimg, schedule, resolution=resolution) for nimg in clock)
    assert after <= before + 1e-9


@given(
    clock=st.tuples(st.integers(0, 50_000), st.integers(0, 50_000)).map(sorted),
    rampup_kimg=st.floats(0, 40),
)
def test_learning_rate_never_falls(clock, rampup_kimg):
    before, after = (point(nimg, rampup_kimg=rampup_kimg).lr_factor for nimg in clock)
    assert math.exp(-5) <= before <= after <= 1


@given(
    doublings=st.integers(1, 8),
    train=st.integers(1, 10**6),
    fade=st.integers(1, 10**6),
)
def test_boundaries_are_exact_to_the_image(doublings, train, fade):
    """No rounding may let Adam start afresh a step early or late."""
    schedule = ScheduleConfig(train_kimg=train / 1000, fade_kimg=fade / 1000)
    begin = (doublings - 1) * (train + fade) + train
    lods = [level_of_detail(nimg, schedule, resolution=1024) for nimg in (begin, begin + fade)]
    assert lods == [9 - doublings, 8 - doublings]
