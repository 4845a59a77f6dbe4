"""Published training times above ours: canned runs in, exact CSV, Markdown and LaTeX out."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pgbench.reports.latex import to_latex
from pgbench.reports.markdown import to_markdown
from pgbench.reports.run_files import devices
from pgbench.reports.summary import summarise
from pgbench.reports.tables import Table
from pgbench.reports.training_time import tables
from pgbench.results import RunFolder, load_results, load_runs

MakeRun = Callable[..., RunFolder]


def made(results: Path) -> list[Table]:
    runs = load_runs(results)
    return tables(summarise(load_results(results), runs, devices=devices(runs)))


def trained_on(run: RunFolder, device: str) -> None:
    sessions = [{"device": "another"}, {"device": device}]
    run.environment_path.write_text(json.dumps({"sessions": sessions}))


@pytest.fixture
def canned(make_run: MakeRun) -> None:
    """Half an hour each: two seeds with 90 kimg, 50 images/s, and one stopped at 45."""
    for seed in (0, 1):
        trained_on(make_run("g", seed=seed), "H100")
    trained_on(make_run("a", status="interrupted", kimg=45.0), "CPU & <b>")
    make_run("b")


MARKDOWN = """\
## Training time: profile desktop

Published training times as stated, and those of our runs of profile desktop.

| setting                                                        | device          | status                     | kimg | runs | published time |       hours |   images/s |
| -------------------------------------------------------------- | --------------- | -------------------------- | ---: | ---: | -------------: | ----------: | ---------: |
| TensorFlow release: CelebA-HQ 1024, original settings          | 1 × V100        | —                          |    — |    — |  about 1 month |           — |          — |
| TensorFlow release: CelebA-HQ 1024, faster preset              | 1 × V100        | —                          |    — |    — |        2 weeks |           — |          — |
| TensorFlow release: CelebA-HQ 1024, faster preset              | 2 × V100        | —                          |    — |    — |         1 week |           — |          — |
| TensorFlow release: CelebA-HQ 1024, faster preset              | 4 × V100        | —                          |    — |    — |         3 days |           — |          — |
| TensorFlow release: CelebA-HQ 1024, faster preset              | 8 × V100        | —                          |    — |    — |         2 days |           — |          — |
| paper: CelebA-HQ 1024                                          | 8 × V100        | —                          |    — |    — |         4 days |           — |          — |
| paper figure 4c: 1024, growing, 6.4M images                    | 1 × P100        | —                          |    — |    — |           96 h |           — |          — |
| paper figure 4c: 1024, not growing, 6.4M images (extrapolated) | 1 × P100        | —                          |    — |    — |    about 520 h |           — |          — |
| table1 a, portraits 64x64                                      | CPU &amp; &lt;b&gt; | unfinished (45 of 90 kimg) |   90 |    1 |              — |           — |       25.0 |
| table1 b, portraits 64x64                                      | not recorded    | done                       |   90 |    1 |              — |        0.50 |       50.0 |
| table1 g, portraits 64x64                                      | H100            | done                       |   90 |    2 |              — | 0.50 ± 0.00 | 50.0 ± 0.0 |
"""  # noqa: E501
CSV_END = """\
table1,a,portraits,desktop,64,90,CPU & <b>,unfinished (45 of 90 kimg),0,hours,,,,,
table1,a,portraits,desktop,64,90,CPU & <b>,unfinished (45 of 90 kimg),1,images/s,25,,,,
table1,b,portraits,desktop,64,90,not recorded,done,1,hours,0.5,,,,
table1,b,portraits,desktop,64,90,not recorded,done,1,images/s,50,,,,
table1,g,portraits,desktop,64,90,H100,done,2,hours,0.5,0.5,0.5,,
table1,g,portraits,desktop,64,90,H100,done,2,images/s,50,50,50,,
"""
CSV_START = """\
artefact,row,dataset,profile,resolution,total_kimg,device,status,runs,key,mean,low,high,published,source
published,"CelebA-HQ 1024, original settings",,,,,1 x V100,,,time,,,,about 1 month,TensorFlow release
"""  # noqa: E501


def squeezed(markdown: str) -> list[list[str]]:
    """The cells of a Markdown table without their padding."""
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    return [
        [cell.strip() for cell in line[2:-2].split(" | ")] for line in lines if "---" not in line
    ]


@pytest.mark.usefixtures("canned")
def test_exact_csv(results: Path) -> None:
    (table,) = made(results)
    assert table.to_csv().startswith(CSV_START)
    assert table.to_csv().endswith(CSV_END)
    assert table.to_csv().count("\n") == 1 + 8 + 6


@pytest.mark.usefixtures("canned")
def test_exact_cells(results: Path, latex_rows: Callable[[str], list[str]]) -> None:
    (table,) = made(results)
    assert squeezed(to_markdown(table)) == squeezed(MARKDOWN)
    lines = to_latex(table).splitlines()
    expected = [
        row.replace("&lt;", "\\textless{}").replace("&gt;", "\\textgreater{}")
        for row in latex_rows(MARKDOWN)
    ]
    assert lines[lines.index("\\midrule") + 1 : lines.index("\\bottomrule")] == expected


def test_profiles_never_share_a_column(make_run: MakeRun, results: Path) -> None:
    make_run("g")
    make_run("g", profile="smoke")
    stems = [table.stem for table in made(results)]
    assert stems == ["training_time-desktop", "training_time-smoke"]


@pytest.mark.parametrize("text", ["{", "[]", '{"sessions": []}', '{"sessions": [{}]}', "[" * 10**5])
def test_damaged_environments_say_nothing(make_run: MakeRun, results: Path, text: str) -> None:
    make_run("g").environment_path.write_text(text)
    assert devices(load_runs(results)) == {}
    (table,) = made(results)
    assert table.rows[-1][1].text == "not recorded"


def test_what_never_trained_is_no_row(results: Path) -> None:
    assert made(results) == []
