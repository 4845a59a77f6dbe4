"""Published beside ours: the lines all tables of the paper's numbers share, and their cells.

A published number that is only recalled is shown in parentheses with a note; it enters no
difference, no verdict and no bold.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd

from pgbench.reports.aggregate import differing
from pgbench.reports.summary import NOT_RUN, Place, Summary
from pgbench.reports.tables import NONE, Cell, Column

FOLDER = Path(__file__).parent / "paper"
RECALLED = "recalled, not verified"
STD_RECALLED = "the \N{PLUS-MINUS SIGN} is recalled, not verified"
UNEVALUATED = "done, not evaluated"
UNMEASURED = "not measured"
NUMBERS = ["published", "published_std", "recalled", "recalled_std"]
PUBLISHED = ["row", "key", *NUMBERS, "source"]
LINE = [
    *("dataset", "profile", "resolution"),
    *PUBLISHED,
    *("ours_mean", "ours_std", "ours_low", "ours_high", "n_seeds", "difference"),
    *("metric", "status", "kimg", "verdict"),
]
INTERVAL_NOTE = (
    "\N{PLUS-MINUS SIGN} of ours is half of the 95 % interval of the mean over seeds (Student's "
    "t); one seed has none."
)


@dataclass(frozen=True)
class Style:
    """How the values of a key are written, and which one of a column is the best."""

    digits: int
    best: str | None = None  # min or max


STYLES = {
    "msssim": Style(4),
    "fid": Style(2, "min"),
    "fd-effnetlite0": Style(2, "min"),
    "is": Style(2, "max"),
    "best run": Style(2, "max"),
    "mean of runs": Style(2, "max"),
    "modes": Style(1, "max"),
    "kl": Style(2, "min"),
}
SWD = Style(2, "min")  # every level and their average


def beside(
    summary: Summary,
    artefact: str,
    *,
    place: Place,
    published: pd.DataFrame,
    ours: pd.DataFrame,
    rows: Sequence[str],
    keys: Sequence[str],
) -> pd.DataFrame:
    """Every row and key once, as in LINE; `published` is as in PUBLISHED, `ours` are means."""
    lines = pd.DataFrame(list(product(rows, keys)), columns=["row", "key"], dtype="object")
    lines = lines.merge(published, how="left", on=["row", "key"])
    ours = ours.add_prefix("ours_").rename(columns={"ours_row": "row", "ours_key": "key"})
    lines = lines.merge(ours, how="left", on=["row", "key"])
    states, measured = summary.status(artefact, place), set(ours["row"])
    verdicts = {row: summary.verdict(artefact, row, place=place).text for row in rows}
    lines = lines.assign(
        **vars(place),
        difference=lines["ours_mean"] - lines["published"],
        status=[_status(states.get(row, NOT_RUN), row in measured) for row in lines["row"]],
        verdict=lines["row"].map(verdicts).replace(NONE, None),
        **{name: lines[f"ours_{name}"] for name in ("metric", "kimg", "n_seeds")},
    )
    return lines[LINE]


def read_paper(stem: str) -> pd.DataFrame:
    """A file of published numbers; `certain` says which of them are."""
    return pd.read_csv(FOLDER / f"{stem}.csv")


def tell_apart(paper: pd.DataFrame) -> pd.DataFrame:
    """NUMBERS from `published`, `published_std` and `certain`: yes, value only or no."""
    value, spread, certain = (paper[name] for name in ("published", "published_std", "certain"))
    return paper.drop(columns="certain").assign(
        published=value.where(certain != "no"),
        published_std=spread.where(certain == "yes"),
        recalled=value.where(certain == "no"),
        recalled_std=spread.where(certain != "yes"),
    )


def no_published() -> pd.DataFrame:
    """Of what the paper has no numbers."""
    return pd.DataFrame(columns=PUBLISHED).astype(dict.fromkeys(NUMBERS, float))


def triples(lines: pd.DataFrame, key: str) -> list[tuple[Cell, Cell, Cell]]:
    """Published, ours and difference of one key, row by row; the best of a column is marked."""
    of_key = lines[lines["key"] == key]
    top = [best_of(of_key[side], style(key)) for side in ("published", "ours_mean")]
    return [
        (published_cell(line, best=top[0]), ours_cell(line, best=top[1]), difference_cell(line))
        for _, line in of_key.iterrows()
    ]


def triple_columns(group: str | None) -> tuple[Column, Column, Column]:
    """The heads of the three cells of `triples`."""
    return Column("paper", group), Column("ours", group), Column("diff", group)


def published_cell(line: pd.Series, *, best: float | None = None) -> Cell:
    """The paper's number; what is only recalled is in parentheses and has no value."""
    digits = style(line["key"]).digits
    value, spread, recalled, recalled_spread = (line[name] for name in NUMBERS)
    if not pd.isna(recalled):
        return Cell(
            f"({_spread(recalled, recalled_spread, digits)})", None, "published", note=RECALLED
        )
    if pd.isna(value):
        return Cell(NONE, kind="published")
    text, is_best = _spread(value, spread, digits), round(value, digits) == best
    if pd.isna(recalled_spread):
        return Cell(text, float(value), "published", is_best)
    text += f" (\N{PLUS-MINUS SIGN} {recalled_spread:.{digits}f})"
    return Cell(text, float(value), "published", is_best, STD_RECALLED)


