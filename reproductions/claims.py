"""What the paper claims, each as data, and the verdicts that our records allow.

Sections 6.1 to 6.3 and appendix D. How a verdict is made stands in docs/claims.md. Published
effects are worked out from published numbers; where there are none an effect has none.
"""

import re
from collections.abc import Hashable, Iterator
from typing import Any

import pandas as pd

from pgbench.reproductions.evidence import Claim, Quantity, usable, variation
from pgbench.reproductions.paired import Side
from pgbench.reproductions.verdicts import COLUMNS, Place, ledger_line

SWD = Quantity("swd", "avg", shared=0.5)
MSSSIM = Quantity("msssim", "msssim")
INCEPTION = Quantity("is", "is_mean")
EFFICIENTNET = Quantity("is-effnetlite0-", "is-effnetlite0_mean")  # where there is no Inception
MODES = Quantity("modes", "modes")
KL = Quantity("modes", "kl")

# Table 1 of the paper at 128x128: average SWD times 1000, and MS-SSIM (two lecture reprints agree).
PAPER_SWD = {
    "celeba": {
        **{"a": 9.28, "b": 4.28, "c": 46.23, "d": 8.07, "e*": 9.84},
        **{"e": 7.04, "f": 4.39, "g": 3.56, "h": 2.96},
    },
    "lsun-bedroom": {
        **{"a": 11.25, "b": 7.60, "c": 49.52, "d": 6.54, "e*": 8.43},
        **{"e": 6.48, "f": 4.02, "g": 4.01, "h": 3.31},
    },
}
PAPER_MSSSIM = {
    "celeba": {
        **{"a": 0.2854, "b": 0.2838, "c": 0.4065, "d": 0.3027, "e*": 0.3057},
        **{"e": 0.2950, "f": 0.2902, "g": 0.2845, "h": 0.2828},
    },
    "lsun-bedroom": {
        **{"a": 0.0587, "b": 0.0615, "c": 0.1061, "d": 0.0662, "e*": 0.0648},
        **{"e": 0.0671, "f": 0.0668, "g": 0.0640, "h": 0.0636},
    },
}
MUCH = 2.0  # "much larger" is more than twice
MARGIN = 0.1  # "no worse" is worse by less than a tenth, "no better" better by less than that
ONE_SIZE = ("a", "b", "c", "d", "e*", "e", "f", "g")  # h has more maps and trains longer
# Where a claim is listed that nothing was run for yet.
START = {
    "table1": Place("table1", "portraits", "desktop", None),
    "figure4": Place("figure4", "portraits", "desktop", None),
    "table3": Place("table3", "cifar10", "desktop", None),
    "table4": Place("table4", "mnist-rgb", "desktop", None),
}
FALLBACK = {"figure4": "table1"}  # whose rows are the same configurations


def _table1(
    name: str, text: str, *, rows: tuple[str, str], side: Side = "below", factor: float = 1.0
) -> Claim:
    """A claim on the average SWD: on which side of `factor` times the first row's the second is."""
    first, second = rows
    return Claim(
        name=name,
        text=text,
        where="section 6.1, table 1",
        artefact="table1",
        rows=rows,
        quantities=(SWD,),
        side=side,
        factor=factor,
        published={d: round(of[second] - factor * of[first], 6) for d, of in PAPER_SWD.items()},
    )


def _table4(discriminator: str, *, before: str, column: str, subject: str) -> Iterator[Claim]:
    """More modes, and a smaller divergence, than the column before."""
    more: tuple[tuple[str, Quantity, Side], ...] = (
        ("raises the number of modes", MODES, "above"),
        ("lowers the KL divergence", KL, "below"),
    )
    for words, quantity, side in more:
        yield Claim(
            name=f"{subject} {words}, {discriminator}",
            text=f"On MNIST's 1000 modes, discriminator {discriminator}, {subject.lower()} {words} "
            "against the column before.",
            where="appendix D, table 4",
            artefact="table4",
            rows=(f"{discriminator} {before}", f"{discriminator} {column}"),
            quantities=(quantity,),
            side=side,
        )


