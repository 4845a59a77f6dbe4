"""Comparing two results: differences, verdicts, and everything that must not be compared."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgbench.metrics import msssim, swd
from pgbench.metrics.compare import Difference, compare, read_result


def result(**changes):
    found = {
        "schema": 1,
        "metric": "swd",
        "metric_version": 1,
        "num_images": 64,
        "seed": 0,
        "values": {"32": 4.0, "avg": 5.0},
        "stderr": {"32": 0.3, "avg": None},
        "noise_floor": None,
        "protocol": {"mirror": True, "levels": [32, 16], "scale": 1000.0},
        "wall_sec": 1.5,
    }
    return {**found, **changes}


def protocol(**changes):
    return result(protocol={**result()["protocol"], **changes})


@pytest.mark.parametrize(
    ("b", "error_b", "verdict"),
    [
        (5.0, 0.4, "B is higher"),
        (3.0, 0.4, "B is lower"),
        (4.97, 0.4, "not told apart"),  # 1.96 x 0.5 = 0.98
        (4.99, 0.4, "B is higher"),
        (4.0, 0.0, "not told apart"),
        (9.0, None, "no standard error"),
    ],
)
def test_a_verdict_needs_196_standard_errors(b, error_b, verdict):
    other = result(values={"32": b, "avg": 5.0}, stderr={"32": error_b, "avg": 0.1}, seed=7)
    first, second = compare(result(), other)
    assert (first.key, first.a, first.b, first.verdict) == ("32", 4.0, b, verdict)
    assert first.difference == pytest.approx(b - 4)
    assert first.stderr == (None if error_b is None else pytest.approx(np.hypot(0.3, error_b)))
    assert second == Difference("avg", 5.0, 5.0, 0.0, None, "no standard error")


def test_equal_values_without_errors_of_their_own_are_not_told_apart():
    exact = result(stderr={"32": 0.0, "avg": 0})
    assert {found.verdict for found in compare(exact, exact)} == {"not told apart"}
    higher = result(values={"32": 4.1, "avg": 5}, stderr={"32": 0.0, "avg": 0})
    assert [found.verdict for found in compare(exact, higher)] == ["B is higher", "not told apart"]


def test_results_of_the_metrics_compare(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 16, 16), np.uint8)
    for found in (swd(images, 255 - images), msssim(images), msssim(images, pairs="all")):
        path = tmp_path / f"{found.metric}.json"
        path.write_text(json.dumps(found.to_json()))
        differences = compare(read_result(path), found.to_json())
        assert [x.key for x in differences] == list(found.values)
        assert {x.difference for x in differences} == {0}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (result(metric="msssim"), 'differ in metric, "swd" and "msssim", so'),
        (result(metric_version=2), "differ in metric_version, 1 and 2, so"),
        (result(num_images=65), "differ in num_images, 64 and 65, so"),
        (protocol(mirror=False), "differ in protocol.mirror, true and false, so"),
        (protocol(mirror=1), "differ in protocol.mirror, true and 1, so"),
        (protocol(scale=1000), "differ in protocol.scale, 1000.0 and 1000, so"),
        (protocol(levels=[32, 8]), r"differ in protocol.levels, \[32, 16\] and \[32, 8\], so"),
        (protocol(levels=None, mirror=None), "protocol.mirror, true and null"),
        (protocol(extra=1), "B has protocol.extra, but A has not"),
        (protocol(**{"a\n\x1b": 1}), r"B has protocol.a\\n\\u001b, but A has not"),
        (protocol(levels=["x" * 999]), "x{60,}[.][.][.], so"),
        (result(protocol={}), "A has protocol.mirror, but B has not"),
        (result(values={"32": 1.0}, stderr={"32": 1.0}), "A has values.avg, but B has not"),
        (
            result(metric_version=2, num_images=1, protocol={}),
            "differ in metric_version, 1 and 2, so",
        ),
    ],
)
def test_the_first_field_that_differs_is_named(other, message):
    with pytest.raises(ValueError, match=message) as caught:
        compare(result(), other)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="do not compare"):
        compare(other, result())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "not a JSON object"),
        (None, "not a JSON object"),
        ({}, "lacks the field schema"),
        (result(more=1), 'has a field "more"'),
        (result(schema=2), "has the schema 2, which is not 1"),
        (result(schema=True), "has the schema true, which is not 1"),
        (result(schema=1.0), "has the schema 1.0, which is not 1"),
        (result(metric=3), "has the metric 3, which is not a name"),
        (result(metric="\x1b[2J"), "has the metric .*which is not a name"),
        (result(metric_version="1"), 'metric_version "1", which is not a whole number'),
        (result(num_images=-1), "num_images -1, which is not a whole number"),
        (result(num_images=True), "num_images true, which is not a whole number"),
        (result(seed=0.5), "seed 0.5, which is not a whole number"),
        (result(values=[1]), r"values \[1\], which is not an object of finite numbers"),
        (result(values={"32": float("nan"), "avg": 1}), "not an object of finite numbers"),
        (result(values={"32": float("inf"), "avg": 1}), "not an object of finite numbers"),
        (result(values={"32": 10**400, "avg": 1}), "not an object of finite numbers"),
        (result(values={"32": True, "avg": 1}), "not an object of finite numbers"),
        (result(values={"32": None, "avg": 1}), "not an object of finite numbers"),
        (result(values={"a b": 1.0}, stderr={"a b": 1}), 'called "a b", which is no name'),
        (result(values={1: 1.0}, stderr={1: 1}), "not an object of finite numbers"),
        (result(stderr={"32": -1, "avg": 1}), "finite numbers from 0 or null"),
        (result(stderr=None), "stderr null, which is not"),
        (result(stderr={"32": 1}), "other keys in stderr than in values"),
        (result(noise_floor={"32": 1}), "other keys in noise_floor than in values"),
        (
            result(noise_floor={"32": "1", "avg": 1}),
            "noise_floor .* which is not null or an object",
        ),
        (result(protocol="x"), "not an object of finite JSON values"),
        (protocol(scale=float("nan")), "not an object of finite JSON values"),
        (protocol(scale={1, 2}), "not an object of finite JSON values"),
        (result(wall_sec=-1), "wall_sec -1, which is not a number from 0"),
    ],
)
def test_what_is_no_result_is_refused(bad, message):
    for call in (lambda: compare(result(), bad), lambda: compare(bad, result())):
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_endless_protocols_are_refused():
    deep = {}
    for _ in range(100_000):
        deep = {"in": deep}
    circular = protocol()
    circular["protocol"]["self"] = circular["protocol"]
    for bad in (result(protocol={"deep": deep}), circular):
        with pytest.raises(ValueError, match="not an object of finite JSON values"):
            compare(result(), bad)
    while deep:  # taken apart from outside: destroying it whole would recurse
        deep = deep["in"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not readable as JSON"),
        (b"{", "is not readable as JSON"),
        (b"\xff\x00", "is not readable as JSON"),
        (b"[" * 10**6, "is not readable as JSON"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "is not readable as JSON"),
        (b'{"schema": 1, "schema": 1}', "an object has a key twice"),
        (b"[]", "is not a JSON object"),
        (b" " * (2**22 + 1), "a result has at most 4194304 bytes"),
        (json.dumps(result(seed=float("nan"))).encode(), "seed NaN, which is not a whole number"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path, text, message):
    path = tmp_path / "bad.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_result(path)
    assert str(caught.value).startswith(str(path))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"none.json cannot be read \(No such file"):
        read_result(tmp_path / "none.json")
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory"):
        read_result(tmp_path)


def test_a_result_comes_back_from_its_file(tmp_path):
    path = tmp_path / "good.json"
    path.write_text(json.dumps(result()))
    assert read_result(path) == result()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(deadline=None, max_examples=200)
@given(field=st.sampled_from(sorted(result())), value=anything)
def test_any_change_is_compared_or_refused_in_one_sentence(field, value):
    try:
        found = compare(result(), result(**{field: value}))
    except ValueError as error:
        message = str(error)
    else:
        message = "".join(difference.verdict for difference in found)
    assert "\n" not in message
    assert len(message) < 400
