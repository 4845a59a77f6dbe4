"""Markdown that configurations and error messages cannot break out of."""

import re
from collections.abc import Sequence

from pgbench.reports.names import one_line
from pgbench.reports.tables import Cell, Column, Table, footnotes, heads, mark

MARKUP = re.compile(r"[\\`*\[\]|~]")
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape(text: object) -> str:
    """Text on one line, without any meaning to Markdown or HTML."""
    marked = MARKUP.sub(r"\\\g<0>", one_line(text))
    return re.sub("[&<>]", lambda match: ENTITIES[match[0]], marked)


def to_markdown(table: Table) -> str:
    """Title, caption, the cells, and notes; those of cells are numbered."""
    notes = footnotes(table)
    rows = [[_cell(cell, notes) for cell in row] for row in table.rows]
    lines = [f"- {escape(note)}" for note in table.notes]
    lines += [f"- <sup>{number}</sup> {escape(note)}" for note, number in notes.items()]
    grid = _grid([escape(head) for head in heads(table.columns)], rows, table.columns)
    return "\n".join(
        [f"## {escape(table.title)}\n", f"{escape(table.caption)}\n", grid, *lines, ""]
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A padded pipe table of escaped cells; all but the first `left` columns are right-aligned."""
    columns = [Column(name, align="left" if i < left else "right") for i, name in enumerate(header)]
    return _grid(header, rows, columns)


def _cell(cell: Cell, notes: dict[str, int]) -> str:
    text = f"**{escape(cell.text)}**" if cell.best else escape(cell.text)
    number = mark(cell, notes)
    return f"{text} <sup>{number}</sup>" if number else text


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]], columns: Sequence[Column]) -> str:
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]
    left = [column.align == "left" for column in columns]
    rule = [
        "-" * w if is_left else "-" * (w - 1) + ":" for w, is_left in zip(widths, left, strict=True)
    ]
    lines = [
        [
            c.ljust(w) if is_left else c.rjust(w)
            for c, w, is_left in zip(row, widths, left, strict=True)
        ]
        for row in cells
    ]
    lines.insert(1, rule)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
