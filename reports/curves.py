"""What a figure is, as data: curves, axes and words. Nothing here draws."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

_LONGEST = 80


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

    `stem` is a safe file name without its ending; `run_id` is set where the curves are of one run.
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
    run_id: str | None = None


def plain(text: object) -> str:
    """Text on one line, without control characters, cut where it is too long to be a label."""
    printable = "".join(char if char.isprintable() else " " for char in str(text))
    words = " ".join(printable.split())
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def floats(values: ArrayLike) -> tuple[float, ...]:
    """Numbers (N,) of any library as plain Python floats."""
    return tuple(np.asarray(values, dtype=np.float64).tolist())
