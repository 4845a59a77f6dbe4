"""Names, marks and nested values as the templates get them."""

import math

import pandas as pd
import pytest

from pgbench.reports.pages import (
    Claim,
    claims,
    effect,
    flat,
    mark,
    natural,
)


def test_a_ledger_s_empty_cells_keep_the_defaults() -> None:
    lines = [{"claim": "c", "ours": 1.5, "seeds": 3, "runs": "a, b", "other": 1}, {"claim": "d"}]
    assert claims(pd.DataFrame(lines)) == [
        Claim("c", ours=1.5, seeds=3, runs=("a", "b")),
        Claim("d", verdict="not tested"),
    ]
    assert claims(None) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.5, "+1.5"), (-0.25, "\N{MINUS SIGN}0.25"), ("5.4×", "5.4×"), (None, "—"), (math.nan, "—")],
)
def test_effect(value: str | float | None, text: str) -> None:
    assert effect(value) == text


def test_tables_come_before_figures_and_ten_behind_two() -> None:
    names = ["lsun", "figure4", "table10", "table2", "table1"]
    assert sorted(names, key=natural) == ["table1", "table2", "table10", "figure4", "lsun"]


@pytest.mark.parametrize(
    ("text", "kind", "state"),
    [
        ("done", "status", "done"),
        ("2 done, 1 failed", "status", "failed"),
        ("unfinished (45 of 90 kimg)", "status", "unfinished"),
        ("not run", "status", "missing"),
        ("done, not evaluated", "status", "missing"),
        ("Confirmed", "verdict", "confirmed"),
        ("not confirmed", "verdict", "contradicted"),
        ("undecided", "verdict", "open"),
    ],
)
def test_mark(text: str, kind: str, state: str) -> None:
    assert mark(text, kind) == state


def test_flat() -> None:
    nested = {
        "seed": 0,
        "data": {"name": "p", "crop": {"x": 89}},
        "runs": [{"a": None}, {"a": True}],
    }
    assert flat(nested | {"levels": [32, 16], "none": {}}) == [
        ("", [("seed", "0"), ("levels", "[32, 16]"), ("none", "{}")]),
        ("data", [("name", "p"), ("crop.x", "89")]),
        ("runs", [("1.a", "null"), ("2.a", "true")]),
    ]
