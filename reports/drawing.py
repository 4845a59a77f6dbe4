"""A figure as files: SVG with its text as text, PNG of 200 dpi, and the CSV behind them.

The same figure makes the same bytes on the same versions of matplotlib.
"""

import csv
import io
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgbench.reports.curves import Curve, Figure
from pgbench.reports.style import GREY, MOST_MARKERS, STYLE, look
from pgbench.results import write_atomically, write_text_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

SIZE_INCHES = (7.0, 3.9)
DPI = 200
COLUMNS = ("curve", "x", "y", "low", "high")
NO_DATES = {"Date": None, "Creator": None}


def write(figure: Figure, folder: Path) -> list[Path]:
    """Write `figure` as .svg, .png and .csv, named by its stem, into `folder`; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{figure.stem}.{ending}" for ending in ("svg", "png", "csv")]
    svg, png = _rendered(figure)
    write_text_atomically(paths[0], svg)
    write_atomically(paths[1], lambda file: file.write(png))
    write_text_atomically(paths[2], to_csv(figure))
    return paths


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
