"""Are two measured values apart? Differences of two `--json` results and their standard errors.

Only results of the same measurement are compared: the same metric and version, number of images and
protocol. Seeds may differ. The results come from files, so nothing about them is taken for granted.
"""

import json
import math
import re
import reprlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCHEMA = 1
_MAX_BYTES = 2**22
_Z = 1.96  # 95 % of a normal distribution lie within so many standard deviations
_QUOTED = 80  # characters of a value in a message


@dataclass(frozen=True)
class Difference:
    """One value of two results.

    Attributes
    ----------
    key : str
        Such as `avg`.
    a, b : float
    difference : float
        b - a.
    stderr : float or None
        √(stderr of a² + stderr of b²), as of independent measurements; None if either has none.
    verdict : str
        `B is higher`, `B is lower`, `not told apart` (the difference is 0 or less than 1.96
        standard errors) or `no standard error`.
    """

    key: str
    a: float
    b: float
    difference: float
    stderr: float | None
    verdict: str


def read_result(path: Path) -> dict[str, Any]:
    """The result in a file that `pgbench metrics ... --json` printed.

    Raises
    ------
    ValueError
        Whatever is wrong with the file, naming it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}).") from error
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{path} is refused: a result has at most {_MAX_BYTES} bytes.")
    try:
        result = json.loads(data, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable as JSON ({error}).") from error
    check_result(result, str(path))
    checked: dict[str, Any] = result
    return checked


def compare(a: dict[str, Any], b: dict[str, Any]) -> list[Difference]:
    """The differences of two results, value by value.

    Parameters
    ----------
    a, b : dict
        Parsed objects that `--json` prints, as `MetricResult.to_json` makes them.

    Raises
    ------
    ValueError
        One of them is no result, or the first field in which they differ where they must not.
    """
    check_result(a, "A")
    check_result(b, "B")
    for field in ("metric", "metric_version", "num_images"):
        _check_same(field, a[field], b[field])
    for field in ("protocol", "values"):
        for key in [*a[field], *(key for key in b[field] if key not in a[field])]:
            name = f"{field}.{_quoted(key)[1:-1]}"
            _check_both(name, key in a[field], key in b[field])
            if field == "protocol":
                _check_same(name, a[field][key], b[field][key])
    return [
        _difference(key, value, b["values"][key], a["stderr"][key], b["stderr"][key])
        for key, value in a["values"].items()
    ]


def check_result(result: object, name: str) -> None:
    """Refuse what is no object of schema 1, calling it `name`."""
    if not isinstance(result, dict):
        raise ValueError(f"{name} is no result of a metric: it is not a JSON object.")
    for field in _FIELDS:
        if field not in result:
            raise ValueError(f"{name} is no result of a metric: it lacks the field {field}.")
    for field in result:
        if field not in _FIELDS:
            raise ValueError(f"{name} is no result of a metric: it has a field {_quoted(field)}.")
    for field, (fits, kind) in _FIELDS.items():
        if not fits(result[field]):
            raise ValueError(
                f"{name} has the {field} {_quoted(result[field])}, which is not {kind}."
            )
    if odd := [key for key in result["values"] if not _is_name(key)]:
        raise ValueError(f"{name} has a value called {_quoted(odd[0])}, which is no name.")
    for field in ("stderr", "noise_floor"):
        if result[field] is not None and set(result[field]) != set(result["values"]):
            raise ValueError(f"{name} has other keys in {field} than in values.")


def _difference(key: str, a: float, b: float, error_a: Any, error_b: Any) -> Difference:
    difference = float(b) - float(a)
    if error_a is None or error_b is None:
        return Difference(key, a, b, difference, None, "no standard error")
    stderr = math.hypot(error_a, error_b)
    if difference == 0 or abs(difference) < _Z * stderr:
        return Difference(key, a, b, difference, stderr, "not told apart")
    verdict = "B is higher" if difference > 0 else "B is lower"
    return Difference(key, a, b, difference, stderr, verdict)


def _check_same(field: str, a: object, b: object) -> None:
    if _canonical(a) != _canonical(b):
        raise ValueError(
            f"A and B differ in {field}, {_quoted(a)} and {_quoted(b)}, so they do not compare."
        )


def _check_both(field: str, in_a: bool, in_b: bool) -> None:
    if in_a != in_b:
        here, there = ("A", "B") if in_a else ("B", "A")
        raise ValueError(f"{here} has {field}, but {there} has not, so they do not compare.")


def _canonical(value: object) -> str:
    """Text that tells true from 1 and 1 from 1.0, too."""
    return json.dumps(value, sort_keys=True)


def _quoted(value: object) -> str:
    try:
        text = json.dumps(value)
    except (ValueError, TypeError, RecursionError):
        text = reprlib.repr(value)
    return text if len(text) <= _QUOTED else text[:_QUOTED] + "..."


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[\w.+-]{1,64}", value, re.ASCII) is not None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < sys.float_info.max / 2  # differences are finite, too; not NaN either


def _is_error(value: Any) -> bool:
    return value is None or (_is_number(value) and value >= 0)


def _is_table(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether something is an object whose values all fit."""
    return lambda value: (
        isinstance(value, dict)
        and all(isinstance(key, str) for key in value)
        and all(map(fits, value.values()))
    )


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return False
    return True


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "schema": (lambda value: _is_count(value) and value == _SCHEMA, str(_SCHEMA)),
    "metric": (_is_name, "a name"),
    "metric_version": (_is_count, "a whole number from 0"),
    "num_images": (_is_count, "a whole number from 0"),
    "seed": (_is_count, "a whole number from 0"),
    "values": (_is_table(_is_number), "an object of finite numbers"),
    "stderr": (_is_table(_is_error), "an object of finite numbers from 0 or null"),
    "noise_floor": (
        lambda value: value is None or _is_table(_is_number)(value),
        "null or an object of finite numbers",
    ),
    "protocol": (_is_table(_is_json), "an object of finite JSON values"),
    "wall_sec": (_is_error, "a number from 0"),
}
