"""Names of others as file names and as text on one line."""

import pytest

from pgbench.reports import table4
from pgbench.reports.names import artefact_name, distinct, file_stem, one_line, row_order


@pytest.mark.parametrize(
    ("parts", "stem"),
    [
        (("table1", "../../etc"), "table1-..-..-etc"),
        (("..",), "unnamed"),
        (("a\0b", 64), "a-b-64"),
        (("x" * 500,), "x" * 120),
    ],
)
def test_file_stem(parts: tuple[object, ...], stem: str) -> None:
    assert file_stem(*parts) == stem


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["a", "a", "A"], ["a", "a-2", "A-3"]),
        (["a-2", "a", "a"], ["a-2", "a", "a-3"]),
        (["", "/"], ["unnamed", "unnamed-2"]),
    ],
)
def test_distinct(names: list[str], stems: list[str]) -> None:
    assert distinct(names) == stems


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\r\nlines\ttabbed", "two lines tabbed"),
        ("right\u202eleft \ud800 \x1b[31m", "right left [31m"),
        (3, "3"),
        ("x" * 9, "x" * 7 + "\N{HORIZONTAL ELLIPSIS}"),
    ],
)
def test_one_line(text: object, line: str) -> None:
    assert one_line(text, longest=8 if text == "x" * 9 else None) == line


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        *(("table1", "Table 1"), ("figure4", "Figure 4"), ("lsun", "LSUN"), ("", "Other")),
        *(("training_time", "Training time"), ("<b>", "<b>")),
    ],
)
def test_artefact_name(name: str, shown: str) -> None:
    assert artefact_name(name) == shown


def test_rows_come_in_the_order_of_the_paper() -> None:
    assert sorted(["f", "e", "a", "e*"], key=row_order) == ["a", "e*", "e", "f"]
    assert sorted(sorted(table4.ROWS), key=row_order) == list(table4.ROWS)
