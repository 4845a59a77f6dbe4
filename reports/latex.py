r"""LaTeX of a table, for `\usepackage{booktabs}`; plain text that no name can break out of.

Needs nothing but pdfLaTeX: characters it may not know become their code, such as [U+4E2D].
"""

import re
import unicodedata
from itertools import groupby

from pgbench.reports.names import one_line
from pgbench.reports.tables import NONE, Cell, Column, Table, footnotes, mark

ESCAPES = {
    **{"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"},
    **{"^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"},
    **{"|": r"\textbar{}", '"': "{''}", "`": "{`}", "[": "{[}", "]": "{]}", "*": "{*}"},
    **{char: f"\\{char}" for char in "$&#_%"},
    **{NONE: r"\textemdash{}", "\N{PLUS-MINUS SIGN}": r"\ensuremath{\pm}"},
    **{"×": r"\ensuremath{\times}", "γ": r"\ensuremath{\gamma}", "–": r"\textendash{}"},
}
ACCENTS = {
    **{"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"'},
    **{"\u030c": "v", "\u0327": "c", "\u0304": "=", "\u0306": "u", "\u0307": ".", "\u030b": "H"},
}


def escape_latex(text: object) -> str:
    """Text on one line, without any meaning to LaTeX."""
    escaped = "".join(_character(char) for char in one_line(text))
    return re.sub("-(?=-)", "-{}", escaped)  # two hyphens would make a dash


def to_latex(table: Table) -> str:
    """A floating table with caption, label and notes."""
    notes = footnotes(table)
    alignment = "".join(column.align[0] for column in table.columns)
    rows = [" & ".join(_cell(cell, notes) for cell in row) for row in table.rows]
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}",
        f"\\caption{{{escape_latex(table.title)}. {escape_latex(table.caption)}}}",
        f"\\label{{tab:{table.stem.replace('_', '-')}}}",
        f"\\begin{{tabular}}{{{alignment}}}",
        "\\toprule",
        *_heads(table.columns),
        "\\midrule",
        *(f"{row} \\\\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
        *_notes(table, notes),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _character(char: str) -> str:
    if char in ESCAPES or char.isascii():
        return ESCAPES.get(char, char)
    letters = unicodedata.normalize("NFD", char)
    if len(letters) == 2 and letters[0].isascii() and letters[1] in ACCENTS:
        return f"\\{ACCENTS[letters[1]]}{{{letters[0]}}}"
    return f"{{[}}U+{ord(char):04X}{{]}}"


def _cell(cell: Cell, notes: dict[str, int]) -> str:
    text = escape_latex(cell.text)
    if cell.value is not None:
        text = re.sub("^-", r"\\ensuremath{-}", text)
    number = mark(cell, notes)
    text = f"\\textbf{{{text}}}" if cell.best else text
    return f"{text}\\textsuperscript{{{number}}}" if number else text


def _heads(columns: tuple[Column, ...]) -> list[str]:
    """The names of columns, under the names of their groups where there are any."""
    names = " & ".join(escape_latex(column.name) for column in columns) + " \\\\"
    if not any(column.group for column in columns):
        return [names]
    above, rules, start = [], [], 1
    for group, together in groupby(columns, key=lambda column: column.group):
        count = len(list(together))
        if group:
            above.append(f"\\multicolumn{{{count}}}{{c}}{{{escape_latex(group)}}}")
            rules.append(f"\\cmidrule(lr){{{start}-{start + count - 1}}}")
        else:
            above += [""] * count
        start += count
    return [" & ".join(above) + " \\\\", "".join(rules), names]


def _notes(table: Table, notes: dict[str, int]) -> list[str]:
    told = [escape_latex(note) for note in table.notes]
    told += [f"\\textsuperscript{{{n}}}~{escape_latex(note)}" for note, n in notes.items()]
    if not told:
        return []
    return ["\\par\\smallskip\\raggedright", *(f"{note}\\par" for note in told)]
