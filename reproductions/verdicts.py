"""One line of the ledger: a claim in one data set and profile, the verdict, and what is missing."""

import math
import shlex
from collections import Counter
from itertools import chain, count, islice
from typing import NamedTuple

import pandas as pd

from pgbench.reproductions import figure4, table1, table3
from pgbench.reproductions.evidence import Claim, Evidence, gather
from pgbench.reproductions.paired import (
    MOST_SEEDS,
    Estimate,
    Verdict,
    estimate,
    more_seeds,
    shared_half_width,
    verdict,
)

COLUMNS = ["claim", "text", "where", "artefact", "rows", "dataset", "profile", "resolution"]
COLUMNS += ["published", "ours", "low", "high", "seeds", "verdict", "note", "runs", "missing"]
COLUMNS += ["command"]
PAPER_DATASET = {
    "portraits": "celeba",
    "scenes": "lsun-bedroom",
}  # what the built-in sets stand for
BY_NAME = {
    *PAPER_DATASET,
    "celeba",
    "celeba-hq",
    "cifar10",
    "mnist-rgb",
}  # and lsun-...: --data NAME
VERBS = {"table1": "ablation", "figure4": "figure4", "table3": "cifar10", "table4": "mnist-modes"}
SCALES = {"table1": table1.SCALES, "figure4": figure4.SCALES, "table3": table3.SCALES}
FEW_SEEDS = 3  # what a claim without any seed asks for


