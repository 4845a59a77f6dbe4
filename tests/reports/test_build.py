"""From a results folder to the pages, through the command line, too."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from pgbench.cli_report import report
from pgbench.records import Columns, read_columns
from pgbench.reports.build import build
from pgbench.reports.drawing import Draw
from pgbench.reports.figures import Figure
from pgbench.reports.markdown import escape, table
from pgbench.results import RunFolder

MakeRun = Callable[..., RunFolder]
AVG = ("swd2k", "avg")
STEMS = (
    *("table1-portraits-desktop-64", "table1-portraits-desktop-64-levels"),
    "training_time-desktop",
)
TABLES = [f"tables/{stem}.{ending}" for stem in STEMS for ending in ("csv", "md", "tex")]
HOSTILE = "../x|`<img src=x onerror=alert(1)>`\n# no heading [a](b) \x1b[31m"


def files(out: Path) -> dict[str, bytes]:
    """Everything in a report's folder but what it keeps for the next time."""
    found = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name[0] != "."}


def page(out: Path) -> str:
    return (out / "report.md").read_text()


def ticks(run: RunFolder, *clocks: float) -> None:
    for kimg in clocks:
        run.append_stats({"kimg": kimg, "train_sec": 60 * kimg, "resolution": 64, "D_loss": 1.0})


def sample(run: RunFolder, kimg: float, colour: str) -> None:
    picture = Image.new("RGB", (2 * 384 + 8, 384), colour)
    picture.save(run.samples / f"fakes-reals-{kimg:08.1f}.png")


def without_drawing(figures: Sequence[Figure]) -> list[dict[str, bytes]]:
    """All that a figure is drawn from in place of its files."""
    return [dict.fromkeys((".csv", ".png", ".svg"), repr(one).encode()) for one in figures]


def stand_in() -> AbstractContextManager[Draw]:
    return nullcontext(without_drawing)


