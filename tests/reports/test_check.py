"""Bands in closed form, what does not compare, and output that hostile names cannot break."""

import math
import xml.etree.ElementTree as ET

import pytest

from pgbench.reports.baseline import Baseline, Floor, Value, read_baseline, write_baseline
from pgbench.reports.check import Measured, check, gather
from pgbench.reports.verdicts import closing, to_json, to_junit, to_markdown
from pgbench.results import load_results

HOSTILE = "a]]>\"'&<b>|`\x1b[2J\x00\u202e\ud800\uffff\n[red]"


def value(number=100.0, stderr=None, **changes):
    fields = {
        "of": {"file": "swd", "num_images": 64, "seed": 0},
        "metric": "swd",
        "key": "32",
        "metric_version": 2,
        "protocol": {"mirror": False},
    }
    return Value(**fields | {"value": number, "stderr": stderr} | changes)


def outcome(before, now, **settings):
    (found,) = check(Measured([now], {}, []), Baseline(values=[before], **settings))
    return found


@pytest.mark.parametrize(
    ("settings", "own", "band"),
    [
        ({}, None, 1e-4),  # 1e-6 of 100
        ({"floor": Floor(relative=1e-3, absolute=0.5)}, None, 0.5),
        ({"floor": Floor(relative=1e-2, absolute=0.5)}, None, 1.0),
        ({"floor": Floor(relative=1e-2)}, Floor(relative=1e-4), 1e-2),
        ({"floor": Floor(absolute=2.0)}, Floor(relative=1e-4), 2.0),
        ({"floor": Floor(absolute=2.0)}, Floor(relative=1e-4, absolute=0.0), 1e-2),
    ],
)
def test_without_standard_errors_the_band_is_the_floor(settings, own, band):
    before = value(floor=own)
    assert outcome(before, value(), **settings).band == pytest.approx(band, rel=1e-12)


@pytest.mark.parametrize(
    ("before", "now", "band"),
    [
        (3.0, 3.0, 4 * math.sqrt(18)),
        (3.0, 4.0, 4 * math.sqrt(18)),  # the new one counts for at most the old one
        (4.0, 3.0, 20.0),
        (3.0, 1e9, 4 * math.sqrt(18)),
        (3.0, 0.0, 12.0),
        (0.0, 3.0, 1e-4),
        (None, 3.0, 1e-4),
        (3.0, None, 1e-4),
    ],
)
def test_the_band_is_of_both_standard_errors(before, now, band):
    found = outcome(value(stderr=before), value(stderr=now))
    assert found.band == pytest.approx(band, rel=1e-12)
    assert outcome(value(stderr=before), value(stderr=now), exact=True).band == pytest.approx(1e-4)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_value_on_the_edge_passes_and_one_beyond_it_moved(sign):
    before = value(stderr=3.0)
    settings = {"standard_errors": 2.0}
    edge = 2 * math.sqrt(18)
    inside = outcome(before, value(100 + sign * (edge - 1e-9), 3.0), **settings)
    outside = outcome(before, value(100 + sign * (edge + 1e-9), 3.0), **settings)
    assert (inside.verdict, inside.failed, inside.why) == ("passed", False, "")
    assert (outside.verdict, outside.failed) == ("moved", True)
    moved = f"{sign * edge:+.6g}"
    assert outside.why == f"It moved by {moved}, more than 2 standard errors, {edge:.6g}."


def test_an_absolute_floor_of_zero_takes_equal_values_only():
    exactly = {"floor": Floor(relative=0.0, absolute=0.0)}
    assert outcome(value(0.0), value(0.0), **exactly).verdict == "passed"
    assert outcome(value(0.0), value(5e-324), **exactly).verdict == "moved"
    assert outcome(value(), value(math.nextafter(100, 101)), **exactly).verdict == "moved"


