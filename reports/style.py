"""How figures look: colours that colour-blind readers tell apart, lines that grey paper does.

The colours are those of Okabe and Ito (2008), "Color universal design"; yellow, too faint for a
line on white, is left out.
"""

from dataclasses import dataclass
from typing import Any

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
