"""Training times: published ones, and how long ours took on which device.

Ours are of training alone: evaluation is not counted. images/s are real images shown to D.
"""

from collections.abc import Iterable

import pandas as pd

from pgbench.reports.aggregate import interval, status_words
from pgbench.reports.beside import read_paper
from pgbench.reports.names import file_stem, row_order
from pgbench.reports.summary import Summary
from pgbench.reports.tables import NONE, Cell, Column, Table

STEM = "training_time"
PAPER = read_paper(STEM)
GROUP = ["artefact", "row", "dataset", "profile", "resolution", "total_kimg", "device"]
LINE = [*GROUP, "status", "runs", "key", "mean", "low", "high", "published", "source"]
NOTES = (
    "Ours are of training alone, from status.json: evaluation is not counted. Whether other work "
    "shared the machine is not recorded.",
    "images/s are real images shown to the discriminator per second, over the whole run: small "
    "resolutions are faster. Hours are those of finished runs.",
    "\N{PLUS-MINUS SIGN} is half of the 95 % interval of the mean over runs (Student's t); one run "
    "has none.",
)


def tables(summary: Summary) -> list[Table]:
    """One table per profile of all runs that trained at all, below the published times."""
    runs = summary.runs[summary.runs["wall_sec"] > 0]
    devices = runs["run_id"].map(summary.devices)
    runs = runs.assign(
        device=devices.where(devices.notna(), "not recorded"),
        hours=runs["wall_sec"] / 3600,
        speed=1000 * runs["kimg"] / runs["wall_sec"],
    )
    return [_table(str(profile), of_profile) for profile, of_profile in runs.groupby("profile")]


def _table(profile: str, runs: pd.DataFrame) -> Table:
    named = [(dict(zip(GROUP, name, strict=True)), of) for name, of in runs.groupby(GROUP)]
    groups = sorted(named, key=lambda one: (one[0]["artefact"], row_order(str(one[0]["row"]))))
    return Table(
        stem=file_stem(STEM, profile),
        title=f"Training time: profile {profile}",
        caption=f"Published training times as stated, and those of our runs of profile {profile}.",
        columns=(
            *(Column("setting", align="left"), Column("device", align="left")),
            *(Column("status", align="left"), Column("kimg"), Column("runs")),
            *(Column("published time"), Column("hours"), Column("images/s")),
        ),
        rows=(*_published(), *(_ours(name, of) for name, of in groups)),
        notes=NOTES,
        artefact=STEM,
        tidy=_tidy(groups),
    )


def _published() -> list[tuple[Cell, ...]]:
    empty = Cell(NONE, kind="ours")
    return [
        (
            *(
                Cell(f"{line['source']}: {line['setting']}"),
                Cell(f"{line['gpus']} × {line['gpu']}"),
            ),
            *(Cell(NONE), Cell(NONE), Cell(NONE)),
            *(Cell(line["time"], kind="published"), empty, empty),
        )
        for _, line in PAPER.iterrows()
    ]


def _ours(name: dict[str, object], runs: pd.DataFrame) -> tuple[Cell, ...]:
    size = f"{name['resolution']}x{name['resolution']}"
    done = runs[runs["status"] == "done"]
    return (
        Cell(f"{name['artefact']} {name['row']}, {name['dataset']} {size}"),
        Cell(str(name["device"])),
        Cell(status_words(runs), kind="status"),
        *(Cell(f"{name['total_kimg']:g}"), Cell(str(len(runs)), float(len(runs)))),
        Cell(NONE, kind="published"),
        *(_mean(done["hours"], digits=2), _mean(runs["speed"], digits=1)),
    )


def _mean(values: pd.Series, *, digits: int) -> Cell:
    if values.empty:
        return Cell(NONE, kind="ours", note="no run is done")
    mean, (low, high) = float(values.mean()), interval(values)
    spread = f" \N{PLUS-MINUS SIGN} {(high - low) / 2:.{digits}f}" if len(values) > 1 else ""
    return Cell(f"{mean:.{digits}f}{spread}", mean, "ours")


def _tidy(groups: Iterable[tuple[dict[str, object], pd.DataFrame]]) -> pd.DataFrame:
    """A line per published time, and one for hours and images/s of every group of runs."""
    lines: list[dict[str, object]] = [
        {
            **{"artefact": "published", "row": line["setting"], "key": "time"},
            **{"device": f"{line['gpus']} x {line['gpu']}"},
            **{"published": line["time"], "source": line["source"]},
        }
        for _, line in PAPER.iterrows()
    ]
    for name, runs in groups:
        done = runs[runs["status"] == "done"]
        for key, values in (("hours", done["hours"]), ("images/s", runs["speed"])):
            low, high = interval(values)
            told = {"key": key, "mean": values.mean(), "low": low, "high": high}
            lines.append(name | told | {"status": status_words(runs), "runs": len(values)})
    return pd.DataFrame(lines, columns=LINE)
