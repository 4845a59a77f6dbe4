"""LaTeX of tables: nothing breaks out, and pdfLaTeX takes it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pgbench.reports.build import build
from pgbench.reports.latex import escape_latex, to_latex
from pgbench.reports.tables import Cell, Column, Table
from pgbench.results import RunFolder

MakeRun = Callable[..., RunFolder]
HOSTILE = (
    "\\input{/etc/passwd}",
    "\\end{tabular}\\write18{id}",
    "} % $ & # _ ^^41 ~ { \\",
    "[1cm] * -- --- ``quoted'' \"x\" <b> |",
    "Größe naïve Čapek 中文 \N{RIGHT-TO-LEFT OVERRIDE}\x1b[31m \N{GRINNING FACE} ﬁ",
    "two\nlines\n\n\\par",
)


def table_of(*texts: str) -> Table:
    return Table(
        stem="hostile_names-1",
        title=texts[0],
        caption=texts[-1],
        columns=(Column(texts[0], "group & _", "left"), Column(texts[-1], "group & _")),
        rows=tuple((Cell(text, best=True), Cell(text, 1.0, note=text)) for text in texts),
        notes=texts,
    )


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a & b_c", r"a \& b\_c"),
        ("100 %", r"100 \%"),
        ("\\x{y}", r"\textbackslash{}x\{y\}"),
        ("[1cm]*", "{[}1cm{]}{*}"),
        ("--data---", "-{}-data-{}-{}-"),
        (
            "1 ± 2 — γ × 3–4",
            r"1 \ensuremath{\pm} 2 \textemdash{} \ensuremath{\gamma} "
            r"\ensuremath{\times} 3\textendash{}4",
        ),
        ("é ü č", r"\'{e} \"{u} \v{c}"),
        ("中\N{GRINNING FACE}", "{[}U+4E2D{]}{[}U+1F600{]}"),
        ("a\r\n\x1b b", "a b"),
    ],
)
def test_escape(text: str, escaped: str) -> None:
    assert escape_latex(text) == escaped


def test_negative_numbers_have_a_minus() -> None:
    table = table_of("a")
    row = (Cell("-0.5", -0.5), Cell("-x"))
    text = to_latex(Table(table.stem, "t", "c", table.columns, (row,)))
    assert "\n\\ensuremath{-}0.5 & -x \\\\\n" in text


def test_without_groups_there_is_one_line_of_names() -> None:
    columns = (Column("one", align="left"), Column("two"))
    assert to_latex(Table("s", "t", "c", columns, ((Cell("1"), Cell("2")),))) == (
        "% needs \\usepackage{booktabs}\n\\begin{table}\n"
        "\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}\n\\caption{t. c}\n"
        "\\label{tab:s}\n\\begin{tabular}{lr}\n\\toprule\none & two \\\\\n\\midrule\n"
        "1 & 2 \\\\\n\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


def test_hostile_names_leave_the_commands_as_they_are() -> None:
    plain, hostile = to_latex(table_of("a", "b")), to_latex(table_of(*HOSTILE))
    for command in ("\\begin", "\\end", "\\input", "\\write", "\\caption"):
        assert hostile.count(command) == plain.count(command)


@pytest.mark.latex
def test_compiles(make_run: MakeRun, results: Path, tmp_path: Path) -> None:
    make_run("g", {("swd2k", "avg"): 5.0, ("swd2k", "64"): 5.0}, dataset=HOSTILE[0], run_id="one")
    for number, name in enumerate(HOSTILE):
        make_run(name, {("fid1k", "fid"): 5.0}, artefact="lsun", dataset=name, run_id=f"l{number}")
    written = [path for path in build(results, tmp_path / "out") if path.suffix == ".tex"]
    (tmp_path / "hostile.tex").write_text(to_latex(table_of(*HOSTILE)))
    inputs = "\n".join(f"\\input{{{path}}}" for path in [*written, tmp_path / "hostile.tex"])
    document = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{inputs}"
    (tmp_path / "all.tex").write_text(f"{document}\\end{{document}}")
    call = ["pdflatex", "-halt-on-error", "-no-shell-escape", "-interaction=nonstopmode", "all.tex"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert len(written) == 5
