"""Table 3 of the paper (section 6.3): inception scores of CIFAR-10, others' and ours.

As in the paper a run counts at its best snapshot, and both the best run and the mean over runs are
shown. Scores of another network than Inception have a table under their own name.
"""

import pandas as pd

from pgbench.reports.aggregate import aggregate, one_per_seed
from pgbench.reports.beside import (
    VERDICT_COLUMN,
    beside,
    best_of,
    comparison,
    difference_cell,
    most_images,
    no_published,
    ours_cell,
    published_cell,
    read_paper,
    sources,
    style,
    tell_apart,
    triple_columns,
    whole,
)
from pgbench.reports.summary import Place, Summary
from pgbench.reports.tables import NONE, Cell, Column, Table

ARTEFACT = "table3"
ROWS = {"cifar10": "750", "cifar10-gamma1": "1"}  # row -> its γ
SCORES = {"is": "is", "is-effnetlite0": "is-effnetlite0-"}  # keys' prefix -> the name, no count
SETTINGS = ("unsupervised", "label conditioned")
BEST, MEAN = "best run", "mean of runs"
PAPERS = {"Progressive GAN (best run)": BEST, "Progressive GAN (ten runs)": MEAN}
NOTES = (
    "A run counts at the best of its snapshots, as in the paper: a maximum over more snapshots is "
    "higher.",
    "The \N{PLUS-MINUS SIGN} of our best run is the standard deviation over ten splits, that of "
    "published scores is as published.",
    "The \N{PLUS-MINUS SIGN} of our mean of runs is half of the 95 % interval of the mean over "
    "seeds (Student's t); one seed has none.",
    "Bold is the highest verified score of a setting.",
)


def tables(summary: Summary) -> list[Table]:
    """One table per data set, profile and resolution that has runs, and network that scored."""
    made = []
    for place in summary.places(ARTEFACT, ROWS):
        here = place.of(summary.results[summary.results["artefact"] == ARTEFACT])
        names = {key: most_images(here["metric"], kind) for key, kind in SCORES.items()}
        shown = [key for key, name in names.items() if name is not None or key == "is"]
        made += [_table(summary, place, here, score=key, metric=names[key]) for key in shown]
    return made


def set_aside(summary: Summary) -> list[str]:
    """What does not count, beyond the last clock that all tables look at."""
    results = summary.results[summary.results["artefact"] == ARTEFACT]
    told = [one_per_seed(results, best=f"{score}_mean")[1] for score in SCORES]
    return [problem for problems in told for problem in problems]


def _table(
    summary: Summary, place: Place, results: pd.DataFrame, *, score: str, metric: str | None
) -> Table:
    results = results[results["metric"] == metric]
    published = _published() if score == "is" else no_published()
    lines = beside(
        summary,
        ARTEFACT,
        place=place,
        published=published,
        ours=_ours(results, score),
        rows=list(ROWS),
        keys=[BEST, MEAN],
    )
    others = _others() if score == "is" else _others().head(0)
    lines = pd.concat([_as_lines(others, place, lines), lines], ignore_index=True)
    name = "" if score == "is" else f" by {score}"
    return Table(
        stem=place.stem(ARTEFACT if score == "is" else f"{ARTEFACT}-{score}"),
        title=f"Table 3{name}: {place}",
        caption=f"{_comparison(place, score)} Inception score ({metric or 'not measured'}).",
        columns=(
            *(Column("setting", align="left"), Column("method", align="left"), Column("γ")),
            *(Column("status", align="left"), Column("seeds")),
            *(*triple_columns("score"), VERDICT_COLUMN),
        ),
        rows=tuple(_rows(summary, place, lines, others)),
        notes=(*NOTES, *_snapshots(results), *sources(lines)),
        artefact=ARTEFACT,
        tidy=lines,
    )


def _published() -> pd.DataFrame:
    """The paper's own two scores, as lines of our row."""
    paper = _paper()
    own = paper[paper["method"].isin(list(PAPERS))]
    return own.assign(row="cifar10", key=own["method"].map(PAPERS)).drop(
        columns=["setting", "method"]
    )


def _others() -> pd.DataFrame:
    paper = _paper()
    return paper[~paper["method"].isin(list(PAPERS))].reset_index(drop=True)