def test_writes_tables_figures_pictures_and_pages(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    run = make_run("g", {AVG: 5.0})
    ticks(run, 45.0, 90.0)
    sample(run, 90.0, "red")
    make_run("z", {AVG: 5.0}, run_id="stray")
    out = tmp_path / "deep" / "out"
    names = [path.relative_to(out).as_posix() for path in build(results, out)]
    assert sorted(files(out)) == names
    drawn = ("table1-cost-portraits-desktop-64", "table1-swd-portraits-desktop-64")
    assert names == sorted(
        [
            *TABLES,
            *(f"figures/{stem}.{end}" for stem in drawn for end in ("csv", "png", "svg")),
            *("pictures/table1-samples-portraits-desktop-64.png", "report.md", "index.html"),
            *(f"pictures/{run.run_id}-samples.png", f"runs/{run.run_id}.html", "runs/stray.html"),
            *("artefacts/table1.html", "artefacts/training_time.html"),
            *("static/site.css", "static/site.js"),
        ]
    )
    assert all((out / name).read_text() in page(out) for name in TABLES if name.endswith(".md"))
    images = re.findall(r"\]\(((?:figures|pictures)/.*)\)", page(out))
    assert images == ["pictures/table1-samples-portraits-desktop-64.png"] + [
        f"figures/{stem}.png" for stem in drawn[::-1]
    ]
    told = "Run stray was set aside: table1 has no row 'z'."
    assert f"- {told}\n" in page(out)
    assert told.replace("'", "&#39;") in (out / "index.html").read_text()


def test_the_ledger_of_the_judge_is_told(
    make_run: MakeRun, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgbench.reports.build.drawn_apart", stand_in)

    def judge(values: pd.DataFrame, runs: pd.DataFrame, stats: pd.DataFrame) -> pd.DataFrame:
        counts = f"{len(values)} {len(runs)} {len(stats)}"
        line = {"claim": counts, "artefact": "table1", "rows": ["g"], "verdict": "reproduced"}
        return pd.DataFrame([line | {"text": "why", "runs": [run.run_id]}])

    run = make_run("g", {AVG: 5.0})
    ticks(run, 45.0, 90.0)
    build(results, tmp_path, judge=judge)
    assert "| 1 1 2 |" in page(tmp_path)
    assert "1 1 2" in (tmp_path / "index.html").read_text()


def test_after_any_change_it_is_as_if_made_from_nothing(
    make_run: MakeRun, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgbench.reports.build.drawn_apart", stand_in)

    def check() -> None:
        for name in ("kept", f"fresh{len(list(tmp_path.iterdir()))}"):
            build(results, tmp_path / name)
        assert files(tmp_path / "kept") == files(tmp_path / name)

    first, second = make_run("a", {AVG: 7.0}), make_run("g", {AVG: 5.0})
    for run in (first, second):
        ticks(run, 45.0, 90.0)
        sample(run, 90.0, "red")
    check()
    third = make_run("g", {AVG: 6.0}, seed=1)  # added
    sample(third, 90.0, "blue")
    check()
    (record,) = third.records()[0]  # changed, one kind of file after the other
    third.append_record(record.model_copy(update={"value": 8.0}))
    check()
    ticks(third, 30.0, 90.0)
    check()
    sample(third, 90.0, "green")
    sample(first, 45.0, "green")
    check()
    third.environment_path.write_text('{"sessions": [{"device": "another"}]}')
    check()
    first.stats_path.write_text("damage\n")
    (second.samples / "fakes-reals-000090.0.png").write_bytes(b"damage")
    check()
    (second.path / "config.json").write_text("{}")  # no run any more
    check()
    shutil.rmtree(first.path)  # removed
    check()
    assert sorted((tmp_path / "kept" / "runs").iterdir()) == [
        tmp_path / "kept" / "runs" / f"{third.run_id}.html"
    ]
    shutil.rmtree(results)
    results.mkdir()
    check()
    assert sorted(files(tmp_path / "kept")) == [
        *("index.html", "report.md", "static/site.css", "static/site.js")
    ]


def test_nothing_is_written_or_drawn_again_without_need(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    run = make_run("g", {AVG: 5.0})
    ticks(run, 45.0, 90.0)
    sample(run, 90.0, "red")
    paths = build(results, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in paths}
    code = "import sys; from pathlib import Path; from pgbench.reports.build import build; "
    code += f"build(Path({str(results)!r}), Path({str(tmp_path)!r})); "
    code += "print(sorted({'torch', 'matplotlib'} & {*sys.modules}))"
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"
    assert {path: path.stat().st_mtime_ns for path in paths} == before


def test_the_command_imports_no_torch(make_run: MakeRun, results: Path, tmp_path: Path) -> None:
    make_run("g", {AVG: 5.0})
    code = "import sys; from pgbench.cli import cli; "
    code += f"cli(['report', {str(results)!r}, '--out', {str(tmp_path)!r}], standalone_mode=False);"
    code += "print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "False"


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
    build(results, tmp_path / "out")
    assert read == [changing.run_id]


def test_a_torn_line_is_told_and_nothing_lost(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    run = make_run("g", {AVG: 5.0})
    with run.metrics_path.open("a") as file:
        file.write('{"schema": 1, "run_')
    build(results, tmp_path)
    assert "metrics.jsonl line 2 is no record (Invalid JSON" in page(tmp_path)
    assert "| g   | + Pixelwise normalization     | done " in page(tmp_path)


def test_empty_folder_says_how_to_fill_it(results: Path, tmp_path: Path) -> None:
    build(results, tmp_path)
    assert "No runs were found in" in page(tmp_path)
    assert "`pgbench run ablation --row g`" in page(tmp_path)
    index = (tmp_path / "index.html").read_text()
    for command in ("figure4", "cifar10", "celebahq", "lsun", "mnist-modes", "ablation --row all"):
        assert f"pgbench run {command}</code>" in index


def test_hostile_names_stay_text(make_run: MakeRun, results: Path, tmp_path: Path) -> None:
    make_run("g", {AVG: 5.0}, dataset=HOSTILE, profile="<b>", run_id="a|b`c<d>")
    paths = build(results, tmp_path / "out")
    assert all(path.resolve().is_relative_to(tmp_path / "out") for path in paths)
    assert all(re.fullmatch(r"[\w.+-]+", path.name) for path in paths)
    text = page(tmp_path / "out")
    assert "<img" not in text
    assert "<b>" not in text
    assert "\x1b" not in text
    assert "\n# no heading" not in text
    rows = [line for line in text.splitlines() if line.startswith("| a\\|b\\`c&lt;d&gt;")]
    assert len(rows) == 1
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 12


def test_names_that_share_a_file_name_are_numbered(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    make_run("g", {AVG: 5.0}, dataset="a b", run_id="one")
    make_run("g", {AVG: 6.0}, dataset="a/b", run_id="two")
    names = [path.name for path in build(results, tmp_path / "out") if path.suffix == ".tex"]
    first, second = "table1-a-b-desktop-64.tex", "table1-a-b-desktop-64-2.tex"
    assert {name for name in names if name in (first, second)} == {first, second}
    assert len(set(names)) == len(names)


def test_a_folder_that_may_not_be_written_is_an_error_and_leaves_nothing(
    make_run: MakeRun, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(target))

    make_run("g", {AVG: 5.0})
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError):
        build(results, tmp_path / "out")
    assert files(tmp_path / "out") == {}


def test_the_command_prints_what_to_open(
    make_run: MakeRun, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("g", {AVG: 5.0})
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(report, [], catch_exceptions=False)
    assert done.output.splitlines() == ["results/report/index.html", "results/report/report.md"]
    assert all(Path(line).is_file() for line in done.output.splitlines())
    again = CliRunner().invoke(report, ["results", "--out", "elsewhere"], catch_exceptions=False)
    assert again.output.splitlines()[-1] == "elsewhere/report.md"
    assert sorted(files(tmp_path / "elsewhere")) == sorted(files(results / "report"))


def test_the_command_survives_whatever_lies_in_the_folder(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    """Damaged, foreign, unfinished and hostile runs, and none that is sound."""
    script = "<script>alert(1)</script>"  # a folder cannot have the slash
    run = make_run(
        script, {AVG: 5.0}, dataset=script, profile=script, run_id=script.replace("/", "")
    )
    run.stats_path.write_bytes(b"\x00\xff\n" + b"[" * 10**5 + b"\n{}\n")
    run.environment_path.write_text('{"sessions": [{"device": "' + script + '"}]}')
    run.metrics_path.write_text(run.metrics_path.read_text() + "[" * 10**5 + "\n{}\n\x00\n")
    (run.path / "neighbours.json").write_text("{")
    (run.path / "walk.png").write_text(script)
    (run.samples / "fakes-reals-000090.0.png").write_text(script)
    make_run("g", status="failed", kimg=0.0, run_id="failed")
    for name, text in {"foreign": '{"model": 1}', "torn": '{"artefact', "list": "[]"}.items():
        (results / name).mkdir()
        (results / name / "config.json").write_text(text)
    (make_run("g", seed=9).path / "status.json").write_text("{")
    out = tmp_path / "out"
    done = CliRunner().invoke(report, [str(results), "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0
    index = (out / "index.html").read_text()
    for told in ("foreign", "torn", "list", "is damaged", "no picture", "no record"):
        assert told in index
    pages = {
        name: text for name, text in files(out).items() if name.endswith(("html", "md", "svg"))
    }
    assert all(b"<script>alert" not in text for text in pages.values())
    assert "&lt;script&gt;alert(1)&lt;" in index


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
