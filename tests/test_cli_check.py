"""`pgbench check`: exit codes, what it says where, and files it cannot use."""

import json
import pickle
import xml.etree.ElementTree as ET

import pytest


def result(values=None, **changes):
    values = values or {"32": 8.0, "avg": 4.0}
    found = {
        "schema": 1,
        "metric": "swd",
        "metric_version": 2,
        "num_images": 64,
        "seed": 0,
        "values": values,
        "stderr": dict.fromkeys(values, 0.25),
        "noise_floor": None,
        "protocol": {"mirror": False},
        "wall_sec": 1.5,
    }
    return found | changes


def entry(number=8.0, **changes):
    fields = {
        "of": {"file": "swd", "num_images": 64, "seed": 0},
        "metric": "swd",
        "key": "32",
        "stderr": 0.25,
        "metric_version": 2,
        "protocol": {"mirror": False},
    }
    return fields | {"value": number} | changes


BAND = 4 * 0.25 * 2**0.5


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the command is called; no page of a GitHub job is set."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def check(pgbench, folder):
    """Call `pgbench check swd.json --baseline base.json` on a result and entries, or on bytes."""

    def call(measured, expected, *options, **settings):
        baseline = {"schema": 1, "values": expected, **settings}
        for name, each in (("swd.json", measured), ("base.json", baseline)):
            (folder / name).write_text(json.dumps(each))
        return pgbench("check", "swd.json", "--baseline", "base.json", *options)

    return call


def assert_refused(ended, why):
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith("Error: ")
    assert why in ended.err
    assert "\x1b" not in ended.err


def test_what_passes_is_counted_in_one_line(check):
    ended = check(result({"32": 8.0 + BAND - 1e-9}), [entry()])
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        "1 values: 1 passed, 0 left the band, 0 measured otherwise, 0 missing, 0 new; bands are "
        "standard errors or floors.\n"
    )


def test_verbose_shows_what_passed(check):
    ended = check(result({"32": 8.5}), [entry()], "--verbose")
    row = next(line for line in ended.out.splitlines() if line.startswith("swd 32"))
    cells = [cell.strip() for cell in row.split("│")]
    assert cells == ["swd 32 (swd, num_images 64, seed 0)", "8", "8.5", "1.414214", "passed"]


def test_what_left_its_band_is_named_with_exit_code_1(check):
    ended = check(result({"32": 9.5}), [entry()])
    assert (ended.code, ended.err) == (1, "")
    rows = [line for line in ended.out.splitlines() if line.startswith("swd 32")]
    assert [cell.strip() for cell in rows[0].split("│")][1:] == [
        *("8", "9.5", "1.414214"),
        "left the band",
    ]
    assert rows[1] == (
        "swd 32 (swd, num_images 64, seed 0): It moved by +1.5, more than 4 standard errors, "
        "1.41421."
    )


@pytest.mark.parametrize(("options", "settings"), [(["--exact"], {}), ([], {"exact": True})])
def test_exact_is_an_option_or_of_the_baseline(check, options, settings):
    ended = check(result({"32": 8.001}), [entry()], *options, **settings)
    assert ended.code == 1
    assert ended.out.endswith("bands are floors (exact).\n")
    assert "more than its floor, 8e-06." in ended.out


def test_missing_new_and_incomparable_values(check):
    entries = [entry(key="avg", value=4.0, metric_version=1), entry(key="16")]
    ended = check(result(), entries)
    assert ended.code == 1
    assert "swd 16 (swd, num_images 64, seed 0): It was not measured.\n" in ended.out
    assert "numbers do not compare: metric_version was 1 and is 2.\n" in ended.out
    assert ended.out.splitlines()[-1].startswith(
        "3 values: 0 passed, 0 left the band, 1 measured otherwise, 1 missing, 1 new;"
    )
    assert check(result(), [entry(), entry(key="avg", value=4.0)]).code == 0


def test_a_new_value_alone_does_not_fail(check):
    assert check(result(), [entry()]).code == 0


def test_json_is_one_object(check):
    ended = check(result({"32": 9.5}), [entry()], "--json")
    assert (ended.code, ended.err, ended.out.count("\n")) == (1, "", 1)
    found = json.loads(ended.out)
    assert list(found) == ["schema", "passed", "exact", "counts", "problems", "values"]
    assert found["values"][0]["band"] == pytest.approx(BAND, rel=1e-12)


def test_junit_and_the_page_of_a_github_job(check, folder, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    for number, code in ((9.5, 1), (8.0, 0)):
        assert check(result({"32": number}), [entry()], "--junit", "junit.xml").code == code
        suite = ET.parse(folder / "junit.xml").getroot()[0]
        assert (suite.get("tests"), suite.get("failures")) == ("1", str(code))
    headings = [
        line for line in (folder / "summary.md").read_text().splitlines() if line.startswith("#")
    ]
    assert headings == ["## pgbench check: failed", "## pgbench check: passed"]


def test_a_page_that_cannot_be_written_fails_no_check(check, folder, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder))
    ended = check(result({"32": 8.0}), [entry()])
    assert (ended.code, ended.err) == (
        0,
        "GITHUB_STEP_SUMMARY cannot be written (Is a directory).\n",
    )


