"""Table 3 beside ours: canned runs in, exact CSV, Markdown and LaTeX out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pgbench.reports.latex import to_latex
from pgbench.reports.markdown import to_markdown
from pgbench.reports.summary import summarise
from pgbench.reports.table3 import set_aside, tables
from pgbench.reports.tables import Table
from pgbench.results import RunFolder, load_results, load_runs

MakeRun = Callable[..., RunFolder]
Values = dict[tuple[str, str], float]
PLACE = {"artefact": "table3", "dataset": "cifar10", "profile": "paper", "resolution": 32}


def score(mean: float, std: float, metric: str = "is50k") -> Values:
    prefix = "is" if metric.startswith("is5") else "is-effnetlite0"
    return {(metric, f"{prefix}_mean"): mean, (metric, f"{prefix}_std"): std}


def made(results: Path) -> list[Table]:
    return tables(summarise(load_results(results), load_runs(results)))


@pytest.fixture
def canned(make_run: MakeRun) -> None:
    """Two seeds of γ = 750, best at another snapshot than the last, and half a run of γ = 1."""
    earlier = {30.0: score(8.10, 0.03), 60.0: score(8.70, 0.06)}
    make_run("cifar10", score(8.40, 0.07), earlier=earlier, seed=0, **PLACE)
    make_run("cifar10", score(8.50, 0.08), earlier={60.0: score(8.30, 0.09)}, seed=1, **PLACE)
    make_run("cifar10-gamma1", score(9.9, 0.1), status="interrupted", kimg=45.0, **PLACE)


# The best snapshots score 8.70 and 8.50: mean 8.60, standard deviation 0.2 / sqrt(2), and with two
# seeds an interval of tan(0.475 pi) = 12.70620474 times half of their distance, 0.1.
MARKDOWN = """\
## Table 3: cifar10, profile paper, 32x32

The same data set and settings are compared: published is CIFAR-10 at 32x32 after 20,000 kimg; \
ours is cifar10 at 32x32, profile paper. Inception score (is50k).

| setting           | method                                |   γ | status                     | seeds |                score paper |  score ours | score diff | verdict |
| ----------------- | ------------------------------------- | --: | -------------------------- | ----: | -------------------------: | ----------: | ---------: | ------- |
| unsupervised      | ALI (Dumoulin et al., 2016)           |   — | —                          |     — |                5.34 ± 0.05 |           — |          — | —       |
| unsupervised      | GMAN (Durugkar et al., 2016)          |   — | —                          |     — | (6.00 ± 0.19) <sup>1</sup> |           — |          — | —       |
| unsupervised      | Improved GAN (Salimans et al., 2016)  |   — | —                          |     — |                6.86 ± 0.06 |           — |          — | —       |
| unsupervised      | CEGAN-Ent-VI (Dai et al., 2017)       |   — | —                          |     — | (7.07 ± 0.07) <sup>1</sup> |           — |          — | —       |
| unsupervised      | LR-AGN (Yang et al., 2017)            |   — | —                          |     — | (7.17 ± 0.17) <sup>1</sup> |           — |          — | —       |
| unsupervised      | DFM (Warde-Farley &amp; Bengio, 2017) |   — | —                          |     — |                7.72 ± 0.13 |           — |          — | —       |
| unsupervised      | WGAN-GP (Gulrajani et al., 2017)      |   — | —                          |     — |                7.86 ± 0.07 |           — |          — | —       |
| unsupervised      | Splitting GAN (Grinblat et al., 2017) |   — | —                          |     — | 7.90 (± 0.09) <sup>2</sup> |           — |          — | —       |
| unsupervised      | Progressive GAN, best run             | 750 | done                       |     2 |            **8.80 ± 0.05** | 8.70 ± 0.06 |      -0.10 | —       |
| unsupervised      | Progressive GAN, mean of runs         | 750 | done                       |     2 | (8.56 ± 0.06) <sup>1</sup> | 8.60 ± 1.27 |          — | —       |
| unsupervised      | Progressive GAN, best run             |   1 | unfinished (45 of 90 kimg) |     — |                          — |           — |          — | —       |
| unsupervised      | Progressive GAN, mean of runs         |   1 | unfinished (45 of 90 kimg) |     — |                          — |           — |          — | —       |
| label conditioned | DCGAN (Radford et al., 2015)          |   — | —                          |     — |                       6.58 |           — |          — | —       |
| label conditioned | Improved GAN (Salimans et al., 2016)  |   — | —                          |     — |                8.09 ± 0.07 |           — |          — | —       |
| label conditioned | AC-GAN (Odena et al., 2017)           |   — | —                          |     — |                8.25 ± 0.07 |           — |          — | —       |
| label conditioned | SGAN (Huang et al., 2016)             |   — | —                          |     — |                8.59 ± 0.12 |           — |          — | —       |
| label conditioned | WGAN-GP (Gulrajani et al., 2017)      |   — | —                          |     — | (8.67 ± 0.14) <sup>1</sup> |           — |          — | —       |
| label conditioned | Splitting GAN (Grinblat et al., 2017) |   — | —                          |     — |            **8.87 ± 0.09** |           — |          — | —       |

