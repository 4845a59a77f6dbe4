"""Table 1 beside ours: canned runs in, exact CSV and Markdown out."""

import csv
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pgbench.reports.latex import to_latex
from pgbench.reports.markdown import to_markdown
from pgbench.reports.summary import summarise, unknown_rows
from pgbench.reports.table1 import ARTEFACT, LABELS, PAPER, row_lines, tables
from pgbench.reports.tables import Table
from pgbench.results import RunFolder, load_results, load_runs

MakeRun = Callable[..., RunFolder]
SOURCE = "table 1 (two lecture reprints agree)"
PAPER_FILE = Path(__file__).parents[2] / "reports" / "paper" / "table1.csv"


def swd(level_64: float, metric: str = "swd2k") -> dict[tuple[str, str], float]:
    """Levels 64, 32 and 16, one apart, and so their average."""
    values = {"64": level_64, "32": level_64 + 1, "16": level_64 + 2, "avg": level_64 + 1}
    return {(metric, key): value for key, value in values.items()}


def made(results: Path, *, ledger: pd.DataFrame | None = None) -> list[Table]:
    return tables(summarise(load_results(results), load_runs(results), ledger=ledger))


def averages(results: Path) -> Table:
    """The first table of the only place."""
    first, *rest = made(results)
    assert all(table.stem == f"{first.stem}-levels" for table in rest)
    return first


@pytest.fixture
def canned(make_run: MakeRun) -> None:
    """Two seeds of a, one of g, and every way of not having a value."""
    make_run("a", swd(8.9) | {("msssim1k", "msssim"): 0.30}, seed=0)
    make_run("a", swd(9.1) | {("msssim1k", "msssim"): 0.32}, seed=1)
    make_run("b", swd(1.0), status="interrupted", kimg=45.0)
    make_run("d")
    make_run("e*", status="failed", kimg=12.5)
    make_run("g", swd(5.0) | swd(50.0, "swd500"))


# With two seeds t = tan(0.475 pi) = 12.70620474, so the interval is the mean plus or minus
# 12.70620474 times half of the distance between the seeds (0.1, and 0.01 for MS-SSIM).
RUN_LINES = f"""\
portraits,desktop,64,a,128,12.99,,,,{SOURCE},,,,,,,,done,,
portraits,desktop,64,a,64,7.79,,,,{SOURCE},9,0.1414213562,7.729379526,10.27062047,2,1.21,swd2k,done,90,
portraits,desktop,64,a,32,7.62,,,,{SOURCE},10,0.1414213562,8.729379526,11.27062047,2,2.38,swd2k,done,90,
portraits,desktop,64,a,16,8.73,,,,{SOURCE},11,0.1414213562,9.729379526,12.27062047,2,2.27,swd2k,done,90,
portraits,desktop,64,a,avg,9.28,,,,{SOURCE},10,0.1414213562,8.729379526,11.27062047,2,0.72,swd2k,done,90,
portraits,desktop,64,a,msssim,0.2854,,,,{SOURCE},0.31,0.01414213562,0.1829379526,0.4370620474,2,0.0246,msssim1k,done,90,
portraits,desktop,64,g,128,4.06,,,,{SOURCE},,,,,,,,done,,
portraits,desktop,64,g,64,3.04,,,,{SOURCE},5,,,,1,1.96,swd2k,done,90,
portraits,desktop,64,g,32,2.02,,,,{SOURCE},6,,,,1,3.98,swd2k,done,90,
portraits,desktop,64,g,16,5.13,,,,{SOURCE},7,,,,1,1.87,swd2k,done,90,
portraits,desktop,64,g,avg,3.56,,,,{SOURCE},6,,,,1,2.44,swd2k,done,90,
portraits,desktop,64,g,msssim,0.2845,,,,{SOURCE},,,,,,,,done,,
"""
HEADER = (
    "dataset,profile,resolution,row,key,published,published_std,recalled,recalled_std,source,"
    "ours_mean,ours_std,ours_low,ours_high,n_seeds,difference,metric,status,kimg,verdict\n"
)
STATUS = {"b": "unfinished (45 of 90 kimg)", "d": '"done, not evaluated"', "e*": "failed"}