def _paper() -> pd.DataFrame:
    named = {"inception_score": "published", "std": "published_std"}
    return tell_apart(read_paper(ARTEFACT).rename(columns=named))


def _as_lines(others: pd.DataFrame, place: Place, like: pd.DataFrame) -> pd.DataFrame:
    """Other people's scores in the columns of `like`."""
    row = others["setting"] + ": " + others["method"]
    known = others.assign(row=row, key="is", **vars(place)).drop(columns=["setting", "method"])
    return known.reindex(columns=like.columns).astype(like.dtypes.to_dict())


def _ours(results: pd.DataFrame, score: str) -> pd.DataFrame:
    """Means over the runs' best snapshots, and the best of the runs with its own spread."""
    means = aggregate(results, best=f"{score}_mean")
    means = means[means["key"] == f"{score}_mean"].assign(key=MEAN)
    values, _ = one_per_seed(results, best=f"{score}_mean")
    wide = values.pivot(index=["row", "run_id"], columns="key", values="value").reset_index()
    best = means.assign(key=BEST, **dict.fromkeys(("std", "low", "high"), float("nan")))
    for number, line in best.iterrows():
        of_row = wide[wide["row"] == line["row"]]
        winner = of_row.loc[of_row[f"{score}_mean"].idxmax()]
        best.loc[number, ["mean", "std"]] = (line["max"], winner.get(f"{score}_std", float("nan")))
    return pd.concat([best, means], ignore_index=True)


def _rows(
    summary: Summary, place: Place, lines: pd.DataFrame, others: pd.DataFrame
) -> list[tuple[Cell, ...]]:
    """Others without labels, ours, then others with labels; the best of each setting is marked."""
    ours = lines.iloc[len(others) :]
    theirs = lines.iloc[: len(others)].assign(setting=others["setting"], method=others["method"])
    free, given = (theirs[theirs["setting"] == setting] for setting in SETTINGS)
    top = best_of([*free["published"], *ours["published"]], style("is"))
    top_given = best_of(given["published"], style("is"))
    return [
        *(_other(line, best=top) for _, line in free.iterrows()),
        *(_own(summary, place, line, ours=ours, best=top) for _, line in ours.iterrows()),
        *(_other(line, best=top_given) for _, line in given.iterrows()),
    ]


def _other(line: pd.Series, *, best: float | None) -> tuple[Cell, ...]:
    empty = Cell(NONE)
    return (
        *(Cell(line["setting"]), Cell(line["method"]), empty, empty, empty),
        *(published_cell(line, best=best), Cell(NONE, kind="ours")),
        *(Cell(NONE, kind="difference"), Cell(NONE, kind="verdict")),
    )


def _own(
    summary: Summary, place: Place, line: pd.Series, *, ours: pd.DataFrame, best: float | None
) -> tuple[Cell, ...]:
    row, key = line["row"], line["key"]
    top = best_of(ours.loc[ours["key"] == key, "ours_mean"], style(key))
    score = ours_cell(line, best=top)
    if key == BEST and not pd.isna(line["ours_std"]):
        text = f"{score.text} \N{PLUS-MINUS SIGN} {line['ours_std']:.{style(key).digits}f}"
        score = Cell(text, score.value, "ours", score.best)
    return (
        *(Cell(SETTINGS[0]), Cell(f"Progressive GAN, {key}"), Cell(ROWS[row])),
        *(Cell(line["status"], kind="status"), whole(line["n_seeds"])),
        *(published_cell(line, best=best), score, difference_cell(line)),
        summary.verdict(ARTEFACT, row, place=place),
    )


def _snapshots(results: pd.DataFrame) -> list[str]:
    """From how many snapshots the best of a run was taken."""
    done = results[(results["run_status"] == "done") & (results["status"] == "ok")]
    counts = done.groupby("run_id")["kimg"].nunique()
    if counts.empty:
        return []
    several = " to ".join(dict.fromkeys([str(counts.min()), str(counts.max())]))
    return [f"Snapshots of ours with a score: {several} per run."]


def _comparison(place: Place, score: str) -> str:
    if score != "is":
        return f"Scores of another network than Inception stand beside no published one: {place}."
    published = "CIFAR-10 at 32x32 after 20,000 kimg"
    return comparison(place, published=published, dataset="cifar10", resolution=32)
