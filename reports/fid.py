"""FID of the high-resolution data sets (sections 6.2 and 6.3 and their appendices).

A row is a data set; profiles have tables of their own.
"""

import pandas as pd

from pgbench.reports.beside import (
    INTERVAL_NOTE,
    VERDICT_COLUMN,
    beside,
    difference_cell,
    most_images,
    no_published,
    ours_cell,
    published_cell,
    read_paper,
    sources,
    tell_apart,
    triple_columns,
    whole,
)
from pgbench.reports.names import file_stem
from pgbench.reports.summary import Place, Summary
from pgbench.reports.tables import Cell, Column, Table

STEM = "fid"
PAPER = read_paper(STEM)
ARTEFACTS = ("celebahq", "lsun")
KINDS = {"fid": "fid", "fd-effnetlite0": "fd-effnetlite0-"}  # key -> the metric's name, no count
PAPER_DATASET = {"lsun-church_outdoor": "lsun-church"}  # where our name is another
NOTES = (
    "FID compares 50,000 images in the publications; the fewer the images, the larger the FID.",
    INTERVAL_NOTE,
)
EFFNET_NOTE = (
    "fd-effnetlite0 is the same distance between features of another network: no published number "
    "stands beside it."
)


def tables(summary: Summary) -> list[Table]:
    """One table per profile that has runs of CelebA-HQ or LSUN."""
    runs = summary.runs[summary.runs["artefact"].isin(ARTEFACTS)]
    return [_table(summary, profile) for profile in sorted(runs["profile"].unique())]


def published_for(dataset: str, resolution: int) -> pd.DataFrame:
    """The published FID that ours is compared with: the first of its data set; one line or none."""
    return _known(dataset, resolution).head(1)


def _known(dataset: str, resolution: int) -> pd.DataFrame:
    name = PAPER_DATASET.get(dataset, dataset)
    here = PAPER[(PAPER["dataset"] == name) & (PAPER["resolution"] == resolution)]
    return tell_apart(here.assign(key="fid", published=here["fid"], published_std=float("nan")))


def _table(summary: Summary, profile: str) -> Table:
    places = [
        (artefact, row, place)
        for artefact in ARTEFACTS
        for row in sorted(summary.runs.loc[summary.runs["artefact"] == artefact, "row"].unique())
        for place in summary.places(artefact, [row])
        if place.profile == profile
    ]
    parts = [_lines(summary, *one) for one in places]
    rows = [
        _row(summary, one, line)
        for one, part in zip(places, parts, strict=True)
        for _, line in part.iterrows()
    ]
    lines = pd.concat(
        [part.assign(artefact=one[0]) for one, part in zip(places, parts, strict=True)]
    )
    extra = [EFFNET_NOTE] if (lines["key"] != "fid").any() else []
    return Table(
        stem=file_stem(STEM, profile),
        title=f"FID: profile {profile}",
        caption="Published FIDs of Progressive GANs beside ours of the same data set and "
        f"resolution; ours are of the profile {profile}.",
        columns=(
            *(Column("data set", align="left"), Column("row", align="left"), Column("resolution")),
            *(Column("metric", align="left"), Column("status", align="left")),
            *(Column("kimg"), Column("seeds"), *triple_columns("FID"), VERDICT_COLUMN),
        ),
        rows=tuple(rows),
        notes=(*NOTES, *extra, *sources(lines), *_others(places)),
        artefact=STEM,
        tidy=lines[["artefact", *(name for name in lines if name != "artefact")]],
    )


def _lines(summary: Summary, artefact: str, row: str, place: Place) -> pd.DataFrame:
    """One line for FID and one for every other network's distance that was measured."""
    means = summary.means_at(artefact, place)
    means = means[means["row"] == row]
    names = {key: most_images(means["metric"], kind) for key, kind in KINDS.items()}
    ours = means[means["metric"].isin([name for name in names.values() if name])]
    published = published_for(place.dataset, place.resolution).assign(row=row)
    return beside(
        summary,
        artefact,
        place=place,
        published=published if len(published) else no_published(),
        ours=ours,
        rows=[row],
        keys=["fid", *(key for key in KINDS if key != "fid" and names[key])],
    )


def _row(summary: Summary, one: tuple[str, str, Place], line: pd.Series) -> tuple[Cell, ...]:
    artefact, row, place = one
    metric = line["key"] if pd.isna(line["metric"]) else str(line["metric"])
    return (
        *(Cell(place.dataset), Cell(row), Cell(place.size), Cell(metric)),
        *(Cell(line["status"], kind="status"), whole(line["kimg"]), whole(line["n_seeds"])),
        *(published_cell(line), ours_cell(line), difference_cell(line)),
        summary.verdict(artefact, row, place=place),
    )


def _others(places: list[tuple[str, str, Place]]) -> list[str]:
    """What others published for the same data sets."""
    notes = []
    for place in dict.fromkeys((place.dataset, place.resolution) for _, _, place in places):
        rest = _known(*place).iloc[1:]
        told = [f"{line['fid']:.2f} ({line['source']})" for _, line in rest.iterrows()]
        if told:
            notes.append(f"Others measured of a Progressive GAN on {place[0]}: {', '.join(told)}.")
    return notes
