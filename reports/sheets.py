"""Pictures of a report: samples of the rows beside reals, how images grew, and memorisation.

Sheets are made of the sample grids that runs leave behind; the nearest training images and the
walks between latents are there where `pgbench neighbours` wrote them. No picture has more than
200 kB.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pandas as pd
from PIL import Image
from pydantic import JsonValue

from pgbench.reports.apart import Sheet, sheets
from pgbench.reports.canvas import Labelled, labelled_sheet, shown_edge, small
from pgbench.reports.figures import plain
from pgbench.reports.memorisation import labelled_neighbours, read_neighbours
from pgbench.reports.metric_curves import SETTING, place_of
from pgbench.reports.names import artefact_name, distinct, file_stem, one_line, row_order
from pgbench.reports.output import Made, Output
from pgbench.reports.sample_grids import Grid, grid_paths, read_grid
from pgbench.reports.summary import Place

T = TypeVar("T")
SAMPLES = 4  # a panel shows 4x4 of the 6x6 images of a grid
PANELS_WIDE = 5
STEPS = 8  # shown of a run's growing
WORKERS = 2  # a grid of 1024x1024 images takes 230 MB
_ROUNDED_KIMG = 0.051  # names of grids round their clock to tenths


@dataclass(frozen=True)
class Picture:
    """An image of an artefact or, with `run_id`, of a run; `name` is its file in the report."""

    stem: str
    name: str
    title: str
    alt: str  # what it shows
    caption: str
    width: int
    height: int
    artefact: str = ""
    run_id: str | None = None


class _Drawn(NamedTuple):
    """A PNG or JPEG, and its words."""

    content: bytes
    title: str
    alt: str
    caption: str


Found = tuple[list[Picture], list[str]]  # the picture, if there is one, and what was not shown


@dataclass(frozen=True)
class _Draft:
    """A picture to be drawn, unless the report has one of the same `inputs`.

    `draw` adds what it could not show to a list, and returns None when that is everything.
    """

    stem: str
    inputs: object
    draw: Callable[[list[str]], _Drawn | None]
    artefact: str
    run_id: str | None = None


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
class Gallery:
    """The pictures of a report, each to be had as soon as it is drawn."""

    of_run: Mapping[str | None, Sequence["Future[Found]"]]

    def of(self, run_id: str | None) -> list[Picture]:
        """Those of a run, or of all artefacts."""
        return [picture for found in self.of_run.get(run_id, []) for picture in found.result()[0]]

    def problems(self) -> list[str]:
        """What could not be shown, each once."""
        of_all = (found.result()[1] for of_one in self.of_run.values() for found in of_one)
        return list(dict.fromkeys(problem for problems in of_all for problem in problems))


@contextmanager
def gallery(output: Output, runs: pd.DataFrame, stats: pd.DataFrame) -> Iterator[Gallery]:
    """Begin to draw every picture of `runs` into pictures/ of the report's folder.

    What is made of files that did not change is not made again.
    """
    of_run: dict[str | None, list[Future[Found]]] = {}
    with sheets(WORKERS) as sheet, ThreadPoolExecutor(WORKERS + 1) as pool:  # one draws here
        drafts = list(_drafts(runs, stats, sheet))
        for stem, draft in zip(distinct(draft.stem for draft in drafts), drafts, strict=True):
            of_run.setdefault(draft.run_id, []).append(pool.submit(_kept, output, stem, draft))
        yield Gallery(of_run)


def _kept(output: Output, stem: str, draft: _Draft) -> Found:
    name = f"pictures/{stem}"
    part = output.keep(name, draft.inputs, partial(_made, name, draft.draw))
    told: Any = part.told
    words = {**told["words"], "artefact": draft.artefact, "run_id": draft.run_id}
    return [Picture(stem, file, **words) for file in part.files], told["problems"]


def _made(name: str, draw: Callable[[list[str]], _Drawn | None]) -> Made:
    problems: list[str] = []
    for drawn in _tried(problems, partial(draw, problems)):
        if drawn is not None:
            with Image.open(BytesIO(drawn.content), formats=["PNG", "JPEG"]) as picture:
                size = {"width": picture.width, "height": picture.height}
                file = f"{name}.{str(picture.format).lower()}"
            told = {"title": drawn.title, "alt": drawn.alt, "caption": drawn.caption}
            words: dict[str, JsonValue] = {**told, **size}
            return Made({file: drawn.content}, {"words": words, "problems": [*problems]})
    return Made({}, {"words": {}, "problems": [*problems]})


def _tried(problems: list[str], make: Callable[[], T]) -> Iterator[T]:
    """What `make` returns, or nothing and a sentence in `problems`."""
    try:
        yield make()
    except (ValueError, OSError) as error:
        problems.append(f"A picture was set aside: {one_line(error)}.")


def _drafts(runs: pd.DataFrame, stats: pd.DataFrame, sheet: Sheet) -> Iterator[_Draft]:
    grids = {
        str(run_id): grid_paths(folder / "samples")
        for run_id, folder in zip(runs["run_id"], runs["path"], strict=True)
    }
    for (artefact, *where), here in runs.groupby(SETTING):
        place = place_of((artefact, *where))
        shown = _representatives(here, grids)
        if shown:
            yield _samples(str(artefact), place, shown)
        if any(len(run.grids) > 1 for run in shown):
            yield _growing(str(artefact), place, shown, stats)
    for run_id, artefact, row, folder in runs[["run_id", "artefact", "row", "path"]].itertuples(
        index=False
    ):
        draft = partial(_Draft, artefact=artefact, run_id=run_id)
        said = plain(f"{artefact_name(artefact)}, row {row}")
        yield from _of_run(draft, sheet, grids[run_id], folder, said)


def _stamp(path: Path) -> list[str | int]:
    """What must be equal for a file to hold what it held."""
    found = path.stat()
    return [path.name, found.st_size, found.st_mtime_ns]


def _representatives(
    runs: pd.DataFrame, grids: dict[str, list[tuple[float, Path]]]
) -> list[_Shown]:
    """For each row the finished run of the lowest seed or else the furthest, that has a grid."""
    order = runs.assign(unfinished=runs["status"] != "done").sort_values(
        ["row", "unfinished", "kimg", "seed", "run_id"], ascending=[True, True, False, True, True]
    )
    shown: dict[str, _Shown] = {}
    for row, run_id, size in order[["row", "run_id", "resolution"]].itertuples(index=False):
        if row not in shown and grids[run_id]:
            shown[row] = _Shown(str(row), str(run_id), int(size), grids[run_id])
    return sorted(shown.values(), key=lambda run: row_order(run.row))


def _samples(artefact: str, place: Place, shown: list[_Shown]) -> _Draft:
    """The last samples of every row, of the same seeds, and reals."""
    names = [[run.row, run.run_id, *_stamp(run.grids[-1][1])] for run in shown]
    draw = partial(_draw_samples, shown, place)
    return _Draft(place.stem(f"{artefact}-samples"), [artefact, place, names], draw, artefact)


def _draw_samples(shown: list[_Shown], place: Place, problems: list[str]) -> _Drawn | None:
    cells = [(row, column) for row in range(SAMPLES) for column in range(SAMPLES)]
    panels: list[Labelled] = []
    reals: list[Labelled] = []
    for run in shown:
        for grid in _tried(problems, partial(run.grid, -1)):  # one at a time: they are large
            panels.append(Labelled(f"row {run.row}", [grid.fake(*cell) for cell in cells]))
            if grid.has_reals and not reals:
                reals.append(Labelled("reals", [grid.real(*cell) for cell in cells]))
    if not panels:
        return None
    edge = shown_edge(place.resolution, wanted=48)
    drawn = labelled_sheet([*panels, *reals], across=SAMPLES, panels_across=PANELS_WIDE, edge=edge)
    rows = ", ".join(panel.label.removeprefix("row ") for panel in panels)
    beside = ", and as many real images" if reals else ""
    alt = f"{len(cells)} samples of each of the rows {rows}{beside} ({plain(place)})"
    caption = "Samples of G_ema at the end of each row's run, of the same seeds."
    return _Drawn(small(drawn), f"Samples: {plain(place)}", alt, caption)


def _growing(artefact: str, place: Place, shown: list[_Shown], stats: pd.DataFrame) -> _Draft:
    """The image of one seed in every row as training went on."""
    steps: list[tuple[_Shown, int, str]] = []
    for run in (run for run in shown if len(run.grids) > 1):
        ticks = stats[stats["run_id"] == run.run_id]
        steps += [
            (run, number, _clock(run.row, ticks, run.grids[number][0]))
            for number in _evenly(len(run.grids), STEPS)
        ]
    names = [[run.run_id, label, *_stamp(run.grids[number][1])] for run, number, label in steps]
    draw = partial(_draw_growing, steps, place)
    return _Draft(place.stem(f"{artefact}-growing"), [artefact, place, names], draw, artefact)


def _draw_growing(
    steps: list[tuple[_Shown, int, str]], place: Place, problems: list[str]
) -> _Drawn | None:
    lines: dict[str, list[Labelled]] = {}
    for run, number, label in steps:
        for grid in _tried(problems, partial(run.grid, number)):
            lines.setdefault(run.run_id, []).append(Labelled(label, [grid.fake(0, 0)]))
    if not lines:
        return None
    panels = [
        panel
        for line in lines.values()
        for panel in [*line, *[Labelled("", [])] * (STEPS - len(line))]
    ]
    edge = shown_edge(place.resolution, wanted=112)
    drawn = labelled_sheet(panels, across=1, panels_across=STEPS, edge=edge)
    alt = "The image of one latent in the course of training, a line for every row"
    caption = "The image of seed 0 in the course of training, made by G_ema."
    title = f"One latent while training: {plain(place)}"
    return _Drawn(small(drawn), title, f"{alt} ({plain(place)})", caption)


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
    draft: "partial[_Draft]",
    sheet: Sheet,
    grids: list[tuple[float, Path]],
    folder: Path,
    where: str,
) -> Iterator[_Draft]:
    """The last grid of a run, its walks and its neighbours, as far as they are there."""
    for kimg, source in grids[-1:]:
        alt = f"Samples of {where} at {kimg:g} kimg beside reals"
        caption = f"Samples of G_ema of the seeds 0 to 35 at {kimg:g} kimg, left, and reals."
        yield _copy(draft, sheet, "samples", source, ("Samples", alt, caption))
    if (source := folder / "walk.png").is_file():
        caption = "Walks between two latents, a line each, by spherical interpolation; G_ema."
        words = ("Walks between latents", f"Walks between latents of {where}", caption)
        yield _copy(draft, sheet, "walk", source, words)
    if (source := folder / "neighbours.json").is_file():
        stamps = [_stamp(path) for path in (source, source.with_suffix(".png")) if path.is_file()]
        draw = partial(_draw_neighbours, source, where)
        stem = file_stem(draft.keywords["run_id"], "neighbours")
        yield draft(stem=stem, inputs=[where, *stamps], draw=draw)


def _copy(
    draft: "partial[_Draft]", sheet: Sheet, kind: str, source: Path, words: tuple[str, str, str]
) -> _Draft:
    """A picture of a run as it is, made smaller where it is large."""

    def draw(_: list[str]) -> _Drawn:
        return _Drawn(sheet(source), *words)

    stem = file_stem(draft.keywords["run_id"], kind)
    return draft(stem=stem, inputs=[*words, _stamp(source)], draw=draw)


def _draw_neighbours(source: Path, where: str, _: list[str]) -> _Drawn:
    told = read_neighbours(source)
    drawn = labelled_neighbours(source.with_suffix(".png"), told)
    alt = f"Samples of {where}, each beside the training images nearest to it"
    return _Drawn(small(drawn), "Nearest training images", alt, told.in_words())
