"""Sheets hold the images of the grids in their order; damaged files cost themselves alone."""

import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pgbench.grids import save_sheets
from pgbench.reports.canvas import (
    GAP,
    LINE,
    MOST_BYTES,
    Labelled,
    labelled_sheet,
    shown_edge,
    small,
    titled,
)
from pgbench.reports.output import report_folder
from pgbench.reports.sample_grids import grid_paths, read_grid, read_png
from pgbench.reports.sheets import Picture, gallery
from pgbench.reports.training_stats import load_stats
from pgbench.results import RunFolder, load_runs

MakeRun = Callable[..., RunFolder]
EDGE = 16
Pixels = NDArray[np.uint8]


def images(seed: int, count: int = 36, edge: int = EDGE) -> Pixels:
    """Flat colours, so that sheets stay small."""
    colours = np.random.default_rng(seed).integers(0, 256, (count, 3, 1, 1), np.uint8)
    return np.broadcast_to(colours, (count, 3, edge, edge)).copy()


def with_grids(run: RunFolder, *clocks: float, fakes: int = 0, reals: Pixels | None = None) -> None:
    run.samples.mkdir(exist_ok=True)
    for number, kimg in enumerate(clocks):
        path = run.samples / f"fakes-reals-{kimg:08.1f}.png"
        save_sheets(path, images(fakes + number), images(99) if reals is None else reals)


def made(results: Path, out: Path) -> tuple[dict[str, Picture], list[str]]:
    runs = load_runs(results)
    with report_folder(out) as output, gallery(output, runs, load_stats(runs)) as drawn:
        found = [picture for run_id in (None, *runs["run_id"]) for picture in drawn.of(run_id)]
        problems = drawn.problems()
    for picture in found:
        assert (out / picture.name).stat().st_size <= MOST_BYTES
        assert pixels(out / picture.name).shape == (picture.height, picture.width, 3)
        assert picture.alt
        assert picture.caption
    assert sorted(path.name for path in (out / "pictures").glob("*")) == sorted(
        Path(picture.name).name for picture in found
    )
    return {picture.stem: picture for picture in found}, problems


def pixels(source: Path | bytes) -> Pixels:
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("edge", [4, 16, 64, 128])
def test_a_grid_gives_the_images_it_was_made_of(tmp_path: Path, edge: int) -> None:
    rng = np.random.default_rng(edge)
    fakes, reals = rng.integers(0, 256, (2, 36, 3, edge, edge), np.uint8)
    save_sheets(tmp_path / "grid.png", fakes, reals)
    grid = read_grid(tmp_path / "grid.png", edge)
    for row, column in ((0, 0), (2, 5), (5, 1)):
        place = 6 * row + column
        assert np.array_equal(np.asarray(grid.fake(row, column)), fakes[place].transpose(1, 2, 0))
        assert np.array_equal(np.asarray(grid.real(row, column)), reals[place].transpose(1, 2, 0))


def test_fewer_reals_are_noticed(tmp_path: Path) -> None:
    save_sheets(tmp_path / "grid.png", images(0), images(1, count=16))
    grid = read_grid(tmp_path / "grid.png", EDGE)
    assert not grid.has_reals
    assert np.asarray(grid.fake(5, 5))[0, 0].tolist() == images(0)[35, :, 0, 0].tolist()


def test_grids_come_by_the_clock(make_run: MakeRun) -> None:
    run = make_run("a")
    with_grids(run, 12.0, 2.5, 0.0)
    (run.samples / "notes.png").write_text("no grid")
    assert [kimg for kimg, _ in grid_paths(run.samples)] == [0.0, 2.5, 12.0]


