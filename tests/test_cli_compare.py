"""`pgbench compare` says what is apart, refuses what was not measured alike, and trusts no file."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest


def result(**changes):
    found = {
        "schema": 1,
        "metric": "prdc-effnetlite0",
        "metric_version": 1,
        "num_images": 64,
        "seed": 0,
        "values": {"precision-effnetlite0": 0.5, "recall-effnetlite0": 0.25},
        "stderr": {"precision-effnetlite0": 0.03, "recall-effnetlite0": None},
        "noise_floor": None,
        "protocol": {"mirror": False},
        "wall_sec": 1.5,
    }
    return found | changes


HIGHER = result(seed=1, values={"precision-effnetlite0": 0.625, "recall-effnetlite0": 0.25})


@pytest.fixture
def compare(pgbench, tmp_path, monkeypatch):
    """Call `pgbench compare` on two results, or on two texts, in files A and B."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(a, b, *options):
        for name, each in (("a.json", a), ("b.json", b)):
            text = each if isinstance(each, bytes) else json.dumps(each).encode()
            (tmp_path / name).write_bytes(text)
        return pgbench("compare", tmp_path / "a.json", tmp_path / "b.json", *options)

    return call


def assert_refused(ended, why):
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith("Error: ")
    assert why in ended.err


def test_the_table_has_a_verdict_for_each_value(compare):
    ended = compare(result(), HIGHER)
    assert (ended.code, ended.err) == (0, "")
    headings, _, rows = ended.out.partition("━")
    for heading in ("prdc-effnetlite0", "A", "B", "B - A", "standard", "error", "verdict"):
        assert f" {heading} " in f" {headings} ".replace("\n", " ")
    # 0.125 is more than 1.96 times the root of 2 times 0.03
    assert [[cell.strip() for cell in row.split("│")] for row in rows.splitlines()[1:]] == [
        ["precision-effnetlite0", "0.5000", "0.6250", "+0.1250", "0.0424", "B is higher"],
        ["recall-effnetlite0", "0.2500", "0.2500", "+0.0000", "none", "no standard error"],
    ]


def test_json_is_one_object(compare):
    ended = compare(HIGHER, result(), "--json")
    assert (ended.code, ended.err, ended.out.count("\n")) == (0, "", 1)
    assert json.loads(ended.out) == {
        "schema": 1,
        "differences": [
            {
                "key": "precision-effnetlite0",
                "a": 0.625,
                "b": 0.5,
                "difference": -0.125,
                "stderr": pytest.approx(0.03 * 2**0.5),
                "verdict": "B is lower",
            },
            {
                "key": "recall-effnetlite0",
                "a": 0.25,
                "b": 0.25,
                "difference": 0.0,
                "stderr": None,
                "verdict": "no standard error",
            },
        ],
    }


def test_what_metrics_printed_is_compared(pgbench, tmp_path, compare):
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 3, 16, 16), np.uint8)
    for name, pixels in zip(("real", "fake"), images, strict=True):
        np.save(tmp_path / f"{name}.npy", pixels)
    printed = [
        pgbench("metrics", "swd", tmp_path / "real.npy", tmp_path / fake, "--json", *options).out
        for fake, options in (("fake.npy", ()), ("real.npy", ("--seed", 3)))
    ]
    ended = compare(*(each.encode() for each in printed), "--json")
    assert ended.code == 0
    found = json.loads(ended.out)["differences"]
    assert [each["key"] for each in found] == ["16", "avg"]
    assert {each["verdict"] for each in found} == {"B is lower"}
    assert [each["b"] for each in found] == [0, 0]


@pytest.mark.parametrize(
    ("b", "field"),
    [
        (result(metric="fd-effnetlite0"), "metric"),
        (result(metric_version=2), "metric_version"),
        (result(num_images=65), "num_images"),
        (result(protocol={"mirror": True}), "protocol.mirror"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_refusal_names_the_field(compare, b, field, options):
    assert_refused(compare(result(), b, *options), f"A and B differ in {field}, ")


def test_repeats_and_single_ones_do_not_compare(compare):
    repeated = result(protocol={"mirror": False, "repeats": 3})
    assert_refused(compare(result(), repeated), "B has protocol.repeats, but A has not")


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "b.json is not readable as JSON"),
        (b"[1, 2", "b.json is not readable as JSON"),
        (b"[" * 10**5, "b.json is not readable as JSON"),
        (b"\x00\xff\x1b[2J", "b.json is not readable as JSON"),
        (b"{}", "b.json is no result of a metric: it lacks the field schema"),
        (b"[]", "b.json is no result of a metric: it is not a JSON object"),
        (b" " * (2**22 + 1), "b.json is refused: a result has at most"),
        (json.dumps(result(values=float("nan"))).encode(), "the values NaN, which is not"),
        (json.dumps(result(metric="\x1b[2J\n")).encode(), r'"\u001b[2J\n", which is not a name'),
        (json.dumps(result(**{"a\nb": 1})).encode(), r'it has a field "a\nb"'),
    ],
)
def test_a_hostile_file_is_named_in_one_sentence(compare, text, why, options):
    ended = compare(result(), text, *options)
    assert_refused(ended, why)
    assert "\x1b" not in ended.err


def test_nothing_is_unpickled(compare, tmp_path):
    trap = tmp_path / "touched"
    assert_refused(compare(pickle.dumps(Touch(trap)), result()), "a.json is not readable as JSON")
    assert not trap.exists()


def test_values_whose_difference_would_be_infinite_are_refused(compare):
    huge = {"precision-effnetlite0": 1.7e308, "recall-effnetlite0": 0.0}
    low = {key: -value for key, value in huge.items()}
    assert_refused(
        compare(result(values=low), result(values=huge)), "which is not an object of finite numbers"
    )


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "Missing argument 'A'"),
        (("a.json",), "Missing argument 'B'"),
        (("none.json", "none.json"), "none.json cannot be read (No such file"),
        ((".", "."), "cannot be read (Is a directory"),
        (("a", "b", "c"), "unexpected extra argument"),
    ],
)
def test_wrong_calls_are_told(pgbench, tmp_path, monkeypatch, arguments, why):
    monkeypatch.chdir(tmp_path)
    assert_refused(pgbench("compare", *arguments), why)
