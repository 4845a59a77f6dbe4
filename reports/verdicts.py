"""What a check found, as JSON, as JUnit XML and as Markdown.

Names and protocols come from files: whatever they hold, the output stays well-formed and printable.
"""

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pgbench.reports.check import Outcome, Verdict
from pgbench.reports.markdown import escape, table
from pgbench.reports.names import one_line

WORDS: dict[Verdict, str] = {
    "passed": "passed",
    "moved": "left the band",
    "incomparable": "measured otherwise",
    "missing": "missing",
    "new": "new",
}


def closing(outcomes: Sequence[Outcome], *, exact: bool) -> str:
    """One line with all counts, and what the bands were."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    told = ", ".join(f"{counts[verdict]} {words}" for verdict, words in WORDS.items())
    how = "bands are floors (exact)" if exact else "bands are standard errors or floors"
    return f"{len(outcomes)} values: {told}; {how}."


def title(outcome: Outcome) -> str:
    """Metric, key, and what they are of."""
    known = outcome.known
    return one_line(f"{known.metric} {known.key} ({known.place})")


def number(value: float | None) -> str:
    """Seven digits, or a dash."""
    return "-" if value is None else f"{value:.7g}"


def to_json(outcomes: Sequence[Outcome], problems: Sequence[str], *, exact: bool) -> dict[str, Any]:
    """One object: whether all passed, the counts, and every value with its verdict."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    return {
        "schema": 1,
        "passed": not any(outcome.failed for outcome in outcomes),
        "exact": exact,
        "counts": {verdict: counts[verdict] for verdict in WORDS},
        "problems": list(problems),
        "values": [_plain(outcome) for outcome in outcomes],
    }


def _plain(outcome: Outcome) -> dict[str, Any]:
    before, now = (
        None if each is None else {"value": each.value, "stderr": each.stderr}
        for each in (outcome.before, outcome.now)
    )
    return {
        "of": outcome.known.of,
        "metric": outcome.known.metric,
        "key": outcome.known.key,
        "verdict": outcome.verdict,
        "baseline": before,
        "measured": now,
        "band": outcome.band,
        "why": outcome.why or None,
        "differing": {
            name: {"baseline": then, "measured": today}
            for name, (then, today) in outcome.differing.items()
        },
    }


def to_junit(outcomes: Sequence[Outcome]) -> str:
    """JUnit XML: a case per value; new ones are skipped cases, since nothing was tested."""
    counts = {"failures": sum(outcome.failed for outcome in outcomes), "errors": 0}
    counts |= {"skipped": sum(outcome.verdict == "new" for outcome in outcomes)}
    totals = {"name": "pgbench check", "tests": str(len(outcomes))}
    totals |= {name: str(count) for name, count in counts.items()}
    root = ET.Element("testsuites", totals)
    suite = ET.SubElement(root, "testsuite", totals)
    for outcome in outcomes:
        _add_case(suite, outcome)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _add_case(suite: ET.Element, outcome: Outcome) -> None:
    known = outcome.known
    names = {"classname": known.place, "name": f"{known.metric} {known.key}"}
    case = ET.SubElement(suite, "testcase", {key: one_line(name) for key, name in names.items()})
    why = one_line(outcome.why)
    if outcome.verdict == "new":
        ET.SubElement(case, "skipped", {"message": why})
    elif outcome.failed:
        failure = ET.SubElement(case, "failure", {"type": outcome.verdict, "message": why})
        failure.text = _numbers(outcome)


def _numbers(outcome: Outcome) -> str:
    pairs = [("baseline", outcome.before), ("measured", outcome.now)]
    lines = [f"{name}: {each.value!r} +- {each.stderr!r}" for name, each in pairs if each]
    if outcome.band is not None:
        lines.append(f"band: {outcome.band!r}")
    lines += [f"{name}: {then} -> {now}" for name, (then, now) in outcome.differing.items()]
    return "\n".join(map(one_line, lines))


def to_markdown(outcomes: Sequence[Outcome], *, exact: bool) -> str:
    """A section with what failed or is new, and the counts."""
    failed = any(outcome.failed for outcome in outcomes)
    heading = f"## pgbench check: {'failed' if failed else 'passed'}\n"
    told = [outcome for outcome in outcomes if outcome.verdict != "passed"]
    parts = [heading, closing(outcomes, exact=exact) + "\n"]
    if told:
        header = ["value", "verdict", "why", "baseline", "measured", "band"]
        parts.append(table(header, [_cells(outcome) for outcome in told], left=3))
    return "\n".join(parts)


def _cells(outcome: Outcome) -> list[str]:
    values = [None if each is None else each.value for each in (outcome.before, outcome.now)]
    numbers = [number(value) for value in (*values, outcome.band)]
    return [escape(title(outcome)), WORDS[outcome.verdict], escape(outcome.why), *numbers]