def test_rows_stand_side_by_side_with_reals(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    with_grids(make_run("a", resolution=EDGE), 2.0)
    with_grids(make_run("b", resolution=EDGE), 2.0, fakes=10)
    shown, problems = made(results, tmp_path / "out")
    assert problems == []
    sheet = pixels(tmp_path / "out" / shown["table1-samples-portraits-desktop-16"].name)
    edge = 48
    assert sheet.shape == (LINE + 4 * edge, 3 * 4 * edge + 2 * GAP, 3)
    panels = [images(0), images(10), images(99)]
    for number, panel in enumerate(panels):
        for row, column in ((0, 0), (3, 2)):
            x = number * (4 * edge + GAP) + column * edge
            y = LINE + row * edge
            assert sheet[y, x].tolist() == panel[6 * row + column, :, 0, 0].tolist()
            assert sheet[y + edge - 1, x + edge - 1].tolist() == sheet[y, x].tolist()
    assert "rows a, b, and as many real" in shown["table1-samples-portraits-desktop-16"].alt


def test_the_finished_run_of_the_lowest_seed_stands_for_its_row(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    for seed, status in ((0, "running"), (1, "done"), (2, "done")):
        with_grids(make_run("a", resolution=EDGE, seed=seed, status=status), 2.0, fakes=seed)
    shown, _ = made(results, tmp_path / "out")
    sheet = pixels(tmp_path / "out" / shown["table1-samples-portraits-desktop-16"].name)
    assert sheet[LINE, 0].tolist() == images(1)[0, :, 0, 0].tolist()


def test_one_latent_grows_through_the_clocks(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    run = make_run("a", resolution=EDGE)
    with_grids(run, *(float(kimg) for kimg in range(15)))
    shown, _ = made(results, tmp_path / "out")
    sheet = pixels(tmp_path / "out" / shown["table1-growing-portraits-desktop-16"].name)
    edge = 112
    assert sheet.shape == (LINE + edge, 8 * (edge + GAP) - GAP, 3)
    found = [sheet[LINE, number * (edge + GAP)].tolist() for number in range(8)]
    assert found == [images(2 * number)[0, :, 0, 0].tolist() for number in range(8)]


def test_without_grids_there_are_no_pictures(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    make_run("a")
    assert made(results, tmp_path / "out") == ({}, [])


def test_the_grid_of_a_run_is_shown_as_it_is_where_it_is_small(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    run = make_run("a", resolution=EDGE)
    with_grids(run, 1.0, 2.0)
    picture = made(results, tmp_path / "out")[0][f"{run.run_id}-samples"]
    source = run.samples / "fakes-reals-000002.0.png"
    assert (tmp_path / "out" / picture.name).read_bytes() == source.read_bytes()
    assert (picture.run_id, picture.artefact) == (run.run_id, "table1")


def test_large_grids_become_small_files_once(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    run = make_run("a", resolution=64)
    fakes = np.random.default_rng(0).integers(0, 256, (36, 3, 64, 64), np.uint8)
    run.samples.mkdir(exist_ok=True)
    save_sheets(run.samples / "fakes-reals-000002.0.png", fakes, fakes)
    (name,) = [one.name for one in made(results, tmp_path / "out")[0].values() if one.run_id]
    assert name.endswith("-samples.jpeg")
    path = tmp_path / "out" / name
    assert pixels(path).shape == (384, 776, 3)
    before = path.stat().st_mtime_ns
    made(results, tmp_path / "out")
    assert path.stat().st_mtime_ns == before
    os.utime(run.samples / "fakes-reals-000002.0.png", ns=(before + 10**9, before + 10**9))
    made(results, tmp_path / "out")
    assert path.stat().st_mtime_ns != before


def test_what_could_not_be_shown_is_told_again(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    for row in ("a", "b"):
        with_grids(make_run(row, resolution=EDGE), 2.0)
    damaged = make_run("b", resolution=EDGE).samples / "fakes-reals-000002.0.png"
    damaged.write_bytes(b"")
    assert made(results, tmp_path / "out") == made(results, tmp_path / "out")
    assert made(results, tmp_path / "out")[1] != []


def png(width: int, height: int) -> bytes:
    """A PNG of this size whose few bytes hold no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is no picture"),
        (b"GIF89a", "is no picture"),
        (png(776, 384)[:60], "is no picture"),
        (png(100_000, 100_000), "it has 100000x100000 pixels"),
        (png(12_000, 12_000), "it has 12000x12000 pixels"),
    ],
)
def test_damaged_grids_cost_their_own_panel_alone(
    make_run: MakeRun, results: Path, tmp_path: Path, content: bytes, why: str
) -> None:
    with_grids(make_run("a", resolution=EDGE), 2.0)
    damaged = make_run("b", resolution=EDGE)
    with_grids(damaged, 2.0)
    (damaged.samples / "fakes-reals-000002.0.png").write_bytes(content)
    shown, problems = made(results, tmp_path / "out")
    assert "rows a, and" in shown["table1-samples-portraits-desktop-16"].alt
    assert len(problems) == 1
    assert problems[0].startswith("A picture was set aside: ")
    with pytest.raises(ValueError, match=why):
        read_png(damaged.samples / "fakes-reals-000002.0.png")


def test_a_grid_of_another_resolution_is_set_aside(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    with_grids(make_run("a", resolution=128), 2.0)
    shown, problems = made(results, tmp_path / "out")
    assert "table1-samples-portraits-desktop-128" not in shown
    assert "no grid of 128x128 images" in problems[0]


FOUND = {
    "schema": 1,
    "kimg": 2.0,
    "level": 8,
    "num_training_images": 100,
    "samples": [
        {"seed": n, "nearest": [{"distance": 9.0 + n}, {"distance": 20.0}]} for n in (0, 2)
    ],
    "reals": [{"image": n, "nearest": [{"distance": 7.0 + n}]} for n in range(3)],
    "reals_held_out": True,
}


def test_neighbours_and_walks_are_shown_where_they_are(
    make_run: MakeRun, results: Path, tmp_path: Path
) -> None:
    run = make_run("a", resolution=EDGE)
    (run.path / "neighbours.json").write_text(json.dumps(FOUND))
    Image.new("RGB", (3 * 64 + 8, 2 * 64), "red").save(run.path / "neighbours.png")
    Image.new("RGB", (512, 256), "blue").save(run.path / "walk.png")
    shown, problems = made(results, tmp_path / "out")
    assert problems == []
    neighbours = shown[f"{run.run_id}-neighbours"]
    assert "median 10.00 for 2 samples, 8.00 for 3 reals that were not" in neighbours.caption
    drawn = pixels(tmp_path / "out" / neighbours.name)
    assert drawn.shape == (2 * 64 + LINE, 3 * 64 + 8, 3)
    assert (drawn[LINE:] == (255, 0, 0)).all()
    assert (drawn[:LINE] == 0).any()  # the labels
    walk = tmp_path / "out" / shown[f"{run.run_id}-walk"].name
    assert walk.read_bytes() == (run.path / "walk.png").read_bytes()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", json.dumps(FOUND | {"reals": []}), json.dumps(FOUND | {"kimg": -1})]
)
def test_damaged_neighbours_are_set_aside(
    make_run: MakeRun, results: Path, tmp_path: Path, text: str
) -> None:
    run = make_run("a", resolution=EDGE)
    (run.path / "neighbours.json").write_text(text)
    shown, problems = made(results, tmp_path / "out")
    assert shown == {}
    assert "neighbours.json is damaged" in problems[0]


def test_what_is_too_large_becomes_a_jpeg_then_smaller() -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8))
    grain = rng.integers(0, 4, (600, 900, 3), np.uint8)
    smooth = np.asarray(coarse.resize((900, 600))) // 2 + grain
    for picture, size in ((smooth, (600, 900, 3)), (grain * 85, (300, 450, 3))):
        content = small(Image.fromarray(picture.astype(np.uint8)))
        assert content.startswith(b"\xff\xd8\xff")
        assert len(content) <= MOST_BYTES
        assert pixels(content).shape == size
    assert small(coarse).startswith(b"\x89PNG")
    assert np.array_equal(pixels(small(coarse)), np.asarray(coarse))


@pytest.mark.parametrize(
    ("resolution", "edge"), [(4, 48), (16, 48), (32, 64), (48, 48), (64, 48), (1024, 48)]
)
def test_images_are_enlarged_by_whole_numbers(resolution: int, edge: int) -> None:
    assert shown_edge(resolution, wanted=48) == edge


@pytest.mark.parametrize("label", ["", "x" * 500, "<b>\x00$\\frac", "\N{SNOWMAN}\u202e"])
def test_labels_stay_in_their_line(label: str) -> None:
    red = Image.new("RGB", (20, 20), "red")
    sheet = labelled_sheet([Labelled(label, [red])], across=1, panels_across=5, edge=20)
    assert sheet.size == (20, 20 + LINE)
    assert (np.asarray(sheet)[LINE:] == (255, 0, 0)).all()
    assert titled(red, [(0, label), (10, label)]).size == (20, 20 + LINE)
