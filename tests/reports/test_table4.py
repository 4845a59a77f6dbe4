"""Table 4 beside ours: canned runs in, exact CSV, Markdown and LaTeX out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pgbench.reports.latex import to_latex
from pgbench.reports.markdown import to_markdown
from pgbench.reports.summary import summarise
from pgbench.reports.table4 import ROWS, tables
from pgbench.reports.tables import Table
from pgbench.results import RunFolder, load_results, load_runs

MakeRun = Callable[..., RunFolder]
PLACE = {"artefact": "table4", "dataset": "mnist-rgb", "profile": "desktop", "resolution": 32}


def made(results: Path) -> list[Table]:
    return tables(summarise(load_results(results), load_runs(results)))


def kept(modes: float, kl: float) -> dict[tuple[str, str], float]:
    values = {"modes": modes, "modes_std": 5.0, "kl": kl, "kl_std": 0.01}
    return {("modes25k", key): value for key, value in values.items()}


@pytest.fixture
def canned(make_run: MakeRun) -> None:
    """Two seeds of one configuration, one of another, and one that failed."""
    make_run("K/4 wgan-gp", kept(600.0, 2.0), seed=0, **PLACE)
    make_run("K/4 wgan-gp", kept(620.0, 2.2), seed=1, **PLACE)
    make_run("K/2 norm", kept(900.0, 0.5), **PLACE)
    make_run("K/2 stddev", status="failed", **PLACE)


# Modes 600 and 620: mean 610, standard deviation 20 / sqrt(2) = 14.14, interval 12.70620474 times
# half of their distance, 127.06; KL 2.0 and 2.2: a hundredth of these around 2.1.
MARKDOWN = """\
## Table 4: mnist-rgb, profile desktop, 32x32

Another scale is compared: published is MNIST in three channels at 32x32 after 10,000 kimg, 15,000 \
with progression; ours is mnist-rgb at 32x32, profile desktop. The difference is not only an error \
of reproduction. Modes and KL (modes25k).

| discriminator | configuration | status  | kimg | seeds |                  modes paper |    modes ours | modes std | modes diff |                   KL paper |     KL ours | KL std | KL diff | verdict |
| ------------- | ------------- | ------- | ---: | ----: | ---------------------------: | ------------: | --------: | ---------: | -------------------------: | ----------: | -----: | ------: | ------- |
| K/4           | WGAN-GP       | done    |   90 |     2 | (640.1 ± 136.3) <sup>1</sup> | 610.0 ± 127.1 |      14.1 |          — | (1.97 ± 0.70) <sup>1</sup> | 2.10 ± 1.27 |   0.14 |       — | —       |
| K/4           | + our norm    | not run |    — |     — |  (856.7 ± 50.4) <sup>1</sup> |             — |         — |          — |                          — |           — |      — |       — | —       |
| K/4           | + mb stddev   | not run |    — |     — |  (881.3 ± 39.2) <sup>1</sup> |             — |         — |          — |                          — |           — |      — |       — | —       |
| K/4           | + progression | not run |    — |     — |  (859.5 ± 36.2) <sup>1</sup> |             — |         — |          — | (1.05 ± 0.09) <sup>1</sup> |           — |      — |       — | —       |
| K/2           | WGAN-GP       | not run |    — |     — | (772.4 ± 146.5) <sup>1</sup> |             — |         — |          — | (1.35 ± 0.55) <sup>1</sup> |           — |      — |       — | —       |
| K/2           | + our norm    | done    |   90 |     1 |  (886.6 ± 58.5) <sup>1</sup> |     **900.0** |         — |          — |                          — |    **0.50** |      — |       — | —       |
| K/2           | + mb stddev   | failed  |    — |     — |  (918.3 ± 30.2) <sup>1</sup> |             — |         — |          — |                          — |           — |      — |       — | —       |
| K/2           | + progression | not run |    — |     — |  (919.8 ± 35.1) <sup>1</sup> |             — |         — |          — |                          — |           — |      — |       — | —       |

- The paper's ± is the standard deviation over initialisations, to be compared with our column std.
- ± of ours is half of the 95 % interval of the mean over seeds (Student's t); one seed has none.
- Bold is the best mean of ours: the most modes, the smallest KL.
- Numbers in parentheses are recalled from memory and verified in no source: they enter no \
difference and no verdict.
- <sup>1</sup> recalled, not verified
"""  # noqa: E501
CSV_START = """\
dataset,profile,resolution,row,key,published,published_std,recalled,recalled_std,source,ours_mean,ours_std,ours_low,ours_high,n_seeds,difference,metric,status,kimg,verdict
mnist-rgb,desktop,32,K/4 wgan-gp,modes,,,640.1,136.3,recalled,610,14.14213562,482.9379526,737.0620474,2,,modes25k,done,90,
mnist-rgb,desktop,32,K/4 wgan-gp,modes_std,,,,,,5,0,5,5,2,,modes25k,done,90,
mnist-rgb,desktop,32,K/4 wgan-gp,kl,,,1.97,0.7,recalled,2.1,0.1414213562,0.8293795264,3.370620474,2,,modes25k,done,90,
mnist-rgb,desktop,32,K/4 wgan-gp,kl_std,,,,,,0.01,0,0.01,0.01,2,,modes25k,done,90,
mnist-rgb,desktop,32,K/4 norm,modes,,,856.7,50.4,recalled,,,,,,,,not run,,
mnist-rgb,desktop,32,K/4 norm,modes_std,,,,,,,,,,,,,not run,,
mnist-rgb,desktop,32,K/4 norm,kl,,,,,recalled,,,,,,,,not run,,
"""  # noqa: E501


@pytest.mark.usefixtures("canned")
def test_exact_csv(results: Path) -> None:
    (table,) = made(results)
    assert table.to_csv().startswith(CSV_START)
    rows = [line.split(",")[3] for line in table.to_csv().splitlines()[1:]]
    assert rows == [row for row in ROWS for _ in range(4)]
    failed = "mnist-rgb,desktop,32,K/2 stddev,modes,,,918.3,30.2,recalled,,,,,,,,failed,,\n"
    assert failed in table.to_csv()


@pytest.mark.usefixtures("canned")
def test_exact_markdown(results: Path) -> None:
    assert [to_markdown(table) for table in made(results)] == [MARKDOWN]


@pytest.mark.usefixtures("canned")
def test_latex_has_the_cells_of_markdown(
    results: Path, latex_rows: Callable[[str], list[str]]
) -> None:
    (table,) = made(results)
    lines = to_latex(table).splitlines()
    assert lines[lines.index("\\midrule") + 1 : lines.index("\\bottomrule")] == latex_rows(MARKDOWN)
    assert "\\begin{tabular}{lllrrrrrrrrrrl}" in lines


def test_rows_are_the_papers_in_its_order() -> None:
    assert list(ROWS) == [
        *("K/4 wgan-gp", "K/4 norm", "K/4 stddev", "K/4 progression"),
        *("K/2 wgan-gp", "K/2 norm", "K/2 stddev", "K/2 progression"),
    ]


def test_nothing_run_makes_nothing(results: Path) -> None:
    assert made(results) == []
