"""Tables of what was measured where there are no published numbers to stand beside."""

from collections.abc import Sequence

import pandas as pd

from pgbench.reports.beside import (
    INTERVAL_NOTE,
    STATUS_COLUMNS,
    VERDICT_COLUMN,
    beside,
    key_name,
    level_order,
    most_images,
    no_published,
    protocol_note,
    status_cells,
    triples,
)
from pgbench.reports.summary import Place, Summary
from pgbench.reports.tables import Cell, Column, Table

KINDS = ("swd", "msssim", "fid", "fd-effnetlite0-")
NOTES = (
    "SWD is times 1000. MS-SSIM means something only next to the real images' own value.",
    INTERVAL_NOTE,
)
Entry = tuple[str, Place]  # a row, and where it was run


def measured(
    summary: Summary, artefact: str, *, entries: Sequence[Entry], stem: str, title: str
) -> Table:
    """A table with a line per entry and a column per key; of each metric the most images."""
    parts = [_means(summary, artefact, row, place) for row, place in entries]
    means = pd.concat(parts)
    metrics = [most_images(means["metric"], kind) for kind in KINDS]
    shown = [name for name in metrics if name is not None]
    ours = [part[part["metric"].isin(shown)] for part in parts]
    names = pd.concat(ours).drop_duplicates(["metric", "key"])
    keys = [
        (name, key)
        for name in shown
        for key in sorted(names.loc[names["metric"] == name, "key"], key=level_order)
    ]
    only = [key for _, key in keys] or ["avg"]
    lines = [
        beside(
            summary,
            artefact,
            place=place,
            published=no_published(),
            ours=part,
            rows=[row],
            keys=only,
        )
        for (row, place), part in zip(entries, ours, strict=True)
    ]
    return Table(
        stem=stem,
        title=title,
        caption="Measured by us; no published numbers of these metrics stand beside.",
        columns=(
            *(Column("data set", align="left"), Column("row", align="left"), *STATUS_COLUMNS),
            *(Column(key_name(key).removeprefix("SWD "), name) for name, key in keys),
            VERDICT_COLUMN,
        ),
        rows=tuple(_rows(summary, artefact, entries, lines, keys=[key for _, key in keys])),
        notes=(*NOTES, *protocol_note(pd.concat(ours))),
        artefact=artefact,
        tidy=pd.concat(lines, ignore_index=True),
    )


def _means(summary: Summary, artefact: str, row: str, place: Place) -> pd.DataFrame:
    means = summary.means_at(artefact, place)
    return means[means["row"] == row]


def _rows(
    summary: Summary,
    artefact: str,
    entries: Sequence[Entry],
    lines: Sequence[pd.DataFrame],
    *,
    keys: Sequence[str],
) -> list[tuple[Cell, ...]]:
    together = pd.concat(lines)
    columns = [[ours for _, ours, _ in triples(together, key)] for key in keys]
    return [
        (
            *(Cell(place.dataset), Cell(row), *status_cells(part, row)),
            *(column[number] for column in columns),
            summary.verdict(artefact, row, place=place),
        )
        for number, ((row, place), part) in enumerate(zip(entries, lines, strict=True))
    ]
