"""Metric names and the JSON contract of a result."""

import json

import pytest

from pgbench.metrics import MetricResult, MetricSpec, parse
from pgbench.metrics.registry import SWD_VERSION


@pytest.mark.parametrize(
    ("name", "kind", "num_images", "needs_reals"),
    [
        ("swd16k", "swd", 16384, True),
        ("swd8k", "swd", 8192, True),
        ("swd2k", "swd", 2048, True),
        ("swd256", "swd", 256, True),
        ("msssim10k", "msssim", 20000, False),
        ("msssim1", "msssim", 2, False),
        ("is50k", "is", 50_000, False),
        ("fid50k", "fid", 50_000, True),
        ("kid1k", "kid", 1000, True),
        ("prdc500", "prdc", 500, True),
        ("modes25k", "modes", 10 * 25_600, False),
        ("modes64", "modes", 640, False),
    ],
)
def test_names_carry_the_count(name, kind, num_images, needs_reals):
    spec = parse(name)
    version = SWD_VERSION if kind == "swd" else 1
    assert spec == MetricSpec(name, kind, num_images, version)
    assert spec.needs_reals == needs_reals
    assert spec.needs_features == (kind not in ("swd", "msssim", "modes"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("is-effnetlite0-5k", "is"),
        ("fd-effnetlite0-5k", "fid"),
        ("kd-effnetlite0-5k", "kid"),
        ("prdc-effnetlite0-5k", "prdc"),
    ],
)
def test_another_network_has_names_of_its_own(name, kind):
    assert parse(name) == MetricSpec(name, kind, 5000, 1, efficientnet=True)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "swd",
        "swd0",
        "swd0k",
        "swd-1",
        "swd16K",
        "swd16k ",
        "swd16k\n",
        "fid",
        "fid-effnetlite0-5k",
        "fd50k",
        "swd٣",
    ],
)
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="give swd, msssim, is, fid, kid, prdc or modes") as caught:
        parse(name)
    assert repr(name) in str(caught.value)


def test_the_json_object_is_the_contract():
    result = MetricResult(
        "swd", 1, 8, 0, {"16": 1.5, "avg": 1.5}, {"16": 0.1, "avg": None}, {}, 0.2
    )
    assert json.loads(json.dumps(result.to_json())) == {
        "schema": 1,
        "metric": "swd",
        "metric_version": 1,
        "num_images": 8,
        "seed": 0,
        "values": {"16": 1.5, "avg": 1.5},
        "stderr": {"16": 0.1, "avg": None},
        "noise_floor": None,
        "protocol": {},
        "wall_sec": 0.2,
    }
