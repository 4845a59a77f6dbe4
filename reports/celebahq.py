"""CelebA-HQ (section 6.2): SWD by level and FID of the baseline beside the published ones."""

import pandas as pd

from pgbench.reports import fid
from pgbench.reports.beside import (
    INTERVAL_NOTE,
    PUBLISHED,
    VERDICT_COLUMN,
    beside,
    comparison,
    key_name,
    level_order,
    most_images,
    protocol_note,
    read_paper,
    sources,
    tell_apart,
    triple_columns,
    triples,
    whole,
)
from pgbench.reports.summary import Place, Summary
from pgbench.reports.tables import NONE, Cell, Column, Table

ARTEFACT = "celebahq"
ROW = "baseline"
PAPER = read_paper(ARTEFACT)
NOTES = (
    "SWD is times 1000, as in the paper. MS-SSIM means something only next to the real images' "
    "own value.",
    INTERVAL_NOTE,
)


def tables(summary: Summary) -> list[Table]:
    """One table per data set, profile and resolution that has runs."""
    return [_table(summary, place) for place in summary.places(ARTEFACT, [ROW])]


def _table(summary: Summary, place: Place) -> Table:
    means = summary.means_at(ARTEFACT, place)
    metrics = [most_images(means["metric"], kind) for kind in ("swd", "fid", "msssim")]
    ours = means[means["metric"].isin(metrics)]
    published = _published()
    keys = sorted({*published["key"], *ours["key"], "msssim"}, key=level_order)
    lines = beside(
        summary, ARTEFACT, place=place, published=published, ours=ours, rows=[ROW], keys=keys
    )
    verdict = summary.verdict(ARTEFACT, ROW, place=place)
    return Table(
        stem=place.stem(ARTEFACT),
        title=f"CelebA-HQ: {place}",
        caption=_comparison(place),
        columns=(
            *(Column("value", align="left"), Column("metric", align="left")),
            *(Column("status", align="left"), Column("kimg"), Column("seeds")),
            *(*triple_columns(None), VERDICT_COLUMN),
        ),
        rows=tuple(
            (*_head(line), *triples(lines, line["key"])[0], verdict) for _, line in lines.iterrows()
        ),
        notes=(*NOTES, *sources(lines), *_own_notes(metrics), *protocol_note(ours)),
        artefact=ARTEFACT,
        tidy=lines,
    )


def _published() -> pd.DataFrame:
    """SWD by level and its average, and the FID."""
    swd = PAPER.rename(columns={"resolution": "key", "swd": "published"})
    both = [
        tell_apart(swd.assign(published_std=float("nan"))),
        fid.published_for("celeba-hq", 1024),
    ]
    return pd.concat(both).assign(row=ROW)[PUBLISHED]


def _head(line: pd.Series) -> tuple[Cell, ...]:
    metric = NONE if pd.isna(line["metric"]) else str(line["metric"])
    status = Cell(line["status"], kind="status")
    clock = whole(line["kimg"]), whole(line["n_seeds"])
    return Cell(key_name(line["key"])), Cell(metric), status, *clock


def _comparison(place: Place) -> str:
    published = "CelebA-HQ at 1024x1024 after 19,000 kimg"
    return comparison(place, published=published, dataset="celeba-hq", resolution=1024)


def _own_notes(metrics: list[str | None]) -> list[str]:
    paper = ("swd16k", "fid50k")
    return [
        f"The paper's is {theirs}, ours {ours}: the fewer the images, the larger the value."
        for theirs, ours in zip(paper, metrics[:2], strict=True)
        if ours not in (None, theirs)
    ]
