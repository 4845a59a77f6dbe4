"""LSGAN (appendix B): the same networks under the other loss, beside WGAN-GP."""

from pgbench.reports.measured import measured
from pgbench.reports.summary import Summary
from pgbench.reports.tables import Table

ARTEFACT = "lsgan"
ROWS = ("lsgan", "wgan-gp")


def tables(summary: Summary) -> list[Table]:
    """One table per data set, profile and resolution that has runs."""
    return [
        measured(
            summary,
            ARTEFACT,
            entries=[(row, place) for row in ROWS],
            stem=place.stem(ARTEFACT),
            title=f"LSGAN: {place}",
        )
        for place in summary.places(ARTEFACT, ROWS)
    ]
