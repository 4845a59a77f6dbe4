"""Pictures of a report: samples of the rows beside reals, how images grew, and memorisation.

Sheets are made of the sample grids that runs leave behind; the nearest training images and the
walks between latents are there where `pgbench neighbours` wrote them. PNGs of at most 200 kB.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from pgbench.reports.canvas import MOST_BYTES, Labelled, labelled_sheet, save, shown_edge
from pgbench.reports.curves import plain
from pgbench.reports.markdown import file_stem
from pgbench.reports.memorisation import Neighbours, labelled_neighbours, read_neighbours
from pgbench.reports.pictures import Picture
from pgbench.reports.sample_grids import Grid, grid_paths, read_grid, read_png
from pgbench.reports.snapshots import SETTING
from pgbench.reports.training_stats import run_folders
from pgbench.results import RunFolder

T = TypeVar("T")
SAMPLES = 4  # a panel shows 4x4 of the 6x6 images of a grid
PANELS_WIDE = 5
STEPS = 8  # shown of a run's growing
MOST_WIDE = 1000  # pixels of a run's own grid
_ROUNDED_KIMG = 0.051  # names of grids round their clock to tenths


@dataclass(frozen=True)
class _Shown:
    """A run whose samples stand for its row."""

    row: str
    run_id: str
    resolution: int
    grids: list[tuple[float, Path]]

    def grid(self, number: int) -> Grid:
        return read_grid(self.grids[number][1], self.resolution)


@dataclass(frozen=True)
class _Setting:
    """What the runs of a sheet share."""

    artefact: str
    dataset: str
    profile: str
    resolution: int

    def stem(self, kind: str) -> str:
        return file_stem(self.artefact, kind, self.dataset, self.profile, self.resolution)

    def __str__(self) -> str:
        size = f"{self.resolution}x{self.resolution}"
        return plain(f"{self.artefact}, {self.dataset} at {size}, profile {self.profile}")


def write_sheets(
    path: Path, folder: Path, *, runs: pd.DataFrame, stats: pd.DataFrame
) -> tuple[list[Picture], list[str]]:
    """Write the pictures of all runs under `path` into `folder`, and what could not be shown.

    Pictures of single runs that are newer than what they were made of are not made again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folders = run_folders(path)
    pictures: list[Picture] = []
    problems: list[str] = []
    known = runs[runs["run_id"].isin(list(folders))]
    for name, here in known.groupby(SETTING):
        setting = _Setting(str(name[0]), str(name[1]), str(name[2]), int(str(name[3])))
        shown = _representatives(here, folders)
        pictures += _samples(folder, shown, setting, problems)
        pictures += _growing(folder, shown, setting, stats=stats, problems=problems)
    for _, run in known.iterrows():
        pictures += _of_run(folder, run, folders[run["run_id"]], problems)
    return pictures, problems


def _tried(problems: list[str], make: Callable[[], T]) -> Iterator[T]:
    """What `make` returns, or nothing and a sentence in `problems`."""
    try:
        yield make()
    except (ValueError, OSError) as error:
        problems.append(f"A picture was set aside: {' '.join(str(error).split())}.")


def _representatives(runs: pd.DataFrame, folders: dict[str, RunFolder]) -> list[_Shown]:
    """For each row the finished run of the lowest seed or else the furthest, that has a grid."""
    order = runs.assign(unfinished=runs["status"] != "done").sort_values(
        ["row", "unfinished", "kimg", "seed", "run_id"], ascending=[True, True, False, True, True]
    )
    shown: dict[str, _Shown] = {}
    for row, run_id, resolution in zip(
        order["row"], order["run_id"], order["resolution"], strict=True
    ):
        if row not in shown and (grids := grid_paths(folders[run_id].samples)):
            shown[row] = _Shown(str(row), str(run_id), int(resolution), grids)
    return list(shown.values())


def _samples(
    folder: Path, shown: list[_Shown], setting: _Setting, problems: list[str]
) -> Iterator[Picture]:
    """The last samples of every row, of the same seeds, and reals."""
    grids = {run.row: grid for run in shown for grid in _tried(problems, partial(run.grid, -1))}
    if not grids:
        return
    places = [(row, column) for row in range(SAMPLES) for column in range(SAMPLES)]
    panels = [
        Labelled(f"row {row}", [grid.fake(*place) for place in places])
        for row, grid in grids.items()
    ]
    with_reals = next((grid for grid in grids.values() if grid.has_reals), None)
    if with_reals is not None:
        panels.append(Labelled("reals", [with_reals.real(*place) for place in places]))
    edge = shown_edge(setting.resolution, wanted=48)
    drawn = labelled_sheet(panels, across=SAMPLES, panels_across=PANELS_WIDE, edge=edge)
    path = save(drawn, folder / f"{setting.stem('samples')}.png")
    rows = ", ".join(grids)
    yield Picture(
        stem=path.stem,
        alt=f"{len(places)} samples of each of the rows {rows}"
        + (", and as many real images" if with_reals else "")
        + f" ({setting})",
        caption=f"Samples of G_ema at the end of each row's run, of the same seeds. {setting}.",
        path=path,
        artefact=setting.artefact,
    )