GROWING_IS_BETTER = _table1(
    "Growing improves quality",
    "Progressive growing lowers the average SWD of the baseline.",
    rows=("a", "b"),
)
GROWING_IS_FASTER = Claim(
    name="Growing shortens training",
    text="With progressive growing the best average SWD that training without it ever reaches is "
    "reached in fewer hours.",
    where="section 6.2, figure 4",
    artefact="figure4",
    rows=("a", "b"),
    quantities=(SWD,),
    side="below",
    effect="hours",
    published=dict.fromkeys(PAPER_SWD, "about half the total time at 128x128"),
)
SMALL_MINIBATCH = _table1(
    "A small minibatch breaks batch normalisation",
    "With normalisation over the minibatch, 16 images instead of 64 more than double the average "
    "SWD.",
    rows=("b", "c"),
    side="above",
    factor=MUCH,
)
REVISED_PARAMETERS = _table1(
    "Revised training parameters repair it",
    "Without batch normalisation and with revised training parameters the small minibatch trains "
    "to a lower average SWD.",
    rows=("c", "d"),
)
DISCRIMINATION = _table1(
    "Minibatch discrimination does not help",
    "Minibatch discrimination lowers the average SWD by less than a tenth, if at all.",
    rows=("d", "e*"),
    side="above",
    factor=1 - MARGIN,
)
STDDEV = _table1(
    "Minibatch stddev helps",
    "The minibatch standard deviation layer lowers the average SWD.",
    rows=("d", "e"),
)
STDDEV_NOT_DISCRIMINATION = _table1(
    "Minibatch stddev beats minibatch discrimination",
    "The average SWD is lower with minibatch stddev than with minibatch discrimination.",
    rows=("e*", "e"),
)
EQUALIZED = _table1(
    "Equalized learning rate improves quality",
    "The equalized learning rate lowers the average SWD.",
    rows=("e", "f"),
)
PIXELNORM = _table1(
    "Pixelwise normalisation does no harm",
    "Pixelwise normalisation raises the average SWD by less than a tenth, if at all.",
    rows=("f", "g"),
    factor=1 + MARGIN,
)
CONVERGED = _table1(
    "Larger and longer converges further",
    "A network that is not crippled, trained longer, reaches a lower average SWD.",
    rows=("g", "h"),
)
MSSSIM_IS_BLIND = Claim(
    name="MS-SSIM hardly notices what SWD sees",
    text="Over rows a to g MS-SSIM varies less than the average SWD: the standard deviation over "
    "the rows relative to their mean is smaller.",
    where="section 6.1, table 1",
    artefact="table1",
    rows=ONE_SIZE,
    quantities=(MSSSIM, SWD),
    side="below",
    effect="variation",
    published={
        name: round(
            variation([PAPER_MSSSIM[name][row] for row in ONE_SIZE])
            - variation([PAPER_SWD[name][row] for row in ONE_SIZE]),
            6,
        )
        for name in PAPER_SWD
    },
)
GAMMA = Claim(
    name="A gradient norm of 750 beats 1 on CIFAR-10",
    text="With gamma = 750 in the gradient penalty the inception score of a run's best snapshot is "
    "higher than with gamma = 1.",
    where="section 6.3, table 3",
    artefact="table3",
    rows=("cifar10-gamma1", "cifar10"),
    quantities=(INCEPTION, EFFICIENTNET),
    side="above",
    effect="best",
)
CLAIMS: tuple[Claim, ...] = (
    *(GROWING_IS_BETTER, GROWING_IS_FASTER, SMALL_MINIBATCH, REVISED_PARAMETERS, DISCRIMINATION),
    *(STDDEV, STDDEV_NOT_DISCRIMINATION, EQUALIZED, PIXELNORM, CONVERGED, MSSSIM_IS_BLIND, GAMMA),
    *(
        claim
        for discriminator in ("K/4", "K/2")
        for before, column, subject in (
            ("wgan-gp", "norm", "Our normalisation"),
            ("norm", "stddev", "Minibatch stddev"),
        )
        for claim in _table4(discriminator, before=before, column=column, subject=subject)
    ),
)


def judge(
    results: pd.DataFrame, runs: pd.DataFrame, stats: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The ledger: one line per claim, data set, profile and resolution, columns as in COLUMNS.

    `results` and `runs` are those of `load_results` and `load_runs`; `stats` has the columns
    run_id, kimg, lod and train_sec, without which no claim about hours is judged.
    """
    keys = {quantity.key for claim in CLAIMS for quantity in claim.quantities}
    values = usable(results, keys)
    asked = [(claim, place) for claim in CLAIMS for place in _places(claim, runs)]
    places = {place for _, place in asked}
    followed = {place: place.of(values) for place in places}
    final = {place: of_place[of_place["last"]] for place, of_place in followed.items()}
    there = {place: place.of(runs) for place in places}
    lines = []
    for claim, place in asked:
        of_place = (final if claim.effect in ("last", "variation") else followed)[place]
        lines.append(ledger_line(claim, place, values=of_place, runs=there[place], stats=stats))
    return pd.DataFrame(lines, columns=COLUMNS, dtype=object)


def _places(claim: Claim, runs: pd.DataFrame) -> list[Place]:
    """Wherever the claim's artefact was run, in order; where to start if nowhere."""
    found: dict[tuple[str, str, int], Place] = {}
    for artefact in (FALLBACK.get(claim.artefact), claim.artefact):  # what comes later stays
        of_rows = runs[runs["artefact"] == artefact]
        if claim.artefact in FALLBACK:  # either artefact has rows that the claim is not about
            of_rows = of_rows[of_rows["row"].isin(claim.rows)]
        for line in of_rows[["dataset", "profile", "resolution"]].itertuples(index=False):
            name = (str(line[0]), str(line[1]), int(line[2]))
            found[name] = Place(str(artefact), *name)
    return [found[name] for name in sorted(found)] or [START[claim.artefact]]


def to_markdown(ledger: pd.DataFrame) -> str:
    """The ledger as a Markdown table, a line each; effects with their 95 % interval."""
    header = ["claim", "data set", "profile", "paper", "ours", "seeds", "verdict", "missing"]
    lines = [
        [
            f"{line['claim']} ({line['where']})",
            *(line["dataset"], line["profile"], _number(line["published"]), _ours(line)),
            *(line["seeds"] or "", line["verdict"], line["missing"] or ""),
        ]
        for line in ledger.to_dict("records")
    ]
    rows = [header, ["---"] * len(header), *([_escape(cell) for cell in line] for line in lines)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _ours(line: dict[Hashable, Any]) -> str:
    if line["low"] is None:
        return _number(line["ours"])
    return f"{_number(line['ours'])} ({_number(line['low'])} to {_number(line['high'])})"


def _number(value: float | str | None) -> str:
    return f"{value:+.4g}" if isinstance(value, float) else value or ""


def _escape(text: object) -> str:
    """Text without any meaning to Markdown or HTML: names of data sets are someone else's."""
    printable = "".join(char if char.isprintable() else " " for char in str(text))
    marked = re.sub(r"[\\`*_\[\]|~]", r"\\\g<0>", printable)
    return marked.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