NOTES = """\
- SWD is times 1000, as in the paper.
- Row h has no released configuration; ours is stated in its config.
- ± is half of the 95 % interval of the mean over seeds (Student's t); one seed has none.
- Bold is the lowest SWD of its column. MS-SSIM has no best: lower is more variation, and means \
something only next to the real images' own value.
- Published values: table 1 (two lecture reprints agree).
- The paper's SWD is swd16k, ours swd2k: the fewer the images, the larger the SWD.
- The paper's average is over the levels 128, 64, 32, 16; ours is over 64, 32, 16.
"""
COMPARED = """\
Another data set (and scale) is compared: published is CelebA at 128x128 after 10,000 kimg; \
ours is portraits at 64x64, profile desktop. The difference is not an error of reproduction; what \
can be compared is how the rows rank."""
AVERAGES = f"""\
## Table 1: portraits, profile desktop, 64x64

{COMPARED} Average SWD (swd2k) and MS-SSIM (msssim1k).

| row | configuration                 | status                     | kimg | seeds | SWD paper |     SWD ours | SWD diff | MS-SSIM paper |    MS-SSIM ours | MS-SSIM diff | verdict |
| --- | ----------------------------- | -------------------------- | ---: | ----: | --------: | -----------: | -------: | ------------: | --------------: | -----------: | ------- |
| a   | Gulrajani et al. (2017)       | done                       |   90 |     2 |      9.28 | 10.00 ± 1.27 |    +0.72 |        0.2854 | 0.3100 ± 0.1271 |      +0.0246 | —       |
| b   | + Progressive growing         | unfinished (45 of 90 kimg) |    — |     — |      4.28 |            — |        — |        0.2838 |               — |            — | —       |
| c   | + Small minibatch             | not run                    |    — |     — |     46.23 |            — |        — |        0.4065 |               — |            — | —       |
| d   | + Revised training parameters | done, not evaluated        |    — |     — |      8.07 |            — |        — |        0.3027 |               — |            — | —       |
| e\\* | + Minibatch discrimination    | failed                     |    — |     — |      9.84 |            — |        — |        0.3057 |               — |            — | —       |
| e   | Minibatch stddev              | not run                    |    — |     — |      7.04 |            — |        — |        0.2950 |               — |            — | —       |
| f   | + Equalized learning rate     | not run                    |    — |     — |      4.39 |            — |        — |        0.2902 |               — |            — | —       |
| g   | + Pixelwise normalization     | done                       |   90 |     1 |      3.56 |     **6.00** |    +2.44 |        0.2845 |               — |            — | —       |
| h   | Converged                     | not run                    |    — |     — |  **2.96** |            — |        — |        0.2828 |               — |            — | —       |

{NOTES}"""  # noqa: E501
LEVELS = f"""\
## Table 1, SWD by level: portraits, profile desktop, 64x64

{COMPARED} SWD by level (swd2k).

| row | 128 paper | 128 ours | 128 diff | 64 paper |     64 ours | 64 diff | 32 paper |      32 ours | 32 diff | 16 paper |      16 ours | 16 diff |
| --- | --------: | -------: | -------: | -------: | ----------: | ------: | -------: | -----------: | ------: | -------: | -----------: | ------: |
| a   |     12.99 |        — |        — |     7.79 | 9.00 ± 1.27 |   +1.21 |     7.62 | 10.00 ± 1.27 |   +2.38 |     8.73 | 11.00 ± 1.27 |   +2.27 |
| b   |      4.62 |        — |        — |     2.64 |           — |       — |     3.78 |            — |       — |     6.06 |            — |       — |
| c   |     75.42 |        — |        — |    41.33 |           — |       — |    41.62 |            — |       — |    26.57 |            — |       — |
| d   |      9.20 |        — |        — |     6.53 |           — |       — |     4.71 |            — |       — |    11.84 |            — |       — |
| e\\* |     10.76 |        — |        — |     6.28 |           — |       — |     6.04 |            — |       — |    16.29 |            — |       — |
| e   |     13.94 |        — |        — |     5.67 |           — |       — |     2.82 |            — |       — |     5.71 |            — |       — |
| f   |      4.42 |        — |        — |     3.28 |           — |       — |     2.32 |            — |       — |     7.52 |            — |       — |
| g   |      4.06 |        — |        — |     3.04 |    **5.00** |   +1.96 | **2.02** |     **6.00** |   +3.98 |     5.13 |     **7.00** |   +1.87 |
| h   |  **2.42** |        — |        — | **2.17** |           — |       — |     2.24 |            — |       — | **4.99** |            — |       — |

- The notes of table1-portraits-desktop-64 hold here, too.
"""  # noqa: E501


def is_level(line: str) -> bool:
    return line.split(",")[4].isdecimal()


def number(text: str) -> str:
    return text.rstrip("0").rstrip(".")


@pytest.mark.usefixtures("canned")
def test_exact_csv(results: Path) -> None:
    ours = {line.split(",")[3]: "" for line in RUN_LINES.splitlines()}
    for line in RUN_LINES.splitlines(keepends=True):
        ours[line.split(",")[3]] += line
    expected = HEADER
    with PAPER_FILE.open(newline="") as file:
        for paper in csv.DictReader(file):
            row = paper["row"]
            if paper["dataset"] != "celeba":
                continue
            for column in ("swd_128", "swd_64", "swd_32", "swd_16", "swd_avg", "msssim"):
                published, status = number(paper[column]), STATUS.get(row, "not run")
                key = column.removeprefix("swd_")
                line = (
                    f"portraits,desktop,64,{row},{key},{published},,,,{SOURCE},,,,,,,,{status},,\n"
                )
                expected += "" if row in ours else line
            expected += ours.get(row, "")
    assert averages(results).to_csv() == expected
    levels = [line for line in expected.splitlines(keepends=True) if is_level(line)]
    assert made(results)[1].to_csv() == HEADER + "".join(levels)