def test_update_writes_what_then_passes(pgbench, folder):
    (folder / "out").mkdir()
    for name in ("swd", "swd-again"):
        (folder / "out" / f"{name}.json").write_text(json.dumps(result()))
    call = ("check", "out", "--baseline", "out/base.json")
    ended = pgbench(*call, "--update", "--exact")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "Wrote out/base.json: 4 values, 4 new, 0 changed, 0 gone.\n"
    first = json.loads((folder / "out" / "base.json").read_text())
    assert (first["exact"], first["floor"]) == (True, {"absolute": 1e-9, "relative": 1e-6})
    first["values"][0]["floor"] = {"relative": 0.5}
    (folder / "out" / "base.json").write_text(json.dumps(first))
    (folder / "out" / "swd.json").write_text(json.dumps(result({"32": 9.0, "16": 1.0})))
    assert pgbench(*call).code == 1
    ended = pgbench(*call, "--update", "--json")
    assert json.loads(ended.out) == {
        **{"schema": 1, "baseline": "out/base.json"},
        **{"values": 4, "new": 1, "changed": 1, "gone": 1},
    }
    second = json.loads((folder / "out" / "base.json").read_text())
    assert second["exact"] is True
    assert [each.get("floor") for each in second["values"]] == [None, {"relative": 0.5}, None, None]
    assert pgbench(*call).code == 0


def test_runs_are_checked_as_they_were_measured(pgbench, copied, folder):
    call = ("check", copied.out, "--baseline", "base.json")
    assert pgbench(*call, "--update").code == 0
    assert pgbench(*call, "--exact").code == 0
    assert pgbench("check", copied.run, *call[2:], "--exact").code == 0
    place = copied.run / "metrics.jsonl"
    kept = [json.loads(line) for line in place.read_text().splitlines()]
    kept[0]["value"] *= 1.001
    kept[1]["protocol"]["mirror"] = "sideways"
    place.write_text("".join(f"{json.dumps(each)}\n" for each in kept[:-1]) + "{torn")
    ended = pgbench(*call, "--exact")
    assert ended.code == 1
    assert "was set aside" in ended.err
    assert 'protocol.mirror was true and is "sideways"' in ended.out
    assert "1 left the band, 1 measured otherwise, 1 missing, 0 new" in ended.out


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "base.json is not readable as JSON"),
        (b"[" * 10**5, "base.json is not readable as JSON"),
        (b'{"a": 1, "a": 2}', "an object has a key twice"),
        (b"\x00\xff\x1b[2J", "base.json is not readable as JSON"),
        (pickle.dumps({"schema": 1}), "base.json is not readable as JSON"),
        (b"[]", "base.json is no baseline ("),
        (b"{}", "base.json is no baseline (values: Field required)"),
        (b'{"schema": 1, "values": []}', "base.json has no values, so it guards nothing"),
        (b'{"schema": 2, "values": []}', "base.json is no baseline (schema: Input should be 1)"),
        (json.dumps({"values": [entry(float("nan"))]}).encode(), "values.0.value"),
        (json.dumps({"values": [entry(1e305)]}).encode(), "values.0.value"),
        (json.dumps({"values": [entry("8")]}).encode(), "values.0.value"),
        (
            json.dumps({"values": [entry(), entry()]}).encode(),
            "it has 'swd 32 (swd, num_images 64, seed 0)' twice",
        ),
        (json.dumps({"values": [entry(floor={"\x1b": 1})]}).encode(), "values.0.floor.?: Extra"),
        (b" " * (2**26 + 1), "base.json is refused: a baseline has at most 67108864 bytes"),
    ],
)
def test_a_damaged_baseline_is_told_in_one_sentence(pgbench, check, folder, text, why):
    check(result(), [entry()])
    (folder / "base.json").write_bytes(text)
    call = ("check", "swd.json", "--baseline", "base.json")
    assert_refused(pgbench(*call), why)
    assert_refused(pgbench(*call, "--update"), why)
    assert (folder / "base.json").read_bytes() == text


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("swd.json",), "Missing option '--baseline'"),
        (("swd.json", "--baseline", "none.json"), "none.json cannot be read (No such file"),
        (("swd.json", "--baseline", "."), ". cannot be read (Is a directory)"),
        (("none", "--baseline", "base.json"), "none cannot be read (No such file"),
        (("empty", "--baseline", "base.json"), "empty has no values"),
        (("empty", "--baseline", "new.json", "--update"), "empty has no values"),
        (("foreign", "--baseline", "base.json"), "package.json is no result of a metric"),
        (("swd.json", "--baseline", "no/b.json", "--update"), "No such file or directory"),
        (("swd.json", "--baseline", "base.json", "--update", "--verbose"), "leave --junit and"),
        (("swd.json", "--baseline", "base.json", "--junit", "no/j.xml"), "no/j.xml cannot be"),
    ],
)
def test_wrong_calls_are_told(pgbench, check, folder, arguments, why):
    check(result(), [entry(), entry(key="avg", value=4.0)])
    (folder / "empty").mkdir()
    (folder / "foreign").mkdir()
    (folder / "foreign" / "package.json").write_text("{}")
    ended = pgbench("check", *arguments)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert why in ended.err


def test_names_cannot_write_to_the_terminal(check):
    odd = {"row": "\x1b[2J[bold]x\n", "kimg": 1.0}
    ended = check(result({"32": 8.0}), [entry(of=odd)])
    assert ended.code == 1
    assert "\x1b" not in ended.out + ended.err
    assert "swd 32 ( [2J[bold]x , kimg 1): It was not measured." in ended.out
