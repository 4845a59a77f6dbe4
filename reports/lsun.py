"""LSUN (section 6.3, appendix G): SWD by level and MS-SSIM of every category; FID is in fid.py."""

from pgbench.reports.measured import measured
from pgbench.reports.names import file_stem
from pgbench.reports.summary import Summary
from pgbench.reports.tables import Table

ARTEFACT = "lsun"


def tables(summary: Summary) -> list[Table]:
    """One table per profile and resolution, a line per category and data set."""
    runs = summary.runs[summary.runs["artefact"] == ARTEFACT]
    entries = sorted(
        (row, place) for row in runs["row"].unique() for place in summary.places(ARTEFACT, [row])
    )
    made = []
    for profile, resolution in sorted({(place.profile, place.resolution) for _, place in entries}):
        here = [e for e in entries if (e[1].profile, e[1].resolution) == (profile, resolution)]
        stem = file_stem(ARTEFACT, profile, resolution)
        title = f"LSUN: profile {profile}, {resolution}x{resolution}"
        made.append(measured(summary, ARTEFACT, entries=here, stem=stem, title=title))
    return made