@pytest.mark.usefixtures("canned")
def test_exact_markdown(results: Path) -> None:
    assert [to_markdown(table) for table in made(results)] == [AVERAGES, LEVELS]


@pytest.mark.usefixtures("canned")
def test_lines_of_one_row(results: Path) -> None:
    values, runs = load_results(results), load_runs(results)
    name = {"dataset": "portraits", "profile": "desktop", "resolution": 64}
    assert row_lines(values, runs, row="g", **name) == [
        ("SWD 128", "4.06", "—", "—"),
        ("SWD 64", "3.04", "5.00", "+1.96"),
        ("SWD 32", "2.02", "6.00", "+3.98"),
        ("SWD 16", "5.13", "7.00", "+1.87"),
        ("SWD avg", "3.56", "6.00", "+2.44"),
        ("MS-SSIM", "0.2845", "—", "—"),
    ]
    assert row_lines(values, runs, row="g", **(name | {"profile": "paper"})) == []


def test_rows_are_the_papers_in_its_order() -> None:
    assert list(LABELS) == ["a", "b", "c", "d", "e*", "e", "f", "g", "h"]
    assert len(PAPER) == 18


def test_the_metric_with_the_most_images_is_shown(make_run: MakeRun, results: Path) -> None:
    make_run("g", swd(5.0, "swd2k") | swd(4.0, "swd16k") | swd(6.0, "swd900"))
    table = averages(results)
    assert "Average SWD (swd16k) and MS-SSIM (not measured)" in table.caption
    assert not any("the fewer the images" in note for note in table.notes)


def test_absurd_keys_and_names_do_no_harm(make_run: MakeRun, results: Path) -> None:
    make_run("g", swd(5.0) | {("swd2k", "9" * 5000): 1.0, ("swd" + "9" * 5000, "16"): 1.0})
    table = averages(results)
    assert "Average SWD (swd2k)" in table.caption
    assert "6.00" in to_markdown(table)


def test_tables_never_mix(make_run: MakeRun, results: Path) -> None:
    make_run("g", swd(5.0))
    make_run("g", swd(6.0), profile="smoke")
    make_run("g", swd(7.0), resolution=128)
    make_run("g", swd(8.0), dataset="scenes", run_id="scenes")
    found = [table for table in made(results) if not table.stem.endswith("-levels")]
    assert [table.stem for table in found] == [
        "table1-portraits-desktop-64",
        "table1-portraits-desktop-128",
        "table1-portraits-smoke-64",
        "table1-scenes-desktop-64",
    ]
    means = [table.tidy["ours_mean"].dropna().tolist() for table in found]
    assert means == [[5, 6, 7, 6], [7, 8, 9, 8], [6, 7, 8, 7], [8, 9, 10, 9]]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ({"dataset": "scenes"}, "data set (and scale) is compared: published is LSUN bedroom"),
        ({"dataset": "celeba"}, "Another scale is compared: published is CelebA at 128x128"),
        (
            {"dataset": "celeba", "profile": "paper", "resolution": 128},
            "The same data set and settings are compared",
        ),
        ({"dataset": "cats"}, "The paper has no such numbers for cats: ours is cats at 64x64"),
    ],
)
def test_what_is_compared_is_said(
    make_run: MakeRun, results: Path, name: dict[str, object], words: str
) -> None:
    make_run("g", swd(5.0), **name)
    assert words in averages(results).caption


def test_a_level_the_paper_has_not_stands_alone(make_run: MakeRun, results: Path) -> None:
    make_run("g", {("swd16k", "256"): 5.0, ("swd16k", "avg"): 5.0}, resolution=256)
    lines = averages(results).tidy
    assert lines["key"].tolist()[:6] == ["256", "128", "64", "32", "16", "avg"]
    (line,) = lines[(lines["row"] == "g") & (lines["key"] == "256")].to_dict("records")
    assert line["published"] != line["published"]  # NaN: unpublished
    assert line["ours_mean"] == 5.0


def test_unevaluated_runs_of_other_data_still_make_nine_rows(
    make_run: MakeRun, results: Path
) -> None:
    make_run("a", dataset="cats", status="running", kimg=0.0)
    (table,) = made(results)  # and none of levels
    assert table.to_csv().count("\n") == 1 + 9 * 2
    assert {row[2].text for row in table.rows} == {"unfinished (0 of 90 kimg)", "not run"}


