"""From a results folder to the pages, through the command line, too."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from pgbench.cli_report import report
from pgbench.records import Columns, read_columns
from pgbench.reports.build import build
from pgbench.reports.markdown import escape, file_stem, table
from pgbench.results import RunFolder

MakeRun = Callable[..., RunFolder]
AVG = ("swd2k", "avg")
STEMS = (
    *("table1-portraits-desktop-64", "table1-portraits-desktop-64-levels"),
    "training_time-desktop",
)
FILES = [f"{stem}.{ending}" for stem in STEMS for ending in ("csv", "md", "tex")]
HOSTILE = "../x|`<img src=x onerror=alert(1)>`\n# no heading [a](b) \x1b[31m"


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".")


def test_writes_three_files_per_table(make_run: MakeRun, results: Path, tmp_path: Path) -> None:
    make_run("g", {AVG: 5.0})
    make_run("z", {AVG: 5.0}, run_id="stray")
    out = tmp_path / "deep" / "out"
    paths = build(results, out)
    assert paths == [*(out / name for name in FILES), out / "report.md"]
    assert visible(out) == sorted(path.name for path in paths)
    page = (out / "report.md").read_text()
    assert all((out / name).read_text() in page for name in FILES if name.endswith(".md"))
    assert "- Run stray was set aside: table1 has no row 'z'.\n" in page


def test_same_records_make_the_same_bytes(make_run: MakeRun, results: Path, tmp_path: Path) -> None:
    make_run("g", {AVG: 5.0})
    first = [path.read_bytes() for path in build(results, tmp_path / "out")]
    assert first == [path.read_bytes() for path in build(results, tmp_path / "out")]


def test_records_that_did_not_change_are_not_read_again(
    make_run: MakeRun, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("a", {AVG: 5.0})
    changing = make_run("g", {AVG: 5.0})
    build(results, tmp_path / "out")
    read: list[str] = []

    def watched(path: Path, run_id: str) -> Columns:
        read.append(run_id)
        return read_columns(path, run_id)

    monkeypatch.setattr("pgbench.recordcache.read_columns", watched)
    (first,), _ = changing.records()
    changing.append_record(first.model_copy(update={"value": 6.0}))
    *_, page = build(results, tmp_path / "out")
    assert read == [changing.run_id]
    *_, fresh = build(results, tmp_path / "fresh")
    assert page.read_bytes() == fresh.read_bytes()


def test_a_torn_line_is_told_and_nothing_lost(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    run = make_run("g", {AVG: 5.0})
    with run.metrics_path.open("a") as file:
        file.write('{"schema": 1, "run_')
    *_, page = build(results, tmp_path)
    assert "metrics.jsonl line 2 is no record (Invalid JSON" in page.read_text()
    assert "| g   | + Pixelwise normalization     | done " in page.read_text()


def test_empty_folder_says_how_to_fill_it(results: Path, tmp_path: Path) -> None:
    (page,) = build(results, tmp_path)
    assert "No runs were found in" in page.read_text()
    assert "`pgbench run ablation --row g`" in page.read_text()


def test_hostile_names_stay_text(make_run: MakeRun, results: Path, tmp_path: Path) -> None:
    make_run("g", {AVG: 5.0}, dataset=HOSTILE, profile="<b>", run_id="a|b`c<d>")
    paths = build(results, tmp_path / "out")
    assert all(path.parent == tmp_path / "out" for path in paths)
    assert all(re.fullmatch(r"[\w.+-]+", path.name) for path in paths)
    page = paths[-1].read_text()
    assert "<img" not in page
    assert "<b>" not in page
    assert "\x1b" not in page
    assert "\n# no heading" not in page
    rows = [line for line in page.splitlines() if line.startswith("| a\\|b\\`c&lt;d&gt;")]
    assert len(rows) == 1
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 12


def test_names_that_share_a_file_name_are_numbered(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    make_run("g", {AVG: 5.0}, dataset="a b", run_id="one")
    make_run("g", {AVG: 6.0}, dataset="a/b", run_id="two")
    names = [path.name for path in build(results, tmp_path) if path.suffix == ".tex"]
    first, second = "table1-a-b-desktop-64.tex", "table1-a-b-desktop-64-2.tex"
    assert [name for name in names if name in (first, second)] == [first, second]
    assert len(set(names)) == len(names)


def test_folder_that_may_not_be_written_is_an_error_and_leaves_nothing(
    make_run: MakeRun, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(target))

    make_run("g", {AVG: 5.0})
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError):
        build(results, tmp_path / "out")
    assert visible(tmp_path / "out") == []


def test_command_prints_what_it_wrote(
    make_run: MakeRun, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("g", {AVG: 5.0})
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(report, [], catch_exceptions=False)
    assert done.output.splitlines() == [f"results/report/{name}" for name in [*FILES, "report.md"]]
    assert all(Path(line).is_file() for line in done.output.splitlines())
    again = CliRunner().invoke(report, ["results", "--out", "elsewhere"], catch_exceptions=False)
    assert again.output.splitlines()[-1] == "elsewhere/report.md"


def test_nowhere_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere does not exist; name a folder of results"):
        build(tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", "a\\|b"),
        ("`x`", "\\`x\\`"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("two\r\nlines\ttabbed", "two lines tabbed"),
        ("\\|", "\\\\\\|"),
        ("e*", "e\\*"),
        ("right\u202eleft", "right left"),
    ],
)
def test_escape(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_table_is_padded() -> None:
    assert table(["k", "value"], [["row", "1"]]) == (
        "| k   | value |\n| --- | ----: |\n| row |     1 |\n"
    )


@pytest.mark.parametrize(
    ("parts", "stem"),
    [
        (("table1", "../../etc"), "table1-..-..-etc"),
        (("..",), "unnamed"),
        (("a\0b", 64), "a-b-64"),
        (("x" * 500,), "x" * 120),
    ],
)
def test_file_stem(parts: tuple[object, ...], stem: str) -> None:
    assert file_stem(*parts) == stem
