"""The one form of every figure: curves, axes and words. Nothing here draws."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pgbench.reports.names import one_line


@dataclass(frozen=True)
class Curve:
    """One line of a figure; `low` and `high` bound its band over seeds."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    dashed: bool = False


@dataclass(frozen=True)
class Figure:
    """Curves with their axes and words; `marks` are the x of dashed vertical lines.

    `stem` is a safe file name without its ending.
    """

    stem: str
    title: str
    caption: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    log_x: bool = False
    log_y: bool = False
    marks: tuple[float, ...] = ()
    marks_label: str = ""
    artefact: str = ""


def plain(text: object) -> str:
    """Text on one line, cut where it is too long to be a label."""
    return one_line(text, longest=80)


def floats(values: ArrayLike) -> tuple[float, ...]:
    """Numbers (N,) of any library as plain Python floats."""
    return tuple(np.asarray(values, dtype=np.float64).tolist())
