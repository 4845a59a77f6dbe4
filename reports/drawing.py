"""A figure as files: SVG with its text as text, PNG of 200 dpi, and the CSV behind them.

The same figure makes the same bytes on the same versions of matplotlib. Colours are those of Okabe
and Ito (2008), "Color universal design", without yellow, which is too faint for a line on white;
dashes and markers tell lines apart on grey paper.

Run as a module this draws the figures that it reads as JSON, and writes their files as JSON.
"""

import base64
import csv
import importlib
import io
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pgbench.reports.apart import Process, started
from pgbench.reports.figures import Curve, Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

Draw = Callable[[Sequence[Figure]], list[dict[str, bytes]]]
SIZE_INCHES = (7.0, 3.9)
DPI = 200
COLUMNS = ("curve", "x", "y", "low", "high")
NO_DATES = {"Date": None, "Creator": None}
BLACK, GREY = "#000000", "#8c8c8c"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", BLACK)
DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
UNFINISHED = (0, (2, 2.5))
MARKERS = "osD^vPX*<>"
MOST_MARKERS = 12  # on one curve

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.formatter.use_mathtext": False,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "text.parse_math": False,  # names of data sets are text
    "svg.fonttype": "none",
    "svg.hashsalt": "pgbench",
    "figure.facecolor": "white",
}


@dataclass(frozen=True)
class Look:
    """Colour, dash pattern and marker of one curve."""

    colour: str
    dashes: Any
    marker: str


def look(number: int, *, unfinished: bool) -> Look:
    """Of the curve with this number: no two of the first 28 are alike."""
    colour = COLOURS[number % len(COLOURS)]
    dashes = UNFINISHED if unfinished else DASHES[number % len(DASHES)]
    return Look(colour, dashes, MARKERS[number % len(MARKERS)])


def drawn(figure: Figure) -> dict[str, bytes]:
    """The files of a figure by their endings: .svg, .png and .csv."""
    svg, png = _rendered(figure)
    return {".svg": svg.encode(), ".png": png, ".csv": to_csv(figure).encode()}


@contextmanager
def drawn_apart() -> Iterator[Draw]:
    """`drawn` of each of some figures, once, by a process that gets ready meanwhile."""
    with started(__name__) as process:
        yield partial(_drawn_by, process)


def _drawn_by(process: Process, figures: Sequence[Figure]) -> list[dict[str, bytes]]:
    told = json.dumps([asdict(figure) for figure in figures]).encode()
    done, _ = process.communicate(told)
    if process.returncode:
        raise RuntimeError(f"no figure was drawn: {process.args!r} ended with {process.returncode}")
    return [
        {ending: base64.b64decode(content) for ending, content in files.items()}
        for files in json.loads(done)
    ]


def _draw_for_another_process() -> None:
    importlib.import_module("matplotlib.backends.backend_svg")  # half a second, before it is asked
    if not (told := sys.stdin.read()):
        os._exit(0)  # nothing had changed, and the report waits for this to end
    figures = [
        Figure(**{**one, "curves": tuple(Curve(**curve) for curve in one["curves"])})
        for one in json.loads(told)
    ]
    files = [
        {ending: base64.b64encode(content).decode() for ending, content in drawn(figure).items()}
        for figure in figures
    ]
    json.dump(files, sys.stdout)


def to_csv(figure: Figure) -> str:
    """The points of all curves, one a line, numbers to ten digits; marks come last."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    for curve in figure.curves:
        empty = (None,) * len(curve.x)
        points = zip(curve.x, curve.y, curve.low or empty, curve.high or empty, strict=True)
        lines.writerows([curve.name, *map(_cell, point)] for point in points)
    lines.writerows(
        [figure.marks_label or "mark", _cell(mark), "", "", ""] for mark in figure.marks
    )
    return text.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


def _rendered(figure: Figure) -> tuple[str, bytes]:
    """SVG text and PNG bytes."""
    import matplotlib as mpl  # slow to import, and tables never need it
    from matplotlib.figure import Figure as Drawing

    style: Any = STYLE
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        drawing = Drawing(figsize=SIZE_INCHES, layout="constrained")
        _draw(drawing, figure)
        return _svg(drawing), _png(drawing)


def _svg(drawing: "Drawing") -> str:
    """Drawn by the canvas itself: savefig would draw everything twice."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    file = io.StringIO()
    canvas: Any = FigureCanvasSVG(drawing)
    canvas.print_svg(file, metadata=NO_DATES)
    return file.getvalue()


def _png(drawing: "Drawing") -> bytes:
    """In the layout that the SVG got."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    drawing.set_layout_engine("none")
    drawing.dpi = DPI
    file = io.BytesIO()
    canvas: Any = FigureCanvasAgg(drawing)
    canvas.print_png(file, metadata={"Software": None})
    return file.getvalue()


def _draw(drawing: "Drawing", figure: Figure) -> None:
    axes = drawing.subplots()
    axes.set(title=figure.title, xlabel=figure.x_label, ylabel=figure.y_label)
    lines = [_draw_curve(axes, curve, number) for number, curve in enumerate(figure.curves)]
    names = [curve.name for curve in figure.curves]
    marks = [
        axes.axvline(x, color=GREY, linestyle=(0, (4, 3)), linewidth=0.9) for x in figure.marks
    ]
    if marks:
        lines, names = [*lines, marks[0]], [*names, figure.marks_label]
    _scale(axes, figure)
    _legend(drawing, lines, names)


def _draw_curve(axes: "Axes", curve: Curve, number: int) -> Any:
    how = look(number, unfinished=curve.dashed)
    if curve.low and curve.high:
        axes.fill_between(curve.x, curve.low, curve.high, color=how.colour, alpha=0.15, lw=0)
    every = math.ceil(len(curve.x) / MOST_MARKERS)
    (line,) = axes.plot(
        curve.x,
        curve.y,
        color=how.colour,
        linestyle=how.dashes,
        marker=how.marker,
        markevery=(number % every, every) if every else None,
    )
    return line


def _legend(drawing: "Drawing", lines: list[Any], names: list[str]) -> None:
    """Beside the axes; names are put in afterwards, as a leading _ would hide a curve."""
    numbered = [str(number) for number in range(len(lines))]
    legend = drawing.legend(lines, numbered, loc="outside right upper", handlelength=3.2)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name if len(name) <= 32 else f"{name[:31]}\N{HORIZONTAL ELLIPSIS}")


def _scale(axes: "Axes", figure: Figure) -> None:
    """Logarithmic where asked, unless a value has no logarithm: a linear axis shows it."""
    for axis, logarithmic in (("x", figure.log_x), ("y", figure.log_y)):
        values = {value for curve in figure.curves for value in getattr(curve, axis)}
        values |= set(figure.marks) if axis == "x" else set()
        if logarithmic and values and min(values) > 0:
            getattr(axes, f"set_{axis}scale")("log")
            _ticks(getattr(axes, f"{axis}axis"), values)


def _ticks(axis: Any, values: set[float]) -> None:
    """Plain numbers, as many as fit; resolutions one by one."""
    from matplotlib import ticker

    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(ticker.NullLocator())
    spread = max(values) / min(values)
    if all(math.log2(value).is_integer() for value in values):
        axis.set_ticks(sorted(values))
    elif spread < 4:
        axis.set_major_locator(ticker.MaxNLocator(6))
    elif spread < 1000:
        axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5) if spread < 12 else (1, 2, 5)))


if __name__ == "__main__":
    _draw_for_another_process()