def test_unknown_rows_are_told(make_run: MakeRun, results: Path) -> None:
    make_run("z", swd(5.0), run_id="stray")
    assert made(results) == []
    told = "Run stray was set aside: table1 has no row 'z'."
    assert unknown_rows(load_runs(results), ARTEFACT, rows=LABELS) == [told]


@pytest.mark.usefixtures("canned")
def test_latex_has_the_cells_of_markdown(
    results: Path, latex_rows: Callable[[str], list[str]]
) -> None:
    for table, markdown in zip(made(results), (AVERAGES, LEVELS), strict=True):
        lines = to_latex(table).splitlines()
        start, end = lines.index("\\midrule"), lines.index("\\bottomrule")
        assert lines[start + 1 : end] == latex_rows(markdown)


@pytest.mark.usefixtures("canned")
def test_latex_is_exact_around_the_cells(results: Path) -> None:
    lines = to_latex(made(results)[1]).splitlines()
    compared = COMPARED.replace("%", "\\%")
    assert lines[:10] == [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}",
        "\\caption{Table 1, SWD by level: portraits, profile desktop, 64x64. "
        f"{compared} SWD by level (swd2k).}}",
        "\\label{tab:table1-portraits-desktop-64-levels}",
        "\\begin{tabular}{lrrrrrrrrrrrr}",
        "\\toprule",
        " & \\multicolumn{3}{c}{128} & \\multicolumn{3}{c}{64} & \\multicolumn{3}{c}{32} & "
        "\\multicolumn{3}{c}{16} \\\\",
        "\\cmidrule(lr){2-4}\\cmidrule(lr){5-7}\\cmidrule(lr){8-10}\\cmidrule(lr){11-13}",
        "row" + " & paper & ours & diff" * 4 + " \\\\",
    ]
    notes = [line.removeprefix("- ") for line in NOTES.splitlines()]
    told = [note.replace("%", "\\%").replace("±", "\\ensuremath{\\pm}") for note in notes]
    assert to_latex(made(results)[0]).splitlines()[-11:] == [
        *("\\bottomrule", "\\end{tabular}", "\\par\\smallskip\\raggedright"),
        *(f"{note}\\par" for note in told),
        "\\end{table}",
    ]


def ledger(**columns: object) -> pd.DataFrame:
    line = {"claim": "c1", "artefact": "table1", "rows": "g", "verdict": "reproduced"}
    return pd.DataFrame([line | columns])


@pytest.mark.parametrize("rows", ["g", "a, g", ["g"], ("a", "g")])
def test_a_verdict_stands_in_its_row(make_run: MakeRun, results: Path, rows: object) -> None:
    make_run("g", swd(5.0))
    table, _ = made(results, ledger=ledger(rows=rows))
    cells = {row[0].text: row[-1] for row in table.rows}
    assert (cells["g"].text, cells["g"].note) == ("reproduced", "c1: reproduced")
    assert (cells["b"].text, cells["b"].note) == ("—", None)
    assert table.tidy.loc[table.tidy["row"] == "g", "verdict"].unique().tolist() == ["reproduced"]


def test_verdicts_of_a_row_are_counted(make_run: MakeRun, results: Path) -> None:
    make_run("g", swd(5.0))
    claims = [ledger(), ledger(claim="c2", verdict="inconclusive"), ledger(claim="c3")]
    table, _ = made(results, ledger=pd.concat(claims))
    (cell,) = (row[-1] for row in table.rows if row[0].text == "g")
    assert (cell.text, cell.note) == (
        "2 reproduced, 1 inconclusive",
        "c1: reproduced; c2: inconclusive; c3: reproduced",
    )
    assert "| 2 reproduced, 1 inconclusive <sup>1</sup> |" in to_markdown(table)
    assert "- <sup>1</sup> c1: reproduced; c2: inconclusive; c3: reproduced" in to_markdown(table)


@pytest.mark.parametrize(
    "elsewhere", [{"artefact": "table3"}, {"rows": "G"}, {"profile": "paper"}, {"dataset": "cats"}]
)
def test_verdicts_of_other_places_do_not_count(
    make_run: MakeRun, results: Path, elsewhere: dict[str, str]
) -> None:
    make_run("g", swd(5.0))
    table, _ = made(results, ledger=ledger(**elsewhere))
    assert {row[-1].text for row in table.rows} == {"—"}


def test_rows_measured_in_several_ways_are_told(make_run: MakeRun, results: Path) -> None:
    make_run("a", swd(5.0), record={"protocol": {"dtype": "float32", "levels": [4]}})
    make_run("g", swd(5.0), record={"protocol": {"mirror": True, "levels": [4]}})
    told = "The rows' swd2k were measured by 2 protocols, which differ in dtype, mirror (see the "
    told += "records)."
    assert told in averages(results).notes