def test_other_conditions_do_not_compare_and_are_told_field_by_field():
    now = value(metric_version=3, protocol={"mirror": 0, "levels": [32, 16]}, stderr=5.0)
    found = outcome(value(protocol={"mirror": False, "dtype": "float32"}), now)
    assert (found.verdict, found.failed, found.band) == ("incomparable", True, None)
    assert found.differing == {
        "metric_version": ("2", "3"),
        "protocol.mirror": ("false", "0"),
        "protocol.dtype": ('"float32"', "absent"),
        "protocol.levels": ("absent", "[32, 16]"),
    }
    assert found.why == (
        "It was measured otherwise, so the numbers do not compare: metric_version was 2 and is 3; "
        'protocol.mirror was false and is 0; protocol.dtype was "float32" and is absent; '
        "protocol.levels was absent and is [32, 16]."
    )


def test_missing_values_fail_and_new_ones_are_told():
    gone, new, other = value(key="16"), value(key="64"), value()
    measured = Measured([new, other], {gone.name: "failed: out of memory"}, [])
    found = check(measured, Baseline(values=[gone, other]))
    assert [(each.known.key, each.verdict, each.failed) for each in found] == [
        ("16", "missing", True),
        ("32", "passed", False),
        ("64", "new", False),
    ]
    assert found[0].why == "It was not measured (failed: out of memory)."
    assert closing(found, exact=False) == (
        "3 values: 1 passed, 0 left the band, 0 measured otherwise, 1 missing, 1 new; bands are "
        "standard errors or floors."
    )


def test_a_baseline_comes_back_from_its_file_as_it_was(tmp_path):
    values = [value(key=key, stderr=0.1 + 0.2) for key in ("16", "32")]
    values[1] = values[1].model_copy(update={"floor": Floor(relative=1e-3)})
    made = Baseline(values=values, exact=True, standard_errors=3.0, floor=Floor(relative=1e-4))
    write_baseline(tmp_path / "b.json", made)
    first = (tmp_path / "b.json").read_bytes()
    assert read_baseline(tmp_path / "b.json") == made
    write_baseline(tmp_path / "b.json", read_baseline(tmp_path / "b.json"))
    assert (tmp_path / "b.json").read_bytes() == first
    assert b'      "value": 100.0,\n      "stderr": 0.30000000000000004,\n' in first


def test_an_update_sorts_and_keeps_what_was_set_by_hand():
    old = Baseline(
        values=[value(floor=Floor(absolute=7.0)), value(key="8")],
        standard_errors=2.0,
        floor=Floor(relative=0.5),
    )
    measured = [value(1.0, key="avg"), value(2.0, of={"file": "a"}), value(3.0)]
    new = old.updated(measured)
    assert [(each.of["file"], each.key, each.value, each.floor) for each in new.values] == [
        ("a", "32", 2.0, None),
        ("swd", "32", 3.0, Floor(absolute=7.0)),
        ("swd", "avg", 1.0, None),
    ]
    assert (new.standard_errors, new.floor) == (2.0, Floor(relative=0.5))


def test_values_sort_by_number():
    clocks = [value(of={"row": "g", "kimg": kimg}) for kimg in (12.0, 6.0, 100.5)]
    ordered = Baseline(values=[]).updated(clocks)
    assert [each.of["kimg"] for each in ordered.values] == [6.0, 12.0, 100.5]


SWD = ("swd256", "avg")


def test_records_are_known_by_their_row_and_clock(make_run, results):
    changes = {"stderr": 0.5, "num_images": 256, "protocol": {"mirror": True}, "kimg": 71.96}
    make_run("g", {SWD: 5.0}, seed=3, record=changes)
    (found,) = gather({}, load_results(results)).values
    assert found.of == {
        **{"artefact": "table1", "row": "g", "dataset": "portraits", "profile": "desktop"},
        **{"resolution": 64, "seed": 3, "kimg": 72.0},
    }
    assert (found.metric, found.key, found.value, found.stderr) == (*SWD, 5.0, 0.5)
    assert found.conditions == {
        **{"metric_version": 1, "protocol.mirror": True, "protocol.num_images": 256},
        "protocol.dataset_fingerprint": "f0",
    }
    assert found.place == "table1 g portraits desktop, resolution 64, seed 3, kimg 72"


