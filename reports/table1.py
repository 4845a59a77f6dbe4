"""Table 1 of the paper (section 6.1, the ablation) beside ours: published, ours, difference.

SWD is times 1000, as the paper prints it. Every data set, profile and resolution has a table of
its own.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd

from pgbench.reports.aggregate import aggregate, row_status
from pgbench.reports.markdown import escape, file_stem, table

ARTEFACT = "table1"
PAPER = pd.read_csv(Path(__file__).parent / "paper" / "table1.csv")
PAPER_DATASET = {
    "portraits": "celeba",
    "scenes": "lsun-bedroom",
    "celeba": "celeba",
    "lsun-bedroom": "lsun-bedroom",
}
PAPER_NAME = {"celeba": "CelebA", "lsun-bedroom": "LSUN bedroom"}
LABELS: dict[str, str] = dict(zip(PAPER["row"], PAPER["label"], strict=True))
CSV_COLUMNS = [
    *("dataset", "profile", "resolution", "row", "key", "published", "source"),
    *("ours_mean", "ours_std", "ours_low", "ours_high", "n_seeds", "difference"),
    *("metric", "status", "kimg"),
]
NONE = "\N{EM DASH}"
NOTES = (
    "SWD is times 1000, as in the paper.",
    "Row h has no released configuration; ours is stated in its config.",
    "\N{PLUS-MINUS SIGN} is half of the 95 % interval of the mean over seeds (Student's t); "
    "one seed has none.",
    "Bold is the lowest SWD of its column. MS-SSIM has no best: lower is more variation, and "
    "means something only next to the real images' own value.",
)


@dataclass(frozen=True)
class Table:
    """One data set, profile and resolution; `lines` are tidy, with CSV_COLUMNS."""

    dataset: str
    profile: str
    resolution: int
    swd: str | None  # the metric's name; None as long as nothing was measured
    msssim: str | None
    lines: pd.DataFrame

    @property
    def stem(self) -> str:
        """A file name without its ending, safe whatever the data set is called."""
        return file_stem(ARTEFACT, self.dataset, self.profile, self.resolution)

    def to_csv(self) -> str:
        """One line per row and key, numbers to ten digits."""
        return self.lines.to_csv(index=False, float_format="%.10g", lineterminator="\n")

    def to_markdown(self) -> str:
        """What is compared, the averages, the SWD of every level, and notes."""
        swd, msssim = escape(self.swd or "not measured"), escape(self.msssim or "not measured")
        where = f"{escape(self.dataset)}, profile {escape(self.profile)}"
        return "\n".join(
            [
                f"## Table 1: {where}, {self.resolution}x{self.resolution}\n",
                f"{_comparison(self)}\n",
                f"### Average SWD ({swd}) and MS-SSIM ({msssim})\n",
                _averages(self.lines),
                f"### SWD by level ({swd})\n",
                _levels(self.lines),
                *(f"- {note}" for note in [*NOTES, *_own_notes(self)]),
                "",
            ]
        )


def tables(results: pd.DataFrame, runs: pd.DataFrame) -> list[Table]:
    """One table per data set, profile and resolution that has runs of table 1."""
    means = aggregate(results)
    means = means[means["artefact"] == ARTEFACT]
    ours = runs[(runs["artefact"] == ARTEFACT) & runs["row"].isin(list(LABELS))]
    name = ["dataset", "profile", "resolution"]
    made = []
    for _, of_table in ours.groupby(name):
        here = means.merge(of_table[name].drop_duplicates(), on=name)
        made.append(_table(of_table, here))
    return made


def unknown_rows(runs: pd.DataFrame) -> list[str]:
    """A sentence for every run of a row that table 1 does not have."""
    strange = runs[(runs["artefact"] == ARTEFACT) & ~runs["row"].isin(list(LABELS))]
    return [
        f"Run {run['run_id']} was set aside: table 1 has no row {run['row']!r}."
        for _, run in strange.iterrows()
    ]


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
    for found in tables(results, runs):
        if (found.dataset, found.profile, found.resolution) == (dataset, profile, resolution):
            of_row = found.lines[found.lines["row"] == row]
            return [(_key_name(line["key"]), *_cells(line)) for _, line in of_row.iterrows()]
    return []


def _table(runs: pd.DataFrame, means: pd.DataFrame) -> Table:
    first = runs.iloc[0]
    dataset, profile, resolution = first["dataset"], first["profile"], int(first["resolution"])
    swd, msssim = (_most_images(means["metric"], kind) for kind in ("swd", "msssim"))
    ours = means[means["metric"].isin([swd, msssim])]
    states = {str(key[-1]): status for key, status in row_status(runs).items()}
    lines = _lines(_published(dataset), ours, states)
    lines = lines.assign(dataset=dataset, profile=profile, resolution=resolution)
    return Table(dataset, profile, resolution, swd, msssim, lines[CSV_COLUMNS])


def _published(dataset: str) -> pd.DataFrame:
    """The paper's half that stands beside `dataset`: row, key, published, source."""
    half = PAPER[PAPER["dataset"] == PAPER_DATASET.get(dataset)]
    tidy = half.melt(
        ["row", "source"], [*half.columns[3:-1]], var_name="key", value_name="published"
    )
    return tidy.assign(key=tidy["key"].str.removeprefix("swd_"))


