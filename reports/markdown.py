"""Markdown that configurations and error messages cannot break out of."""

import re
from collections.abc import Sequence

MARKUP = re.compile(r"[\\`*\[\]|~]")
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape(text: object) -> str:
    """Text on one line, without any meaning to Markdown or HTML."""
    printable = "".join(char if char.isprintable() else " " for char in str(text))
    marked = MARKUP.sub(r"\\\g<0>", printable)
    return re.sub("[&<>]", lambda match: ENTITIES[match[0]], " ".join(marked.split()))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A padded pipe table of escaped cells; all but the first `left` columns are right-aligned."""
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]
    rule = ["-" * w if i < left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    lines = [
        [cell.ljust(widths[i]) if i < left else cell.rjust(widths[i]) for i, cell in enumerate(row)]
        for row in cells
    ]
    lines.insert(1, rule)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def file_stem(*parts: object) -> str:
    """Parts joined by hyphens, with letters, digits, dots, plus and underscores only."""
    safe = re.sub(r"[^A-Za-z0-9._+]+", "-", "-".join(str(part) for part in parts))
    return safe.strip("-.")[:120] or "unnamed"