def _growing(
    folder: Path,
    shown: list[_Shown],
    setting: _Setting,
    *,
    stats: pd.DataFrame,
    problems: list[str],
) -> Iterator[Picture]:
    """The image of one seed in every row as training went on."""
    panels: list[Labelled] = []
    for run in (run for run in shown if len(run.grids) > 1):
        ticks = stats[stats["run_id"] == run.run_id]
        line = [
            Labelled(_clock(run.row, ticks, run.grids[number][0]), [grid.fake(0, 0)])
            for number in _evenly(len(run.grids), STEPS)
            for grid in _tried(problems, partial(run.grid, number))
        ]
        panels += line + [Labelled("", [])] * (STEPS - len(line))
    if not panels:
        return
    edge = shown_edge(setting.resolution, wanted=112)
    drawn = labelled_sheet(panels, across=1, panels_across=STEPS, edge=edge)
    path = save(drawn, folder / f"{setting.stem('growing')}.png")
    yield Picture(
        stem=path.stem,
        alt=f"The image of one latent in the course of training, a line for every row ({setting})",
        caption=f"The image of seed 0 in the course of training, made by G_ema. {setting}.",
        path=path,
        artefact=setting.artefact,
    )


def _evenly(count: int, wanted: int) -> list[int]:
    """At most `wanted` of the numbers below `count`, the first and the last among them."""
    if count <= wanted:
        return list(range(count))
    return [round(step * (count - 1) / (wanted - 1)) for step in range(wanted)]


def _clock(row: str, ticks: pd.DataFrame, kimg: float) -> str:
    """Row, resolution where it is known, and kimg."""
    here = ticks[(ticks["kimg"] - kimg).abs() < _ROUNDED_KIMG] if kimg else ticks.head(1)
    known = here["resolution"].dropna()
    made = f"{known.iloc[0]:.0f}x{known.iloc[0]:.0f}, " if len(known) else ""
    return f"{row}: {made}{kimg:g} kimg"


def _of_run(
    folder: Path, run: "pd.Series[Any]", run_folder: RunFolder, problems: list[str]
) -> Iterator[Picture]:
    """The last grid of a run, its walks and its neighbours, as far as they are there."""
    run_id, where = str(run["run_id"]), plain(f"{run['artefact']} row {run['row']}")
    picture = partial(Picture, artefact=str(run["artefact"]), run_id=run_id)
    for kimg, source in grid_paths(run_folder.samples)[-1:]:
        caption = f"Samples of G_ema of the seeds 0 to 35 at {kimg:g} kimg, left, and reals."
        stem = file_stem(run_id, "samples")
        for path in _tried(problems, partial(_small, source, folder / f"{stem}.png")):
            yield picture(stem, f"Samples of {where} at {kimg:g} kimg beside reals", caption, path)
    if (source := run_folder.path / "walk.png").is_file():
        stem = file_stem(run_id, "walk")
        caption = "Walks between two latents, a line each, by spherical interpolation; G_ema."
        for path in _tried(problems, partial(_small, source, folder / f"{stem}.png")):
            yield picture(stem, f"Walks between latents of {where}", caption, path)
    if (source := run_folder.path / "neighbours.json").is_file():
        stem = file_stem(run_id, "neighbours")
        alt = f"Samples of {where}, each beside the training images nearest to it"
        for told in _tried(problems, partial(read_neighbours, source)):
            make = partial(_with_labels, source.with_suffix(".png"), folder / f"{stem}.png", told)
            for path in _tried(problems, make):
                yield picture(stem, alt, told.in_words(), path)


def _with_labels(source: Path, target: Path, told: Neighbours) -> Path:
    if _is_fresh(target, source):
        return target
    return save(labelled_neighbours(read_png(source), told), target)


def _small(source: Path, target: Path) -> Path:
    """A PNG to show: `source` where it is small enough, else `target`, made of it."""
    if source.stat().st_size <= MOST_BYTES:
        return source
    if _is_fresh(target, source):
        return target
    picture = read_png(source)
    picture.thumbnail((MOST_WIDE, MOST_WIDE))
    return save(picture, target)


def _is_fresh(target: Path, source: Path) -> bool:
    return target.is_file() and target.stat().st_mtime_ns > source.stat().st_mtime_ns