def _lines(published: pd.DataFrame, ours: pd.DataFrame, states: dict[str, str]) -> pd.DataFrame:
    """Every row and key once, in the paper's order, with what is known of it."""
    keys = sorted({"avg", "msssim", *published["key"], *ours["key"]}, key=_key_order)
    lines = pd.DataFrame(list(product(LABELS, keys)), columns=["row", "key"])
    lines = lines.merge(published, how="left", on=["row", "key"])
    lines = lines.merge(
        ours.add_prefix("ours_"),
        how="left",
        left_on=["row", "key"],
        right_on=["ours_row", "ours_key"],
    )
    status = lines["row"].map(lambda row: states.get(row, "not run"))
    measured = lines["row"].isin(ours["row"])
    return lines.assign(
        difference=lines["ours_mean"] - lines["published"],
        status=status.mask((status == "done") & ~measured, "done, not evaluated"),
        **{name: lines[f"ours_{name}"] for name in ("metric", "kimg", "n_seeds")},
    )


def _most_images(metrics: Iterable[str], kind: str) -> str | None:
    """Of swd2k, swd16k, ... the one with the most images."""
    named = (re.fullmatch(rf"{kind}(\d{{1,9}})(k?)", metric) for metric in set(metrics))
    counts = {match[0]: int(match[1]) * (1000 if match[2] else 1) for match in named if match}
    return max(counts, key=lambda name: (counts[name], name), default=None)


def _key_order(key: str) -> tuple[int, int, str]:
    """Levels from fine to coarse, then avg, then msssim."""
    level = int(key) if re.fullmatch(r"\d{1,9}", key) else 0
    return (0 if level else 2 if key == "msssim" else 1, -level, key)


def _key_name(key: str) -> str:
    return "MS-SSIM" if key == "msssim" else f"SWD {key}"


def _cells(line: pd.Series, best: dict[str, float] | None = None) -> tuple[str, str, str]:
    """Published, ours and difference; a value equal to `best` of its column is bold."""
    digits = 4 if line["key"] == "msssim" else 2
    cells = {}
    for column in ("published", "ours_mean"):
        value = round(line[column], digits)
        text = NONE if pd.isna(value) else f"{value:.{digits}f}"
        cells[column] = f"**{text}**" if best and best.get(column) == value else text
    if line["n_seeds"] > 1:
        half = (line["ours_high"] - line["ours_low"]) / 2
        cells["ours_mean"] += f" \N{PLUS-MINUS SIGN} {half:.{digits}f}"
    difference = round(line["difference"], digits) + 0.0  # no negative zero
    signed = NONE if pd.isna(difference) else f"{difference:+.{digits}f}"
    return cells["published"], cells["ours_mean"], signed


def _triples(lines: pd.DataFrame, key: str) -> list[tuple[str, str, str]]:
    """The cells of one key, row by row."""
    of_key = lines[lines["key"] == key]
    best = {
        column: of_key[column].round(2).min()
        for column in ("published", "ours_mean")
        if key != "msssim" and of_key[column].count() > 1
    }
    return [_cells(line, best) for _, line in of_key.iterrows()]


def _averages(lines: pd.DataFrame) -> str:
    header = ["row", "configuration", "status", "kimg", "seeds"]
    header += [
        f"{name} {side}" for name in ("SWD", "MS-SSIM") for side in ("paper", "ours", "diff")
    ]
    rows = []
    swd, msssim = _triples(lines, "avg"), _triples(lines, "msssim")
    for (row, label), one, two in zip(LABELS.items(), swd, msssim, strict=True):
        of_row = lines[lines["row"] == row]
        clock = [_whole(of_row[column].max()) for column in ("kimg", "n_seeds")]
        rows.append([escape(row), escape(label), of_row["status"].iloc[0], *clock, *one, *two])
    return table(header, rows, left=3)


def _whole(value: float) -> str:
    return NONE if pd.isna(value) else f"{value:g}"


def _levels(lines: pd.DataFrame) -> str:
    levels = [key for key in lines["key"].unique() if key.isdecimal()]
    if not levels:
        return "No level was measured.\n"
    header = ["row", *(f"{level} {side}" for level in levels for side in ("paper", "ours", "diff"))]
    columns = [_triples(lines, level) for level in levels]
    rows = [
        [escape(row), *(cell for column in columns for cell in column[number])]
        for number, row in enumerate(LABELS)
    ]
    return table(header, rows)


def _comparison(of: Table) -> str:
    """What stands beside what, in plain words."""
    paper = PAPER_DATASET.get(of.dataset)
    size = f"{of.resolution}x{of.resolution}"
    ours = f"ours is {escape(of.dataset)} at {size}, profile {escape(of.profile)}"
    if paper is None:
        return f"The paper has no such numbers for {escape(of.dataset)}: {ours}."
    published = f"published is {PAPER_NAME[paper]} at 128x128 after 10,000 kimg"
    if paper != of.dataset:
        return (
            f"**Another data set (and scale) is compared:** {published}; {ours}. "
            "The difference is not an error of reproduction; what can be compared is how the rows "
            "rank."
        )
    if (of.profile, of.resolution) != ("paper", 128):
        return (
            f"**Another scale is compared:** {published}; {ours}. "
            "The difference is not only an error of reproduction."
        )
    return f"The same data set and settings are compared: {published}; {ours}."


def _own_notes(of: Table) -> list[str]:
    """Notes that depend on what was measured."""
    notes = [f"Published values: {source}." for source in of.lines["source"].dropna().unique()]
    if of.swd not in (None, "swd16k"):
        notes.append(
            f"The paper's SWD is swd16k, ours {of.swd}: the fewer the images, the larger the SWD."
        )
    known = of.lines[of.lines["key"].str.isdecimal()]
    sides = [known.dropna(subset=side)["key"].unique() for side in ("published", "ours_mean")]
    if all(map(len, sides)) and set(sides[0]) != set(sides[1]):
        paper, ours = (", ".join(side) for side in sides)
        notes.append(f"The paper's average is over the levels {paper}; ours is over {ours}.")
    return notes
