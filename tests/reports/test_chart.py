"""Where points, ticks and bands lie, against positions worked out by hand."""

import math

import pytest

from pgbench.reports.chart import BOTTOM, LEFT, RIGHT, TOP, chart, number
from pgbench.reports.figures import Curve, Figure

NAN = math.nan
MIDDLE = (LEFT + RIGHT) / 2


def figure(*curves: Curve, log_x: bool = False, log_y: bool = False, **rest: object) -> Figure:
    words = {"stem": "f", "title": "t", "caption": "c", "x_label": "x", "y_label": "y"}
    return Figure(**words, curves=curves, log_x=log_x, log_y=log_y, **rest)  # type: ignore[arg-type]


def test_a_linear_line_goes_from_corner_to_corner() -> None:
    # The y axis is 5 % of its data longer at both ends: 100/110 of its height are data.
    drawn = chart(figure(Curve("c", (0.0, 50.0, 100.0), (0.0, 5.0, 10.0))))
    margin = (BOTTOM - TOP) * 0.05 / 1.1
    low, high = BOTTOM - margin, TOP + margin
    assert drawn.lines[0].path == (
        f"M{LEFT:.1f},{low:.1f}L{MIDDLE:.1f},{(low + high) / 2:.1f}L{RIGHT:.1f},{high:.1f}"
    )


def test_powers_of_ten_are_evenly_spaced_on_a_logarithmic_axis() -> None:
    drawn = chart(figure(Curve("c", (1.0, 100.0, 10_000.0), (1.0, 1.0, 1.0)), log_x=True))
    assert [x for x, _ in drawn.lines[0].markers] == [LEFT, MIDDLE, RIGHT]
    quarter = (RIGHT - LEFT) / 4
    names = ("1", "10", "100", "1000", "10,000")
    assert drawn.x_ticks == [(LEFT + i * quarter, name) for i, name in enumerate(names)]


def test_a_few_resolutions_have_a_tick_each() -> None:
    drawn = chart(figure(Curve("c", (4.0, 8.0, 64.0), (1.0, 1.0, 1.0)), log_x=True))
    quarter = (RIGHT - LEFT) / 4
    assert drawn.x_ticks == [(LEFT, "4"), (LEFT + quarter, "8"), (RIGHT, "64")]


def test_ticks_of_a_logarithmic_axis_are_round_numbers() -> None:
    hours = (0.0536273, 0.100466, 0.168681, 0.228044, 0.3906)
    drawn = chart(figure(Curve("c", hours, hours), log_x=True))
    assert [name for _, name in drawn.x_ticks] == ["0.07", "0.1", "0.2", "0.3"]


@pytest.mark.parametrize("gap", [NAN, math.inf, -math.inf, 1e200])
def test_a_value_without_a_place_is_a_gap_and_stays_in_the_table(gap: float) -> None:
    drawn = chart(figure(Curve("c", (0.0, 1.0, 2.0, 3.0), (1.0, gap, 2.0, 3.0))))
    assert drawn.lines[0].path.count("M") == 2
    assert "nan" not in drawn.lines[0].path
    assert drawn.lines[0].rows.count("<tr") == 4
    assert drawn.lines[0].rows.count("data-at") == 3


def test_what_is_not_positive_is_a_gap_on_a_logarithmic_axis() -> None:
    drawn = chart(figure(Curve("c", (0.0, 1.0, 2.0, 3.0), (-1.0, 0.0, 10.0, 100.0)), log_y=True))
    assert drawn.lines[0].path.startswith(f"M{LEFT + 2 / 3 * (RIGHT - LEFT):.1f}")
    assert drawn.lines[0].rows.count("data-at") == 2


def test_a_band_goes_there_and_back() -> None:
    curve = Curve("c", (0.0, 1.0), (5.0, 5.0), (0.0, 0.0), (10.0, 10.0))
    margin = (BOTTOM - TOP) * 0.05 / 1.1
    low, high = BOTTOM - margin, TOP + margin
    drawn = chart(figure(curve))
    assert drawn.lines[0].band == (
        f"M{LEFT:.1f},{low:.1f}L{RIGHT:.1f},{low:.1f}L{RIGHT:.1f},{high:.1f}L{LEFT:.1f},{high:.1f}Z"
    )
    assert "<td>0 to 10</td>" in drawn.lines[0].rows


def test_a_band_with_a_gap_has_two_outlines() -> None:
    low, high = (0.0, 0.0, NAN, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0, 1.0)
    curve = Curve("c", (0.0, 1.0, 2.0, 3.0, 4.0), (0.5,) * 5, low, high)
    assert chart(figure(curve)).lines[0].band.count("Z") == 2


@pytest.mark.parametrize("y", [(), (NAN,), (3.0,), (0.0, 0.0), (5e-324, 0.0), (1e149, -1e149)])
@pytest.mark.parametrize("log", [False, True])
def test_few_equal_tiny_and_huge_values_make_an_axis(y: tuple[float, ...], log: bool) -> None:
    x = tuple(float(i) for i in range(len(y)))
    drawn = chart(figure(Curve("c", x, y), log_x=log, log_y=log))
    assert all(TOP <= at <= BOTTOM for at, _ in drawn.y_ticks)
    assert "nan" not in "".join(line.path + line.band for line in drawn.lines)


def test_no_curve_is_a_chart_without_lines() -> None:
    assert chart(figure()).lines == []


def test_marks_outside_the_axis_are_left_out() -> None:
    curve = Curve("c", (0.0, 10.0), (0.0, 1.0))
    drawn = chart(figure(curve, marks=(-5.0, 5.0, 50.0, NAN)))
    assert drawn.marks == [MIDDLE]


@pytest.mark.parametrize(
    ("high", "labels"),
    [
        (6.0, ["0", "1", "2", "3", "4", "5", "6"]),
        (0.3, ["0", "0.05", "0.1", "0.15", "0.2", "0.25", "0.3"]),
        (12_000.0, ["0", "2000", "4000", "6000", "8000", "10,000", "12,000"]),
        (6.4e6, ["0", "1M", "2M", "3M", "4M", "5M", "6M"]),
    ],
)
def test_ticks_are_round(high: float, labels: list[str]) -> None:
    drawn = chart(figure(Curve("c", (0.0, high), (0.0, 1.0))))
    assert [label for _, label in drawn.x_ticks] == labels


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (1.0, 1e6, ["1", "10", "100", "1000", "10,000", "100,000", "1M"]),
        (1.0, 100.0, ["1", "2", "5", "10", "20", "50", "100"]),
        (20.0, 110.0, ["20", "30", "50", "70", "100"]),
        (100.0, 106.0, ["100", "101", "102", "103", "104", "105", "106"]),
    ],
)
def test_logarithmic_ticks_fit_the_axis(low: float, high: float, labels: list[str]) -> None:
    drawn = chart(figure(Curve("c", (0.0, 1.0), (low, high)), log_y=True))
    assert [label for _, label in drawn.y_ticks] == labels


def test_few_places_on_a_logarithmic_axis_are_its_ticks() -> None:
    curve = Curve("c", (4.0, 8.0, 16.0, 32.0), (1.0, 2.0, 3.0, 4.0))
    assert [label for _, label in chart(figure(curve, log_x=True)).x_ticks] == [
        "4",
        "8",
        "16",
        "32",
    ]


def test_a_long_curve_has_few_markers() -> None:
    values = tuple(float(i) for i in range(1000))
    assert len(chart(figure(Curve("c", values, values))).lines[0].markers) == 8


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (12.3456789, "12.3457"), (9999.0, "9999"), (19_000.0, "19,000"), (NAN, "—")],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text