def ours_cell(line: pd.Series, *, best: float | None = None) -> Cell:
    """Our mean and the half of its interval, or why there is none."""
    digits = style(line["key"]).digits
    if pd.isna(line["ours_mean"]):
        why = UNMEASURED if line["status"] == "done" else str(line["status"])
        return Cell(NONE, kind="ours", note=why)
    mean, half = float(line["ours_mean"]), (line["ours_high"] - line["ours_low"]) / 2
    return Cell(_spread(mean, half, digits), mean, "ours", round(mean, digits) == best)


def difference_cell(line: pd.Series) -> Cell:
    """Ours minus the paper's, with its sign."""
    value, digits = line["difference"], style(line["key"]).digits
    if pd.isna(value):
        return Cell(NONE, kind="difference")
    return Cell(f"{round(value, digits) + 0.0:+.{digits}f}", float(value), "difference")


def status_cells(lines: pd.DataFrame, row: str) -> tuple[Cell, Cell, Cell]:
    """Status, kimg and seeds of a row."""
    of_row = lines[lines["row"] == row]
    kimg, seeds = (whole(of_row[name].max()) for name in ("kimg", "n_seeds"))
    return Cell(of_row["status"].iloc[0], kind="status"), kimg, seeds


STATUS_COLUMNS = (Column("status", align="left"), Column("kimg"), Column("seeds"))
VERDICT_COLUMN = Column("verdict", align="left")


def sources(lines: pd.DataFrame) -> list[str]:
    """Notes on where the published numbers come from."""
    told = lines.dropna(subset="published")["source"].unique()
    notes = [f"Published values: {'; '.join(told)}."] if len(told) else []
    if lines[["recalled", "recalled_std"]].notna().any(axis=None):
        notes.append(
            "Numbers in parentheses are recalled from memory and verified in no source: they "
            "enter no difference and no verdict."
        )
    return notes


def protocol_note(means: pd.DataFrame) -> list[str]:
    """A note for every metric whose rows were measured in several ways, and on what they differ."""
    found = means.groupby("metric")["protocol"].unique()
    return [
        f"The rows' {metric} were measured by {len(protocols)} protocols, which differ in "
        f"{', '.join(differing(map(json.loads, protocols)))} (see the records)."
        for metric, protocols in found.items()
        if len(protocols) > 1
    ]


def comparison(place: Place, *, published: str | None, dataset: str, resolution: int) -> str:
    """What stands beside what, in plain words; `published` is None where nothing was."""
    ours = f"ours is {place.dataset} at {place.size}, profile {place.profile}"
    if published is None:
        return f"The paper has no such numbers for {place.dataset}: {ours}."
    if place.dataset != dataset:
        return (
            f"Another data set (and scale) is compared: published is {published}; {ours}. "
            "The difference is not an error of reproduction; what can be compared is how the rows "
            "rank."
        )
    if (place.profile, place.resolution) != ("paper", resolution):
        return (
            f"Another scale is compared: published is {published}; {ours}. "
            "The difference is not only an error of reproduction."
        )
    return f"The same data set and settings are compared: published is {published}; {ours}."


def _status(status: str, measured: bool) -> str:
    return UNEVALUATED if status == "done" and not measured else status


def best_of(values: Iterable[float], of: Style) -> float | None:
    """The best of a column as it is written; none where it stands alone."""
    rounded = [round(value, of.digits) for value in values if not pd.isna(value)]
    if of.best is None or len(rounded) < 2:
        return None
    return min(rounded) if of.best == "min" else max(rounded)


def whole(value: float) -> Cell:
    """A count, or none."""
    return Cell(NONE) if pd.isna(value) else Cell(f"{value:g}", float(value))


def _spread(value: float, half: float, digits: int) -> str:
    spread = "" if pd.isna(half) else f" \N{PLUS-MINUS SIGN} {half:.{digits}f}"
    return f"{value:.{digits}f}{spread}"


def style(key: str) -> Style:
    """That of a key; of an unknown one, SWD's."""
    return STYLES.get(key, SWD)


def most_images(metrics: Iterable[str], kind: str) -> str | None:
    """Of swd2k, swd16k, ... the one with the most images."""
    named = (re.fullmatch(rf"{kind}(\d{{1,9}})(k?)", metric) for metric in set(metrics))
    counts = {match[0]: int(match[1]) * (1000 if match[2] else 1) for match in named if match}
    return max(counts, key=lambda name: (counts[name], name), default=None)


def level_order(key: str) -> tuple[int, int, str]:
    """Levels from fine to coarse, then avg, then all others."""
    level = int(key) if re.fullmatch(r"\d{1,9}", key) else 0
    return (0 if level else 1 if key == "avg" else 2, -level, key)


def key_name(key: str) -> str:
    """How a key is called in a table."""
    if key in ("msssim", "fid"):
        return {"msssim": "MS-SSIM", "fid": "FID"}[key]
    return f"SWD {key}" if key == "avg" or key.isdecimal() else key
