"""The one form of every table: cells that say what kind of value they hold.

An artefact's module makes a `Table` from records; the writers of this package turn it into CSV,
Markdown, LaTeX or a page, and know nothing of artefacts. Cell texts are plain: writers escape.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pandas import DataFrame

Kind = Literal["label", "ours", "published", "difference", "verdict", "status", "note"]
NONE = "\N{EM DASH}"  # the text of a cell without a value


@dataclass(frozen=True)
class Cell:
    """One cell; `note` tells why a value is missing, failed, unfinished or uncertain."""

    text: str
    value: float | None = None
    kind: Kind = "label"
    best: bool = False
    note: str | None = None


@dataclass(frozen=True)
class Column:
    """One column; neighbours of the same `group` share a heading above their names."""

    name: str
    group: str | None = None
    align: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class Table:
    """A table of one artefact; `stem` is its safe file name, `tidy` has one line per value."""

    stem: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    artefact: str = ""
    tidy: DataFrame = field(default_factory=DataFrame, compare=False, repr=False)

    def to_csv(self) -> str:
        """The tidy values, one a line, numbers to ten digits."""
        return self.tidy.to_csv(index=False, float_format="%.10g", lineterminator="\n")


def footnotes(table: Table, *, verdicts: bool = True) -> dict[str, int]:
    """The notes of cells that show something, numbered in the order of reading.

    Why a cell is empty stands in the status of its row; `verdicts` says whether theirs are told.
    """
    shown = (cell for row in table.rows for cell in row if cell.text != NONE)
    told = (cell.note for cell in shown if verdicts or cell.kind != "verdict")
    return {note: number for number, note in enumerate(dict.fromkeys(filter(None, told)), start=1)}


def mark(cell: Cell, notes: dict[str, int]) -> int | None:
    """The number of a cell's note, where it has one that is shown."""
    return notes.get(cell.note) if cell.note and cell.text != NONE else None


def heads(columns: Sequence[Column]) -> list[str]:
    """Names in one line, with their group in front."""
    return [f"{column.group} {column.name}" if column.group else column.name for column in columns]
