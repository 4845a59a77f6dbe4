"""Table 4 of the paper (appendix D): which of 1000 modes of MNIST a tiny discriminator keeps.

KL is the divergence of the modes' histogram from the uniform one. The paper's spread is the
standard deviation over initialisations, so ours is shown beside the interval of the mean.
"""

from itertools import product

import pandas as pd

from pgbench.reports.beside import (
    INTERVAL_NOTE,
    STATUS_COLUMNS,
    VERDICT_COLUMN,
    beside,
    comparison,
    most_images,
    protocol_note,
    read_paper,
    sources,
    status_cells,
    style,
    tell_apart,
    triples,
)
from pgbench.reports.summary import Place, Summary
from pgbench.reports.tables import NONE, Cell, Column, Table

ARTEFACT = "table4"
PAPER = read_paper(ARTEFACT)
# What our rows are called -> the paper's column; each adds to the one above.
COLUMNS = {
    "wgan-gp": "WGAN-GP",
    "norm": "+ our norm",
    "stddev": "+ mb stddev",
    "progression": "+ progression",
}
DISCRIMINATORS = ("K/4", "K/2")
ROWS = {f"{d} {c}": (d, label) for d, (c, label) in product(DISCRIMINATORS, COLUMNS.items())}
KEYS = ("modes", "modes_std", "kl", "kl_std")
NOTES = (
    "The paper's \N{PLUS-MINUS SIGN} is the standard deviation over initialisations, to be "
    "compared with our column std.",
    INTERVAL_NOTE,
    "Bold is the best mean of ours: the most modes, the smallest KL.",
)


def tables(summary: Summary) -> list[Table]:
    """One table per data set, profile and resolution that has runs."""
    return [_table(summary, place) for place in summary.places(ARTEFACT, ROWS)]


def _table(summary: Summary, place: Place) -> Table:
    means = summary.means_at(ARTEFACT, place)
    metric = most_images(means["metric"], "modes")
    ours = means[means["metric"] == metric]
    lines = beside(
        summary,
        ARTEFACT,
        place=place,
        published=_published(),
        ours=ours,
        rows=list(ROWS),
        keys=KEYS,
    )
    modes, kl = (_with_std(lines, key) for key in ("modes", "kl"))
    return Table(
        stem=place.stem(ARTEFACT),
        title=f"Table 4: {place}",
        caption=f"{_comparison(place)} Modes and KL ({metric or 'not measured'}).",
        columns=(
            *(Column("discriminator", align="left"), Column("configuration", align="left")),
            *(*STATUS_COLUMNS, *_columns("modes"), *_columns("KL"), VERDICT_COLUMN),
        ),
        rows=tuple(
            (
                *(Cell(size), Cell(label), *status_cells(lines, row)),
                *(*one, *two, summary.verdict(ARTEFACT, row, place=place)),
            )
            for (row, (size, label)), one, two in zip(ROWS.items(), modes, kl, strict=True)
        ),
        notes=(*NOTES, *sources(lines), *protocol_note(ours)),
        artefact=ARTEFACT,
        tidy=lines,
    )


def _published() -> pd.DataFrame:
    """The paper's eight configurations and two keys."""
    names = {label: name for name, label in COLUMNS.items()}
    paper = PAPER.assign(row=PAPER["discriminator"] + " " + PAPER["column"].map(names))
    halves = [
        paper[["row", "certain", "source"]].assign(
            key=key, published=paper[key], published_std=paper[f"{key}_std"]
        )
        for key in ("modes", "kl")
    ]
    return tell_apart(pd.concat(halves))


def _columns(group: str) -> tuple[Column, ...]:
    return tuple(Column(name, group) for name in ("paper", "ours", "std", "diff"))


def _with_std(lines: pd.DataFrame, key: str) -> list[tuple[Cell, Cell, Cell, Cell]]:
    """Published, ours, our standard deviation over seeds and the difference, row by row."""
    spreads = lines.loc[lines["key"] == key, "ours_std"]
    return [
        (paper, ours, _std(std, style(key).digits), difference)
        for (paper, ours, difference), std in zip(triples(lines, key), spreads, strict=True)
    ]


def _std(std: float, digits: int) -> Cell:
    if pd.isna(std):
        return Cell(NONE, kind="ours")
    return Cell(f"{std:.{digits}f}", float(std), "ours")


def _comparison(place: Place) -> str:
    published = "MNIST in three channels at 32x32 after 10,000 kimg, 15,000 with progression"
    return comparison(place, published=published, dataset="mnist-rgb", resolution=32)