class Place(NamedTuple):
    """Where values may be compared, and whose runs they are of."""

    artefact: str
    dataset: str
    profile: str
    resolution: int | None

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The lines of results or runs that are of this place."""
        here = (frame["artefact"] == self.artefact) & (frame["dataset"] == self.dataset)
        here &= (frame["profile"] == self.profile) & (frame["resolution"] == self.resolution)
        return frame[here]


class _Gap(NamedTuple):
    """What is missing for a verdict, in words, and how many pairs of seeds to run for it."""

    words: str
    pairs: int


def ledger_line(
    claim: Claim,
    place: Place,
    *,
    values: pd.DataFrame,
    runs: pd.DataFrame,
    stats: pd.DataFrame | None,
) -> dict[str, object]:
    """A line with all COLUMNS, None where there is nothing to say.

    `values` are the `usable` ones of `place`, `runs` those of `load_runs` there.
    """
    evidence = gather(claim, values, stats)
    found = estimate(list(evidence.effects.values()), common=evidence.common)
    word = _verdict(claim, evidence, found, runs)
    gap = _gap(claim, evidence, found, word, runs)
    return {
        **{"claim": claim.name, "text": claim.text, "where": claim.where},
        **{"artefact": claim.artefact, "rows": claim.rows, "dataset": place.dataset},
        **{"profile": place.profile, "resolution": place.resolution},
        "published": _published(claim, place.dataset),
        **{"ours": _known(found.mean), "low": _known(found.low), "high": _known(found.high)},
        **{"seeds": found.count or None, "verdict": word, "runs": evidence.runs},
        "note": _note(claim, evidence, runs) if evidence.effects else None,
        "missing": gap.words if gap else None,
        "command": _command(claim, place, evidence, gap.pairs, runs) if gap else None,
    }


def _published(claim: Claim, dataset: str) -> float | str | None:
    return claim.published.get(PAPER_DATASET.get(dataset, dataset))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _verdict(claim: Claim, evidence: Evidence, found: Estimate, runs: pd.DataFrame) -> Verdict:
    done = set(runs.loc[runs["status"] == "done", "row"])
    if not set(claim.rows) <= done | set(evidence.present):
        return "not run"
    word = verdict(found, claim.side)
    only_bounded = evidence.bounded and word == "reproduced"
    return "inconclusive" if only_bounded else word


def _note(claim: Claim, evidence: Evidence, runs: pd.DataFrame) -> str:
    """What the effect is made of, and what weakens it."""
    means = ", ".join(f"{name}: {mean:.4g}" for name, mean in evidence.means.items())
    what = {"hours": "hours to the SWD that the first row reaches", "best": "best snapshot"}
    of = f"{what[claim.effect]}, " if claim.effect in what else ""
    told = [f"{claim.formula}; {of}{evidence.measured}; means {means}"]
    if evidence.bounded:
        never = f"{evidence.bounded} of {len(evidence.effects)} seeds"
        told.append(f"row {claim.rows[1]} never got there in {never}: all its hours count instead")
    if not evidence.stated:
        told.append("the metric's own standard error is not recorded and not in the interval")
    failed = runs[runs["row"].isin(claim.rows) & (runs["status"] == "failed")]
    counts = failed["row"].value_counts(sort=False).items()
    told += [f"not counted: {number} failed of row {row}" for row, number in counts]
    return "; ".join(told)


def _gap(
    claim: Claim, evidence: Evidence, found: Estimate, word: Verdict, runs: pd.DataFrame
) -> _Gap | None:
    if word in ("reproduced", "not reproduced"):
        return None
    pairs = max(FEW_SEEDS, *map(len, evidence.seeds.values()))
    if absent := [row for row in claim.rows if row not in evidence.present]:
        words = "; ".join(f"row {row}: {_status(runs, row)}" for row in absent)
        return _Gap(words, pairs if word == "not run" else 0)
    if not found.count:
        return _Gap("the rows have no seed in common", pairs)
    if found.count == 1:
        return _Gap("at least 2 more seeds: one seed has no scatter", FEW_SEEDS)
    return _more(claim, evidence, found)


def _status(runs: pd.DataFrame, row: str) -> str:
    """Why a row has no value, in words."""
    of_row = runs[runs["row"] == row]
    if of_row.empty:
        return "no run"
    if (of_row["status"] == "done").any():
        return "done, but not measured as the claim needs it"
    furthest = of_row.sort_values("kimg").iloc[-1]
    if furthest["status"] == "failed":
        return f"failed at {furthest['kimg']:g} kimg"
    return f"unfinished, {furthest['kimg']:g} of {furthest['total_kimg']:g} kimg"


def _more(claim: Claim, evidence: Evidence, found: Estimate) -> _Gap:
    """What would settle effects that have a mean and a scatter."""
    claimed = (found.mean < 0) == (claim.side == "below")
    if evidence.bounded and claimed:
        return _Gap(f"row {claim.rows[1]} trained until it gets there", 0)
    more = more_seeds(list(evidence.effects.values()), common=evidence.common)
    if more is not None:
        words = f"{more} more seed{'s' if more > 1 else ''} of each row"
        return _Gap(f"{words}, should mean and scatter stay as they are", found.count + more)
    if found.mean == 0:
        return _Gap("no number of seeds: the mean effect is 0", 0)
    if shared_half_width(evidence.common) >= abs(found.mean):
        return _Gap("no number of seeds, but more images: the metric's own error is too large", 0)
    return _Gap(f"more than {MOST_SEEDS} seeds, should mean and scatter stay as they are", 0)


def _command(
    claim: Claim, place: Place, evidence: Evidence, pairs: int, runs: pd.DataFrame
) -> str | None:
    """What makes the missing runs, or measures those that are there; None when nothing would."""
    wanted = _wanted(evidence, pairs, runs[runs["row"].isin(claim.rows)])
    commands = []
    for row in claim.rows:
        done = runs[(runs["row"] == row) & (runs["status"] == "done")]
        if len(done) and row not in evidence.present:
            measured = claim.effect == "hours"  # what lacks then are the times, lost for good
            commands += [["evaluate", f"results/{i}"] for i in done["run_id"] if not measured]
        elif lacking := wanted - evidence.seeds[row]:
            commands.append(_run(row, place, lacking, evidence.phase_kimg))
    return " && ".join(shlex.join(["pgbench", *words]) for words in commands) or None


def _wanted(evidence: Evidence, pairs: int, runs: pd.DataFrame) -> set[int]:
    """The seeds to have in all rows: first those that most rows have, none that failed."""
    failed = set(runs.loc[runs["status"] == "failed", "seed"])
    have = Counter(seed for seeds in evidence.seeds.values() for seed in seeds)
    new = (seed for seed in count() if seed not in failed and seed not in have)
    known = sorted(set(have) - failed, key=lambda seed: (-have[seed], seed))
    return set(islice(chain(known, new), pairs))


def _run(row: str, place: Place, seeds: set[int], phase_kimg: float | None) -> list[str]:
    named = place.dataset in BY_NAME or place.dataset.startswith("lsun-")
    data = place.dataset if named else f"stores/{place.dataset}"
    words = ["run", VERBS[place.artefact], "--row", row, "--data", data]
    words += ["--profile", place.profile, "--seeds", seed_range(seeds)]
    scale = SCALES.get(place.artefact, {}).get(place.profile)
    if scale is not None and phase_kimg not in (None, scale.phase_kimg):
        words += ["--phase-kimg", f"{phase_kimg:g}"]
    return words


def seed_range(seeds: set[int]) -> str:
    """Such as 0-2,5."""
    starts = sorted(seed for seed in seeds if seed - 1 not in seeds)
    ends = sorted(seed for seed in seeds if seed + 1 not in seeds)
    pairs = zip(starts, ends, strict=True)
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in pairs)
