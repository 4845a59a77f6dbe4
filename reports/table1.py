"""Table 1 of the paper (section 6.1, the ablation) beside ours: published, ours, difference.

SWD is times 1000, as the paper prints it. Every data set, profile and resolution has a table of
its own, and one of the levels.
"""

import pandas as pd

from pgbench.reports.beside import (
    STATUS_COLUMNS,
    VERDICT_COLUMN,
    beside,
    comparison,
    key_name,
    level_order,
    most_images,
    protocol_note,
    read_paper,
    sources,
    status_cells,
    tell_apart,
    triple_columns,
    triples,
)
from pgbench.reports.summary import Place, Summary, summarise
from pgbench.reports.tables import Cell, Column, Table

ARTEFACT = "table1"
PAPER = read_paper(ARTEFACT)
PAPER_DATASET = {
    "portraits": "celeba",
    "scenes": "lsun-bedroom",
    "celeba": "celeba",
    "lsun-bedroom": "lsun-bedroom",
}
PAPER_NAME = {"celeba": "CelebA", "lsun-bedroom": "LSUN bedroom"}
LABELS: dict[str, str] = dict(zip(PAPER["row"], PAPER["label"], strict=True))
NOTES = (
    "SWD is times 1000, as in the paper.",
    "Row h has no released configuration; ours is stated in its config.",
    "\N{PLUS-MINUS SIGN} is half of the 95 % interval of the mean over seeds (Student's t); "
    "one seed has none.",
    "Bold is the lowest SWD of its column. MS-SSIM has no best: lower is more variation, and "
    "means something only next to the real images' own value.",
)


def tables(summary: Summary) -> list[Table]:
    """Two tables per data set, profile and resolution that has runs: averages, and levels."""
    made = []
    for place in summary.places(ARTEFACT, LABELS):
        lines, names = _lines(summary, place)
        means = summary.means_at(ARTEFACT, place)
        means = means[means["metric"].isin(list(names.values()))]
        notes = (*NOTES, *sources(lines), *_own_notes(lines, names["swd"]), *protocol_note(means))
        made.append(_averages(summary, place, lines=lines, names=names, notes=notes))
        if any(key.isdecimal() for key in lines["key"]):
            made.append(_levels(place, lines, swd=names["swd"]))
    return made


def row_lines(
    results: pd.DataFrame,
    runs: pd.DataFrame,
    *,
    row: str,
    dataset: str,
    profile: str,
    resolution: int,
) -> list[tuple[str, str, str, str]]:
    """(key, published, ours, difference) of one row as text; empty when it was never run."""
    summary, place = summarise(results, runs), Place(dataset, profile, resolution)
    if place not in summary.places(ARTEFACT, LABELS):
        return []
    lines, _ = _lines(summary, place)
    of_row = lines[lines["row"] == row]
    told = []
    for key in of_row["key"]:
        ((paper, ours, difference),) = triples(of_row, key)
        told.append((key_name(key), paper.text, ours.text, difference.text))
    return told


def _lines(summary: Summary, place: Place) -> tuple[pd.DataFrame, dict[str, str | None]]:
    """Every row and key, and the metrics they are of; None as long as nothing was measured."""
    means = summary.means_at(ARTEFACT, place)
    names = {kind: most_images(means["metric"], kind) for kind in ("swd", "msssim")}
    ours = means[means["metric"].isin(list(names.values()))]
    published = _published(place.dataset)
    keys = sorted({"avg", "msssim", *published["key"], *ours["key"]}, key=level_order)
    lines = beside(
        summary, ARTEFACT, place=place, published=published, ours=ours, rows=list(LABELS), keys=keys
    )
    return lines, names


def _published(dataset: str) -> pd.DataFrame:
    """The paper's half that stands beside `dataset`."""
    half = PAPER[PAPER["dataset"] == PAPER_DATASET.get(dataset)]
    keys = [name for name in half.columns if name.startswith(("swd_", "msssim"))]
    tidy = half.melt(["row", "certain", "source"], keys, var_name="key", value_name="published")
    tidy = tidy.assign(key=tidy["key"].str.removeprefix("swd_"), published_std=float("nan"))
    return tell_apart(tidy)


def _averages(
    summary: Summary,
    place: Place,
    *,
    lines: pd.DataFrame,
    names: dict[str, str | None],
    notes: tuple[str, ...],
) -> Table:
    swd, msssim = (names[kind] or "not measured" for kind in ("swd", "msssim"))
    cells = zip(LABELS.items(), triples(lines, "avg"), triples(lines, "msssim"), strict=True)
    return Table(
        stem=place.stem(ARTEFACT),
        title=f"Table 1: {place}",
        caption=f"{_comparison(place)} Average SWD ({swd}) and MS-SSIM ({msssim}).",
        columns=(
            *(Column("row", align="left"), Column("configuration", align="left"), *STATUS_COLUMNS),
            *(*triple_columns("SWD"), *triple_columns("MS-SSIM"), VERDICT_COLUMN),
        ),
        rows=tuple(
            (
                *(Cell(row), Cell(label), *status_cells(lines, row)),
                *(*one, *two, summary.verdict(ARTEFACT, row, place=place)),
            )
            for (row, label), one, two in cells
        ),
        notes=notes,
        artefact=ARTEFACT,
        tidy=lines,
    )


def _levels(place: Place, lines: pd.DataFrame, *, swd: str | None) -> Table:
    levels = [key for key in lines["key"].unique() if key.isdecimal()]
    columns = [triples(lines, level) for level in levels]
    return Table(
        stem=f"{place.stem(ARTEFACT)}-levels",
        title=f"Table 1, SWD by level: {place}",
        caption=f"{_comparison(place)} SWD by level ({swd or 'not measured'}).",
        columns=(
            Column("row", align="left"),
            *(column for level in levels for column in triple_columns(level)),
        ),
        rows=tuple(
            (Cell(row), *(cell for column in columns for cell in column[number]))
            for number, row in enumerate(LABELS)
        ),
        notes=(f"The notes of {place.stem(ARTEFACT)} hold here, too.",),
        artefact=ARTEFACT,
        tidy=lines[lines["key"].isin(levels)],
    )


def _comparison(place: Place) -> str:
    paper = PAPER_DATASET.get(place.dataset)
    return comparison(
        place,
        published=paper and f"{PAPER_NAME[paper]} at 128x128 after 10,000 kimg",
        dataset=paper or "",
        resolution=128,
    )


def _own_notes(lines: pd.DataFrame, swd: str | None) -> list[str]:
    """Notes that depend on what was measured."""
    notes = []
    if swd not in (None, "swd16k"):
        notes.append(
            f"The paper's SWD is swd16k, ours {swd}: the fewer the images, the larger the SWD."
        )
    known = lines[lines["key"].str.isdecimal()]
    sides = [known.dropna(subset=side)["key"].unique() for side in ("published", "ours_mean")]
    if all(map(len, sides)) and set(sides[0]) != set(sides[1]):
        paper, ours = (", ".join(side) for side in sides)
        notes.append(f"The paper's average is over the levels {paper}; ours is over {ours}.")
    return notes
