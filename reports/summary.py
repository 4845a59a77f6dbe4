"""What all tables are made from, worked out once: means over seeds, status and verdicts of rows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from pgbench.reports.aggregate import aggregate, row_status
from pgbench.reports.names import file_stem
from pgbench.reports.tables import NONE, Cell

NOT_RUN = "not run"


@dataclass(frozen=True, order=True)
class Place:
    """Where numbers may share a column: one data set, profile and resolution."""

    dataset: str
    profile: str
    resolution: int

    def __str__(self) -> str:
        return f"{self.dataset}, profile {self.profile}, {self.size}"

    @property
    def size(self) -> str:
        """Such as 128x128."""
        return f"{self.resolution}x{self.resolution}"

    def stem(self, artefact: str) -> str:
        """A file name without its ending, safe whatever the data set is called."""
        return file_stem(artefact, self.dataset, self.profile, self.resolution)

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The lines of a frame of runs or means that are of this place."""
        here = frame["dataset"] == self.dataset
        here &= (frame["profile"] == self.profile) & (frame["resolution"] == self.resolution)
        return frame[here]


@dataclass(frozen=True)
class Summary:
    """What was read, of the newest version of each metric, and the means at the last clock.

    `devices` tells what a run was trained on, by its run_id.
    """

    results: pd.DataFrame
    runs: pd.DataFrame
    means: pd.DataFrame
    ledger: pd.DataFrame | None = None
    devices: Mapping[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def places(self, artefact: str, rows: Iterable[str]) -> list[Place]:
        """Every place where one of the artefact's rows was run, in order."""
        ours = self.runs[(self.runs["artefact"] == artefact) & self.runs["row"].isin(list(rows))]
        names = ours[["dataset", "profile", "resolution"]].drop_duplicates()
        return sorted(Place(str(d), str(p), int(r)) for d, p, r in names.itertuples(index=False))

    def means_at(self, artefact: str, place: Place) -> pd.DataFrame:
        """The means of one artefact at one place."""
        return place.of(self.means[self.means["artefact"] == artefact])

    def status(self, artefact: str, place: Place) -> dict[str, str]:
        """Row -> what became of its runs, in words; a row without runs is absent."""
        runs = place.of(self.runs[self.runs["artefact"] == artefact])
        return {str(name[-1]): words for name, words in row_status(runs).items()}

    def verdict(self, artefact: str, row: str, *, place: Place) -> Cell:
        """What the ledger says of a row; claims that name another place are of no concern."""
        claims = [] if self.ledger is None else _claims(self.ledger, artefact, row, place)
        if not claims:
            return Cell(NONE, kind="verdict")
        counts: dict[str, int] = {}
        for claim in claims:
            counts[claim["verdict"]] = counts.get(claim["verdict"], 0) + 1
        words = [verdict if len(claims) == 1 else f"{n} {verdict}" for verdict, n in counts.items()]
        note = "; ".join(f"{claim['claim']}: {claim['verdict']}" for claim in claims)
        return Cell(", ".join(words), kind="verdict", note=note)


def summarise(
    results: pd.DataFrame,
    runs: pd.DataFrame,
    *,
    ledger: pd.DataFrame | None = None,
    devices: Mapping[str, str] | None = None,
) -> Summary:
    """Means of all artefacts at once, so that they agree on the newest version of a metric."""
    means = aggregate(results)
    done = results[results["run_status"] == "done"]
    newest = results["metric"].map(done.groupby("metric")["metric_version"].max())
    current = results[results["metric_version"] == newest]
    return Summary(current, runs, means, ledger, devices or {}, means.attrs["problems"])


def unknown_rows(runs: pd.DataFrame, artefact: str, *, rows: Iterable[str]) -> list[str]:
    """A sentence for every run of a row that the artefact does not have."""
    strange = runs[(runs["artefact"] == artefact) & ~runs["row"].isin(list(rows))]
    return [
        f"Run {run['run_id']} was set aside: {artefact} has no row {run['row']!r}."
        for _, run in strange.iterrows()
    ]


def _claims(ledger: pd.DataFrame, artefact: str, row: str, place: Place) -> list[dict[str, str]]:
    of_artefact = ledger[ledger["artefact"] == artefact]
    for name in ("dataset", "profile", "resolution"):
        if name in ledger:
            of_artefact = of_artefact[of_artefact[name] == getattr(place, name)]
    found = of_artefact[of_artefact["rows"].map(lambda rows: row in _rows(rows)).astype(bool)]
    plain = found[["claim", "verdict"]].astype(str)
    return [{str(key): text for key, text in line.items()} for line in plain.to_dict("records")]


def _rows(rows: object) -> list[str]:
    """The rows a claim is about, given as a list or with commas between them."""
    if isinstance(rows, str):
        return [row.strip() for row in rows.split(",")]
    return [str(row) for row in rows] if isinstance(rows, list | tuple) else []