- A run counts at the best of its snapshots, as in the paper: a maximum over more snapshots is \
higher.
- The ± of our best run is the standard deviation over ten splits, that of published scores is as \
published.
- The ± of our mean of runs is half of the 95 % interval of the mean over seeds (Student's t); one \
seed has none.
- Bold is the highest verified score of a setting.
- Snapshots of ours with a score: 2 to 3 per run.
- Published values: second source; paper text; paper abstract and a lecture.
- Numbers in parentheses are recalled from memory and verified in no source: they enter no \
difference and no verdict.
- <sup>1</sup> recalled, not verified
- <sup>2</sup> the ± is recalled, not verified
"""  # noqa: E501

CSV = """\
dataset,profile,resolution,row,key,published,published_std,recalled,recalled_std,source,ours_mean,ours_std,ours_low,ours_high,n_seeds,difference,metric,status,kimg,verdict
cifar10,paper,32,"unsupervised: ALI (Dumoulin et al., 2016)",is,5.34,0.05,,,second source,,,,,,,,,,
cifar10,paper,32,"unsupervised: GMAN (Durugkar et al., 2016)",is,,,6,0.19,recalled,,,,,,,,,,
cifar10,paper,32,"unsupervised: Improved GAN (Salimans et al., 2016)",is,6.86,0.06,,,second source,,,,,,,,,,
cifar10,paper,32,"unsupervised: CEGAN-Ent-VI (Dai et al., 2017)",is,,,7.07,0.07,recalled,,,,,,,,,,
cifar10,paper,32,"unsupervised: LR-AGN (Yang et al., 2017)",is,,,7.17,0.17,recalled,,,,,,,,,,
cifar10,paper,32,"unsupervised: DFM (Warde-Farley & Bengio, 2017)",is,7.72,0.13,,,second source,,,,,,,,,,
cifar10,paper,32,"unsupervised: WGAN-GP (Gulrajani et al., 2017)",is,7.86,0.07,,,second source,,,,,,,,,,
cifar10,paper,32,"unsupervised: Splitting GAN (Grinblat et al., 2017)",is,7.9,,,0.09,paper text,,,,,,,,,,
cifar10,paper,32,"label conditioned: DCGAN (Radford et al., 2015)",is,6.58,,,,second source,,,,,,,,,,
cifar10,paper,32,"label conditioned: Improved GAN (Salimans et al., 2016)",is,8.09,0.07,,,second source,,,,,,,,,,
cifar10,paper,32,"label conditioned: AC-GAN (Odena et al., 2017)",is,8.25,0.07,,,second source,,,,,,,,,,
cifar10,paper,32,"label conditioned: SGAN (Huang et al., 2016)",is,8.59,0.12,,,second source,,,,,,,,,,
cifar10,paper,32,"label conditioned: WGAN-GP (Gulrajani et al., 2017)",is,,,8.67,0.14,recalled,,,,,,,,,,
cifar10,paper,32,"label conditioned: Splitting GAN (Grinblat et al., 2017)",is,8.87,0.09,,,second source,,,,,,,,,,
cifar10,paper,32,cifar10,best run,8.8,0.05,,,paper abstract and a lecture,8.7,0.06,,,2,-0.1,is50k,done,,
cifar10,paper,32,cifar10,mean of runs,,,8.56,0.06,recalled,8.6,0.1414213562,7.329379526,9.870620474,2,,is50k,done,,
cifar10,paper,32,cifar10-gamma1,best run,,,,,,,,,,,,,unfinished (45 of 90 kimg),,
cifar10,paper,32,cifar10-gamma1,mean of runs,,,,,,,,,,,,,unfinished (45 of 90 kimg),,
"""  # noqa: E501


@pytest.mark.usefixtures("canned")
def test_exact_csv(results: Path) -> None:
    assert [table.to_csv() for table in made(results)] == [CSV]


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


@pytest.mark.usefixtures("canned")
def test_recalled_scores_have_no_value_and_are_never_bold(results: Path) -> None:
    (table,) = made(results)
    recalled = [row[5] for row in table.rows if row[5].note == "recalled, not verified"]
    assert [cell.text for cell in recalled] == [
        *("(6.00 ± 0.19)", "(7.07 ± 0.07)", "(7.17 ± 0.17)", "(8.56 ± 0.06)", "(8.67 ± 0.14)"),
    ]
    assert {(cell.value, cell.best) for cell in recalled} == {(None, False)}


def test_another_network_has_a_table_of_its_own(make_run: MakeRun, results: Path) -> None:
    other = score(4.0, 0.1, "is-effnetlite0-5k")
    make_run("cifar10", score(8.4, 0.07, "is5k") | other, **PLACE)
    official, effnet = made(results)
    assert (official.stem, effnet.stem) == (
        "table3-cifar10-paper-32",
        "table3-is-effnetlite0-cifar10-paper-32",
    )
    assert official.tidy["metric"].dropna().unique().tolist() == ["is5k"]
    assert [row[6].text for row in effnet.rows] == ["4.00 ± 0.10", "4.00", "—", "—"]
    assert {row[5].text for row in effnet.rows} == {"—"}
    assert {row[7].text for row in effnet.rows} == {"—"}


def test_without_a_score_the_publications_stand_alone(make_run: MakeRun, results: Path) -> None:
    make_run("cifar10", **PLACE)
    (table,) = made(results)
    (own,) = {row[3].text for row in table.rows if row[2].text == "750"}
    assert own == "done, not evaluated"
    assert table.caption.endswith("Inception score (not measured).")


def test_other_versions_do_not_count_at_any_snapshot(make_run: MakeRun, results: Path) -> None:
    make_run("cifar10", score(9.9, 0.1), seed=0, **PLACE)
    make_run("cifar10", score(8.4, 0.1), seed=1, record={"metric_version": 2}, **PLACE)
    (table,) = made(results)
    assert [row[6].text for row in table.rows if row[2].text == "750"] == ["8.40 ± 0.10", "8.40"]


def test_what_is_left_out_of_the_best_is_told(make_run: MakeRun, results: Path) -> None:
    skipped = {"value": None, "status": "skipped", "error": "no weights"}
    make_run("cifar10", score(0.0, 0.0), run_id="r", record=skipped, **PLACE)
    summary = summarise(load_results(results), load_runs(results))
    assert summary.problems == ["is50k was skipped for run r at 90 kimg: no weights."]
    assert set_aside(summary) == []  # it has no best snapshot