def test_only_the_newest_version_of_a_metric_counts(make_run, results):
    run = make_run("g", {SWD: 5.0}, record={"metric_version": 2})
    old = run.records()[0][0].model_copy(update={"metric_version": 1, "value": 9.0})
    run.append_record(old)
    (found,) = gather({}, load_results(results)).values
    assert (found.value, found.metric_version) == (5.0, 2)


def test_a_failed_record_has_no_value_but_a_reason(make_run, results):
    failed = {"status": "failed", "value": None, "error": "diverged"}
    make_run("g", {SWD: 5.0}, record=failed)
    found = gather({}, load_results(results))
    assert (found.values, list(found.failed.values())) == ([], ["failed: diverged"])


def test_two_runs_of_one_name_are_refused(make_run, results):
    make_run("g", {SWD: 5.0})
    make_run("g", {SWD: 6.0}, lr=2e-3)
    with pytest.raises(ValueError, match=r"0\.001 and .*0\.002 both have swd256 avg of the same"):
        gather({}, load_results(results))


def hostile_outcomes():
    odd = {"of": {"file": HOSTILE, "num_images": 1, "seed": 0}, "metric": HOSTILE, "key": HOSTILE}
    before = [value(**odd, protocol={HOSTILE: HOSTILE}), value(key="1"), value(key="2")]
    now = [value(**odd), value(7.0, key="1"), value(key="9")]
    floor = Floor(relative=2**-20)
    return check(Measured(now, {before[2].name: HOSTILE}, []), Baseline(values=before, floor=floor))


def test_junit_is_well_formed_whatever_the_names():
    text = to_junit(hostile_outcomes())
    root = ET.fromstring(text.encode())
    assert root.tag == "testsuites"
    (suite,) = root
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "4", "failures": "3", "errors": "0", "skipped": "1"}
    cases = {case.get("name"): [each.tag for each in case] for case in suite}
    odd = "a]]>\"'&<b>|` [2J [red]"
    assert cases == {
        f"{odd} {odd}": ["failure"],
        "swd 1": ["failure"],
        "swd 2": ["failure"],
        "swd 9": ["skipped"],
    }
    moved = suite.find("testcase[@name='swd 1']/failure")
    assert moved is not None
    assert (moved.get("type"), moved.get("message")) == (
        "moved",
        "It moved by -93, more than its floor (there is no standard error), 9.53674e-05.",
    )
    assert moved.text == "baseline: 100.0 +- None\nmeasured: 7.0 +- None\nband: 9.5367431640625e-05"
    assert all(char.isprintable() or char == "\n" for char in text)


def test_markdown_stays_one_table_whatever_the_names():
    lines = to_markdown(hostile_outcomes(), exact=True).splitlines()
    assert lines[0] == "## pgbench check: failed"
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 4
    assert len({row.replace("\\|", "").count("|") for row in rows}) == 1
    assert "<b>" not in "".join(lines)


def test_json_has_every_value():
    found = to_json(hostile_outcomes(), ["one problem"], exact=False)
    assert (found["passed"], found["problems"]) == (False, ["one problem"])
    assert found["counts"] == {"passed": 0, "moved": 1, "incomparable": 1, "missing": 1, "new": 1}
    moved = next(each for each in found["values"] if each["verdict"] == "moved")
    assert moved == {
        "of": {"file": "swd", "num_images": 64, "seed": 0},
        "metric": "swd",
        "key": "1",
        "verdict": "moved",
        "baseline": {"value": 100.0, "stderr": None},
        "measured": {"value": 7.0, "stderr": None},
        "band": 100 / 2**20,
        "why": "It moved by -93, more than its floor (there is no standard error), 9.53674e-05.",
        "differing": {},
    }
