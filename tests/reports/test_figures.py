"""Figures hold what the records say, and become files that are the same each time."""

import io
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from pgbench.reports import run_curves
from pgbench.reports.build import figures
from pgbench.reports.drawing import drawn as files_of
from pgbench.reports.drawing import drawn_apart, look, to_csv
from pgbench.reports.figures import Curve, Figure, plain
from pgbench.reports.training_stats import load_stats
from pgbench.results import Record, RunFolder, load_results, load_runs

MakeRun = Callable[..., RunFolder]
LEVELS = ("32", "16", "avg")
Points = Sequence[tuple[float, float]]


@pytest.fixture
def measured(make_run: MakeRun) -> MakeRun:
    """A run with SWD at snapshots: `swd` are (kimg, value); level 16 is 10 more, avg 5 more."""

    def make(row: str, swd: Points, *, artefact: str = "table1", **options: object) -> RunFolder:
        run = make_run(row, **{"resolution": 32, "kimg": swd[-1][0], **options})
        if artefact != "table1":
            text = run.config_path.read_text().replace('"table1"', f'"{artefact}"')
            run.config_path.write_text(text)
        fields = run.config()
        data = fields["data"]
        for kimg, value in swd:
            for key, more in zip(LEVELS, (0.0, 10.0, 5.0), strict=True):
                run.append_record(
                    Record.model_validate(
                        {
                            **{
                                name: fields[name]
                                for name in ("artefact", "row", "profile", "seed")
                            },
                            **{"run_id": run.run_id, "dataset": data["name"], "kimg": kimg},  # type: ignore[index, call-overload]
                            **{"dataset_fingerprint": "f0", "resolution": 32, "metric": "swd2k"},
                            **{"key": key, "value": value + more, "stderr": None, "protocol": {}},
                            **{"num_images": 2048, "metric_version": 2, "wall_sec": 1.0},
                            **{"status": "ok", "error": None},
                        }
                    )
                )
        return run

    return make


def ticks(run: RunFolder, *rows: tuple[float, float, float, int]) -> None:
    """Lines of kimg, seconds, lod and resolution."""
    for kimg, seconds, lod, resolution in rows:
        run.append_stats({"kimg": kimg, "train_sec": seconds, "lod": lod, "resolution": resolution})


def drawn(results: Path) -> dict[str, Figure]:
    runs = load_runs(results)
    made = figures(load_results(results), runs, load_stats(runs))
    assert len({figure.stem for figure in made}) == len(made)
    return {figure.stem: figure for figure in made}


def test_figure_4_shows_levels_against_hours(measured: MakeRun, results: Path) -> None:
    run = measured("b", [(4.0, 80.0), (8.0, 40.0)])
    ticks(run, (2, 3600, 1, 16), (4, 7200, 0.75, 32), (6, 14400, 0.25, 32), (8, 21600, 0, 32))
    figure = drawn(results)["figure4b-portraits-desktop-32"]
    assert figure.curves == (
        Curve("SWD 32", (2.0, 6.0), (80.0, 40.0)),
        Curve("SWD 16", (2.0, 6.0), (90.0, 50.0)),
    )
    assert (figure.log_x, figure.log_y) == (True, True)
    assert figure.marks == (1.5,)  # a quarter of a fade of 4 kimg was over at 4 kimg
    assert figure.marks_label == "resolution doubles"
    assert "Runs are those of table 1." in figure.caption
    against_kimg = drawn(results)["figure4b-kimg-portraits-desktop-32"]
    assert against_kimg.curves[0].x == (4.0, 8.0)
    assert against_kimg.marks == (3.0,)


def test_runs_of_figure_4_go_before_those_of_table_1(measured: MakeRun, results: Path) -> None:
    for run in (
        measured("a", [(4.0, 80.0)]),
        measured("a", [(4.0, 70.0)], artefact="figure4", seed=1),
    ):
        ticks(run, (4, 3600, 0, 32))
    figure = drawn(results)["figure4a-portraits-desktop-32"]
    assert figure.curves[0] == Curve("SWD 32", (1.0,), (70.0,))
    assert "table 1" not in figure.caption


def test_without_statistics_only_kimg_is_an_axis(measured: MakeRun, results: Path) -> None:
    measured("a", [(4.0, 80.0), (8.0, 60.0)])
    made = drawn(results)
    assert "figure4a-portraits-desktop-32" not in made
    assert made["figure4a-kimg-portraits-desktop-32"].curves[0].y == (80.0, 60.0)


@pytest.mark.parametrize(
    ("artefact", "rows"),
    [("figure4", ("fixed", "growing")), ("figure4", ("a", "b")), ("table1", ("a", "b"))],
)
def test_the_race_of_images_shown(
    measured: MakeRun, results: Path, artefact: str, rows: tuple[str, str]
) -> None:
    fixed, growing = (measured(row, [(4.0, 80.0)], artefact=artefact) for row in rows)
    ticks(fixed, (2, 7200, 0, 32), (4, 14400, 0, 32))
    ticks(growing, (2, 1800, 1, 16), (4, 3600, 0, 32))
    figure = drawn(results)["figure4c-portraits-desktop-32"]
    assert figure.curves == (
        Curve("without growing", (0.0, 2.0, 4.0), (0.0, 2.0, 4.0)),
        Curve("with growing", (0.0, 0.5, 1.0), (0.0, 2.0, 4.0)),
    )
    assert "Growing reached 4 kimg in 1 hours, 4.00 times as fast." in figure.caption
    assert (figure.log_x, figure.log_y) == (False, False)


