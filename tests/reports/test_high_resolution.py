"""CelebA-HQ, LSUN, LSGAN and FID: canned runs in, exact CSV, Markdown and LaTeX out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pgbench.reports import celebahq, fid, lsgan, lsun
from pgbench.reports.latex import to_latex
from pgbench.reports.markdown import to_markdown
from pgbench.reports.summary import Summary, summarise
from pgbench.reports.tables import Table
from pgbench.results import RunFolder, load_results, load_runs

MakeRun = Callable[..., RunFolder]
HOSTILE = "../x|`<img src=x>`\n# [a](b) \\input{/etc/passwd} $&_^~%"
CELEBAHQ = {
    **{"artefact": "celebahq", "dataset": "celeba-hq", "profile": "paper", "resolution": 1024}
}
LEVELS = ("1024", "512", "256", "128", "64", "32", "16", "avg")


def summary_of(results: Path) -> Summary:
    return summarise(load_results(results), load_runs(results))


def swd(lowest: float) -> dict[tuple[str, str], float]:
    return {("swd16k", key): lowest + number for number, key in enumerate(LEVELS)}


def category(name: str, profile: str = "paper") -> dict[str, object]:
    place = {"dataset": f"lsun-{name}", "profile": profile, "resolution": 256}
    return {"artefact": "lsun"} | place


def body(table: Table) -> list[str]:
    lines = to_latex(table).splitlines()
    return lines[lines.index("\\midrule") + 1 : lines.index("\\bottomrule")]


CELEBAHQ_MARKDOWN = """\
## CelebA-HQ: celeba-hq, profile paper, 1024x1024

The same data set and settings are compared: published is CelebA-HQ at 1024x1024 after 19,000 kimg; \
ours is celeba-hq at 1024x1024, profile paper.

| value    | metric    | status | kimg | seeds | paper |   ours |  diff | verdict |
| -------- | --------- | ------ | ---: | ----: | ----: | -----: | ----: | ------- |
| SWD 1024 | swd16k    | done   |   90 |     1 |  7.48 |   2.00 | -5.48 | —       |
| SWD 512  | swd16k    | done   |   90 |     1 |  7.24 |   3.00 | -4.24 | —       |
| SWD 256  | swd16k    | done   |   90 |     1 |  6.08 |   4.00 | -2.08 | —       |
| SWD 128  | swd16k    | done   |   90 |     1 |  3.51 |   5.00 | +1.49 | —       |
| SWD 64   | swd16k    | done   |   90 |     1 |  3.55 |   6.00 | +2.45 | —       |
| SWD 32   | swd16k    | done   |   90 |     1 |  3.02 |   7.00 | +3.98 | —       |
| SWD 16   | swd16k    | done   |   90 |     1 |  7.22 |   8.00 | +0.78 | —       |
| SWD avg  | swd16k    | done   |   90 |     1 |  5.44 |   9.00 | +3.56 | —       |
| FID      | fid10k    | done   |   90 |     1 |  7.30 |   8.10 | +0.80 | —       |
| MS-SSIM  | msssim10k | done   |   90 |     1 |     — | 0.2500 |     — | —       |

