"""Is this machine ready? Versions, devices, data, weights, caches, space and runs, looked at only.

Nothing is downloaded, trained or changed. Whatever is broken becomes a finding, never a traceback.

`pgbench doctor --json` prints `to_json`: `schema` 1, `state` (the worst of all), `counts` of the
three states, and `checks`, each with `section`, `name`, `state`, `text`, `cure` (a sentence, or
null) and `facts` (numbers and paths, by check). Sections and names stay; texts may change.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pgbench import doctor_machine, doctor_places, doctor_software
from pgbench.finding import Finding, State

STATES: tuple[State, ...] = ("ok", "warning", "problem")


def examine(folder: Path) -> list[Finding]:
    """Every finding on this machine, with `folder` as the current one."""
    checks: list[tuple[str, str, Callable[[], Iterable[Finding]]]] = [
        ("software", "python", doctor_software.python),
        ("software", "packages", doctor_software.packages),
        ("software", "extras", doctor_software.extras),
        ("software", "command", doctor_software.command),
        ("machine", "threads", doctor_machine.threads),
        ("machine", "cuda", doctor_machine.cuda),
        ("machine", "compiler", doctor_machine.compiler),
        ("data", "stores", doctor_places.stores),
        ("data", "inception", doctor_places.inception),
        ("data", "offline", doctor_places.offline),
        ("places", "cache", doctor_places.cache),
        ("places", "folder", lambda: doctor_places.current(folder)),
        ("runs", "results", lambda: _runs(folder)),
    ]
    return [found for section, name, look in checks for found in _guarded(section, name, look)]


def _runs(folder: Path) -> Iterable[Finding]:
    from pgbench.doctor_runs import runs  # imports what may be broken

    return runs(folder / "results")


def _guarded(section: str, name: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    try:
        return list(look())
    except Exception as error:  # a broken package may raise anything when it is imported
        text = f"could not be examined ({type(error).__name__}: {error})"
        cure = "Repair what the message names; pip install --force-reinstall mends a package."
        return [Finding(section, name, "problem", text, cure)]


def worst(findings: Sequence[Finding]) -> State:
    """The state of the whole machine."""
    return max((found.state for found in findings), key=STATES.index, default="ok")


def to_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """The object of `--json`."""
    counts = Counter(found.state for found in findings)
    return {
        "schema": 1,
        "state": worst(findings),
        "counts": {state: counts[state] for state in STATES},
        "checks": [vars(found) | {"cure": found.cure or None} for found in findings],
    }