def test_the_race_of_figure_4_goes_before_that_of_table_1(measured: MakeRun, results: Path) -> None:
    for seed, (artefact, seconds) in enumerate([("figure4", 3600), ("table1", 7200)]):
        for row in ("a", "b"):
            ticks(measured(row, [(4.0, 80.0)], artefact=artefact, seed=seed), (4, seconds, 0, 32))
    figure = drawn(results)["figure4c-portraits-desktop-32"]
    assert [curve.x for curve in figure.curves] == [(0.0, 1.0)] * 2
    assert figure.caption.startswith("Rows a and b of Figure 4, one run each.")


def test_the_figures_of_two_data_sets_have_names_of_their_own(
    measured: MakeRun, results: Path
) -> None:
    for dataset in ("portraits", "scenes"):
        for row in ("a", "b"):
            ticks(measured(row, [(4.0, 80.0)], dataset=dataset), (4, 3600, 0, 32))
    made = drawn(results)
    assert len({figure.title for figure in made.values()}) == len(made)


def test_seeds_are_a_mean_with_a_band(measured: MakeRun, results: Path) -> None:
    for seed, values in enumerate([(80.0, 40.0), (70.0, 50.0), (60.0, 30.0)]):
        measured("g", [(4.0, values[0]), (8.0, values[1])], seed=seed)
    figure = drawn(results)["table1-swd-portraits-desktop-32"]
    assert figure.curves == (
        Curve("row g", (4.0, 8.0), (75.0, 45.0), low=(65.0, 35.0), high=(85.0, 55.0)),
    )
    assert figure.log_y
    assert figure.y_label == "SWD × 1000, average over levels"


def test_modes_are_followed_at_the_clocks_of_fewer_images(measured: MakeRun, results: Path) -> None:
    for row in ("K/4 norm", "K/4 wgan-gp"):
        run = measured(row, [(4.0, 1.0), (8.0, 2.0)], artefact="table4")
        (first, *_), _ = run.records()
        run.metrics_path.unlink()
        for metric, kimg, modes in (
            ("modes1k", 4.0, 9),
            ("modes1k", 8.0, 11),
            ("modes25k", 8.0, 70),
        ):
            found = {"metric": metric, "key": "modes", "kimg": kimg, "value": modes}
            run.append_record(first.model_copy(update=found))
    figure = drawn(results)["table4-modes-portraits-desktop-32"]
    assert [curve.name for curve in figure.curves] == ["row K/4 wgan-gp", "row K/4 norm"]
    assert [(curve.x, curve.y) for curve in figure.curves] == [((4.0, 8.0), (9.0, 11.0))] * 2


def test_of_seeds_of_different_lengths_the_shared_clocks_count(
    measured: MakeRun, results: Path
) -> None:
    measured("g", [(4.0, 80.0), (8.0, 40.0)])
    measured("g", [(4.0, 60.0)], seed=1)
    (curve,) = drawn(results)["table1-swd-portraits-desktop-32"].curves
    assert curve == Curve("row g", (4.0,), (75.0,), low=(65.0,), high=(85.0,))


def test_unfinished_runs_are_dashed_and_never_averaged_in(measured: MakeRun, results: Path) -> None:
    measured("g", [(4.0, 80.0), (8.0, 40.0)])
    measured("g", [(4.0, 10.0)], seed=1, status="running")
    measured("g", [(4.0, 20.0)], seed=2, status="failed")
    curves = drawn(results)["table1-swd-portraits-desktop-32"].curves
    assert [(curve.name, curve.y, curve.dashed) for curve in curves] == [
        ("row g", (85.0, 45.0), False),
        ("row g, seed 1 unfinished", (15.0,), True),
        ("row g, seed 2 failed", (25.0,), True),
    ]


def test_other_configurations_are_not_averaged_in(measured: MakeRun, results: Path) -> None:
    measured("g", [(4.0, 80.0)], seed=0)
    measured("g", [(4.0, 60.0)], seed=1)
    measured("g", [(4.0, 10.0)], seed=2, lr=0.5)
    (curve,) = drawn(results)["table1-swd-portraits-desktop-32"].curves
    assert curve.y == (75.0,)


def test_curves_of_one_run(make_run: MakeRun, results: Path) -> None:
    run = make_run("g")
    for kimg, norm in ((1.0, 2.0), (2.0, 4.0)):
        run.append_stats({"kimg": kimg, "D_loss": -kimg, "G_loss": kimg, "D_grad_norm": norm})
    made = {
        figure.stem: figure for figure in run_curves.figures(load_stats(load_runs(results)), "r")
    }
    losses = made["loss"]
    assert losses.curves == (
        Curve("D", (1.0, 2.0), (-1.0, -2.0)),
        Curve("G", (1.0, 2.0), (1.0, 2.0)),
    )
    assert not losses.log_y
    assert made["gradients"].log_y
    assert "penalty" not in made