- SWD is times 1000, as in the paper. MS-SSIM means something only next to the real images' own \
value.
- ± of ours is half of the 95 % interval of the mean over seeds (Student's t); one seed has none.
- Published values: paper figure caption, two copies.
- The paper's is fid50k, ours fid10k: the fewer the images, the larger the value.
"""  # noqa: E501
SOURCE = '"paper figure caption, two copies"'
CELEBAHQ_CSV = f"""\
dataset,profile,resolution,row,key,published,published_std,recalled,recalled_std,source,ours_mean,ours_std,ours_low,ours_high,n_seeds,difference,metric,status,kimg,verdict
celeba-hq,paper,1024,baseline,1024,7.48,,,,{SOURCE},2,,,,1,-5.48,swd16k,done,90,
celeba-hq,paper,1024,baseline,512,7.24,,,,{SOURCE},3,,,,1,-4.24,swd16k,done,90,
celeba-hq,paper,1024,baseline,256,6.08,,,,{SOURCE},4,,,,1,-2.08,swd16k,done,90,
celeba-hq,paper,1024,baseline,128,3.51,,,,{SOURCE},5,,,,1,1.49,swd16k,done,90,
celeba-hq,paper,1024,baseline,64,3.55,,,,{SOURCE},6,,,,1,2.45,swd16k,done,90,
celeba-hq,paper,1024,baseline,32,3.02,,,,{SOURCE},7,,,,1,3.98,swd16k,done,90,
celeba-hq,paper,1024,baseline,16,7.22,,,,{SOURCE},8,,,,1,0.78,swd16k,done,90,
celeba-hq,paper,1024,baseline,avg,5.44,,,,{SOURCE},9,,,,1,3.56,swd16k,done,90,
celeba-hq,paper,1024,baseline,fid,7.3,,,,{SOURCE},8.1,,,,1,0.8,fid10k,done,90,
celeba-hq,paper,1024,baseline,msssim,,,,,,0.25,,,,1,,msssim10k,done,90,
"""


def test_celebahq(make_run: MakeRun, results: Path, latex_rows: Callable[[str], list[str]]) -> None:
    others = {("fid10k", "fid"): 8.1, ("msssim10k", "msssim"): 0.25}
    make_run("baseline", swd(2.0) | others, **CELEBAHQ)
    (table,) = celebahq.tables(summary_of(results))
    assert table.to_csv() == CELEBAHQ_CSV
    assert to_markdown(table) == CELEBAHQ_MARKDOWN
    assert body(table) == latex_rows(CELEBAHQ_MARKDOWN)


def test_celebahq_before_it_is_evaluated(make_run: MakeRun, results: Path) -> None:
    make_run("baseline", status="running", kimg=45.0, **CELEBAHQ)
    (table,) = celebahq.tables(summary_of(results))
    assert [row[0].text for row in table.rows[-2:]] == ["FID", "MS-SSIM"]
    assert {(row[2].text, row[6].text) for row in table.rows} == {
        ("unfinished (45 of 90 kimg)", "—")
    }
    assert {row[6].note for row in table.rows} == {"unfinished (45 of 90 kimg)"}


FID_MARKDOWN = """\
## FID: profile paper

Published FIDs of Progressive GANs beside ours of the same data set and resolution; ours are of \
the profile paper.

| data set            | row            | resolution | metric             | status | kimg | seeds | FID paper | FID ours | FID diff | verdict |
| ------------------- | -------------- | ---------: | ------------------ | ------ | ---: | ----: | --------: | -------: | -------: | ------- |
| celeba-hq           | baseline       |  1024x1024 | fid50k             | done   |   90 |     1 |      7.30 |     8.00 |    +0.70 | —       |
| lsun-bedroom        | bedroom        |    256x256 | fid                | failed |    — |     — |      8.34 |        — |        — | —       |
| lsun-church_outdoor | church_outdoor |    256x256 | fid50k             | done   |   90 |     1 |      6.42 |     6.40 |    -0.02 | —       |
| lsun-church_outdoor | church_outdoor |    256x256 | fd-effnetlite0-50k | done   |   90 |     1 |         — |     3.00 |        — | —       |
| lsun-dog            | dog            |    256x256 | fid50k             | done   |   90 |     1 |         — |    12.00 |        — | —       |

- FID compares 50,000 images in the publications; the fewer the images, the larger the FID.
- ± of ours is half of the 95 % interval of the mean over seeds (Student's t); one seed has none.
- fd-effnetlite0 is the same distance between features of another network: no published number \
stands beside it.
- Published values: paper figure caption, two copies; COCO-GAN table in a lecture; public \
leaderboard.
- Others measured of a Progressive GAN on celeba-hq: 7.48 (COCO-GAN table in a lecture), 7.79 \
(StyleGAN ablation row A in a lecture).
"""  # noqa: E501
FID_CSV = f"""\
artefact,dataset,profile,resolution,row,key,published,published_std,recalled,recalled_std,source,ours_mean,ours_std,ours_low,ours_high,n_seeds,difference,metric,status,kimg,verdict
celebahq,celeba-hq,paper,1024,baseline,fid,7.3,,,,{SOURCE},8,,,,1,0.7,fid50k,done,90,
lsun,lsun-bedroom,paper,256,bedroom,fid,8.34,,,,COCO-GAN table in a lecture,,,,,,,,failed,,
lsun,lsun-church_outdoor,paper,256,church_outdoor,fid,6.42,,,,public leaderboard,6.4,,,,1,-0.02,fid50k,done,90,
lsun,lsun-church_outdoor,paper,256,church_outdoor,fd-effnetlite0,,,,,,3,,,,1,,fd-effnetlite0-50k,done,90,
lsun,lsun-dog,paper,256,dog,fid,,,,,,12,,,,1,,fid50k,done,90,
"""  # noqa: E501


def test_fid(make_run: MakeRun, results: Path, latex_rows: Callable[[str], list[str]]) -> None:
    make_run("baseline", {("fid50k", "fid"): 8.0, ("fid10k", "fid"): 9.0}, **CELEBAHQ)
    make_run("bedroom", status="failed", **category("bedroom"))
    both = {("fid50k", "fid"): 6.4, ("fd-effnetlite0-50k", "fd-effnetlite0"): 3.0}
    make_run("church_outdoor", both, **category("church_outdoor"))
    make_run("dog", {("fid50k", "fid"): 12.0}, **category("dog"))
    (table,) = fid.tables(summary_of(results))
    assert table.to_csv() == FID_CSV
    assert to_markdown(table) == FID_MARKDOWN
    assert body(table) == latex_rows(FID_MARKDOWN)


def test_fid_of_profiles_never_share_a_column(make_run: MakeRun, results: Path) -> None:
    make_run("dog", {("fid50k", "fid"): 12.0}, **category("dog"))
    make_run("dog", {("fid1k", "fid"): 99.0}, **category("dog", "smoke"))
    made = fid.tables(summary_of(results))
    assert [table.stem for table in made] == ["fid-paper", "fid-smoke"]
    assert [[row[8].text for row in table.rows] for table in made] == [["12.00"], ["99.00"]]


def test_fid_of_another_size_stands_alone(make_run: MakeRun, results: Path) -> None:
    place = category("cat") | {"resolution": 128}
    make_run("cat", {("fid50k", "fid"): 12.0}, **place)
    (table,) = fid.tables(summary_of(results))
    assert [cell.text for cell in table.rows[0][7:10]] == ["—", "12.00", "—"]


LSUN_MARKDOWN = """\
## LSUN: profile paper, 256x256

Measured by us; no published numbers of these metrics stand beside.

| data set     | row     | status | kimg | seeds | swd16k 256 | swd16k avg | msssim10k MS-SSIM | fid50k FID | verdict |
| ------------ | ------- | ------ | ---: | ----: | ---------: | ---------: | ----------------: | ---------: | ------- |
| lsun-bedroom | bedroom | done   |   90 |     1 |   **3.00** |   **4.00** |            0.0600 |       9.00 | —       |
| lsun-dog     | dog     | done   |   90 |     1 |       5.00 |       6.00 |                 — |          — | —       |
| lsun-tower   | tower   | failed |    — |     — |          — |          — |                 — |          — | —       |

- SWD is times 1000. MS-SSIM means something only next to the real images' own value.
- ± of ours is half of the 95 % interval of the mean over seeds (Student's t); one seed has none.
"""  # noqa: E501
LSUN_CSV = """\
dataset,profile,resolution,row,key,published,published_std,recalled,recalled_std,source,ours_mean,ours_std,ours_low,ours_high,n_seeds,difference,metric,status,kimg,verdict
lsun-bedroom,paper,256,bedroom,256,,,,,,3,,,,1,,swd16k,done,90,
lsun-bedroom,paper,256,bedroom,avg,,,,,,4,,,,1,,swd16k,done,90,
lsun-bedroom,paper,256,bedroom,msssim,,,,,,0.06,,,,1,,msssim10k,done,90,
lsun-bedroom,paper,256,bedroom,fid,,,,,,9,,,,1,,fid50k,done,90,
lsun-dog,paper,256,dog,256,,,,,,5,,,,1,,swd16k,done,90,
lsun-dog,paper,256,dog,avg,,,,,,6,,,,1,,swd16k,done,90,
lsun-dog,paper,256,dog,msssim,,,,,,,,,,,,,done,,
lsun-dog,paper,256,dog,fid,,,,,,,,,,,,,done,,
lsun-tower,paper,256,tower,256,,,,,,,,,,,,,failed,,
lsun-tower,paper,256,tower,avg,,,,,,,,,,,,,failed,,
lsun-tower,paper,256,tower,msssim,,,,,,,,,,,,,failed,,
lsun-tower,paper,256,tower,fid,,,,,,,,,,,,,failed,,
"""


def two(first: float) -> dict[tuple[str, str], float]:
    return {("swd16k", "256"): first, ("swd16k", "avg"): first + 1}


def test_lsun(make_run: MakeRun, results: Path, latex_rows: Callable[[str], list[str]]) -> None:
    others = {("fid50k", "fid"): 9.0, ("msssim10k", "msssim"): 0.06}
    make_run("bedroom", two(3.0) | others, **category("bedroom"))
    make_run("dog", two(5.0), **category("dog"))
    make_run("tower", status="failed", **category("tower"))
    (table,) = lsun.tables(summary_of(results))
    assert table.to_csv() == LSUN_CSV
    assert to_markdown(table) == LSUN_MARKDOWN
    assert body(table) == latex_rows(LSUN_MARKDOWN)


def test_a_column_has_one_number_of_images(make_run: MakeRun, results: Path) -> None:
    make_run("bedroom", {("swd16k", "avg"): 3.0}, **category("bedroom"))
    make_run("dog", {("swd2k", "avg"): 5.0}, **category("dog"))
    (table,) = lsun.tables(summary_of(results))
    assert [column.group for column in table.columns[5:-1]] == ["swd16k"]
    assert [row[5].text for row in table.rows] == ["3.00", "—"]


def test_lsgan_has_both_rows_whatever_was_run(make_run: MakeRun, results: Path) -> None:
    make_run("lsgan", {("swd16k", "avg"): 3.0}, **(CELEBAHQ | {"artefact": "lsgan"}))
    (table,) = lsgan.tables(summary_of(results))
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["celeba-hq", "lsgan", "done", "90", "1", "3.00", "—"],
        ["celeba-hq", "wgan-gp", "not run", "—", "—", "—", "—"],
    ]


@pytest.mark.parametrize("module", [celebahq, fid, lsun, lsgan])
def test_hostile_names_stay_text(
    make_run: MakeRun,
    results: Path,
    module: object,
) -> None:
    place = {"dataset": HOSTILE, "profile": HOSTILE, "resolution": 64}
    make_run("baseline", swd(2.0), artefact="celebahq", run_id="one", **place)
    make_run(HOSTILE, swd(2.0), artefact="lsun", run_id="two", **place)
    make_run("lsgan", swd(2.0), artefact="lsgan", run_id="three", **place)
    (table,) = module.tables(summary_of(results))  # type: ignore[attr-defined]
    assert set(table.stem) <= set("abcdefghijklmnopqrstuvwxyz0123456789-._")
    assert "<img" not in to_markdown(table)
    assert "\n# " not in to_markdown(table)
    assert "\\input" not in to_latex(table)