def test_cost_by_resolution(make_run: MakeRun, results: Path) -> None:
    for seed, pace in ((0, 1.0), (1, 3.0)):
        run = make_run("g", seed=seed, resolution=8)
        ticks(run, (2, 4 * pace, 1, 4), (4, 8 * pace, 1, 4), (6, 20 * pace, 0, 8))
    ticks(make_run("a", resolution=8), (2, 10, 0, 8))
    figure = drawn(results)["table1-cost-portraits-desktop-8"]
    assert figure.curves == (
        Curve("row a", (8.0,), (5.0,)),
        Curve("row g", (4.0, 8.0), (4.0, 12.0), low=(2.0, 6.0), high=(6.0, 18.0)),
    )
    assert (figure.log_x, figure.log_y) == (True, True)


def test_no_runs_make_no_figures(results: Path) -> None:
    assert drawn(results) == {}


FIGURE = Figure(
    stem="one",
    title="SWD",
    caption="",
    x_label="kimg",
    y_label="SWD",
    curves=(
        Curve("row a", (1.0, 10.0, 100.0), (3.0, 2.0, 1.5), (2.0, 1.0, 1.0), (4.0, 3.0, 2.0)),
        Curve("alone", (5.0,), (2.5,)),
    ),
    log_x=True,
    log_y=True,
    marks=(20.0,),
    marks_label="resolution doubles",
)


def test_the_csv_holds_every_point() -> None:
    assert to_csv(FIGURE).splitlines() == [
        "curve,x,y,low,high",
        "row a,1,3,2,4",
        "row a,10,2,1,3",
        "row a,100,1.5,1,2",
        "alone,5,2.5,,",
        "resolution doubles,20,,,",
    ]


def test_files_are_the_same_each_time() -> None:
    files = files_of(FIGURE)
    assert list(files) == [".svg", ".png", ".csv"]
    assert files == files_of(FIGURE)
    with Image.open(io.BytesIO(files[".png"])) as picture:
        assert picture.size == (1400, 780)


def test_another_process_draws_the_same() -> None:
    odd = Figure("odd", "\N{SNOWMAN}", "", "x", "y", (Curve("c", (1.0, 2.0), (1.0, float("nan"))),))
    with drawn_apart() as draw:
        assert draw([FIGURE, odd]) == [files_of(FIGURE), files_of(odd)]


def test_a_process_that_has_nothing_to_draw_ends_in_silence(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with drawn_apart():
        pass
    assert capfd.readouterr() == ("", "")


def texts(figure: Figure) -> list[str]:
    svg = ET.fromstring(files_of(figure)[".svg"].decode())
    found = svg.iter("{http://www.w3.org/2000/svg}text")
    return ["".join(text.itertext()) for text in found]


def test_text_stays_text() -> None:
    found = texts(FIGURE)
    for text in ("SWD", "kimg", "row a", "alone", "resolution doubles", "10", "100"):
        assert text in found


@pytest.mark.parametrize(
    "name",
    ["$\\frac{1$", "_hidden", "<script>alert(1)</script>", "a & b", "]]>", "\u30d0\u30e9", "{}%s"],
)
def test_hostile_names_stay_text(name: str) -> None:
    curves = (Curve(name, (1.0, 2.0), (1.0, 2.0)),)
    hostile = Figure("x", name, name, name, name, curves, marks=(1.5,), marks_label=name)
    assert texts(hostile).count(name) == 5  # title, both axes, the curve and the marks
    assert b"<script" not in files_of(hostile)[".svg"]


def test_control_characters_and_length_are_taken_out_of_names(
    measured: MakeRun, results: Path
) -> None:
    measured("g\x00\x1b[31m\u202e" + "x" * 300, [(4.0, 80.0)], run_id="hostile")
    (figure,) = drawn(results).values()
    (curve,) = figure.curves
    assert curve.name.startswith("row g [31m xxx")
    assert len(curve.name) == 80
    assert plain("a\n\tb\ud800") == "a b"
    assert curve.name[:31] in " ".join(texts(figure))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ((1.0,), (1.0,)),
        ((0.0, 1.0), (1.0, -1.0)),
        ((3.0, 3.0), (2.0, 2.0)),
        ((1e-9, 1e9), (1, 1e12)),
    ],
)
def test_any_range_can_be_drawn(x: tuple[float, ...], y: tuple[float, ...]) -> None:
    odd = Figure("odd", "t", "c", "x", "y", (Curve("one", x, y),), log_x=True, log_y=True)
    assert all(files_of(odd).values())


def test_many_curves_are_told_apart() -> None:
    looks = [look(number, unfinished=False) for number in range(28)]
    assert len({(one.colour, str(one.dashes)) for one in looks}) == 28
    assert len({(str(one.dashes), one.marker) for one in looks[:10]}) == 10  # without colour
