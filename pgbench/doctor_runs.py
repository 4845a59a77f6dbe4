"""The doctor on the runs in a folder: which go on, which broke off. It locks nothing."""

import os
import re
import socket
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pgbench.finding import Finding
from pgbench.results import RunFolder

_NAMED = 5  # of each kind
_CURES = {
    "interrupted": "Give the same command again; it goes on from the last saved state.",
    "failed": "Read its log.txt; the same command tries again from the last good state.",
    "damaged": "Move it away, or remove the file that is named; then give the command again.",
}


def runs(results: Path) -> Iterator[Finding]:
    """How the runs under `results` stand."""
    found: dict[str, list[str]] = defaultdict(list)
    for folder in _run_folders(results):
        state, name = _state(RunFolder(folder))
        found[state].append(name)
    counts = {state: len(names) for state, names in sorted(found.items())}
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    text = f"{results}: {told}" if told else f"no runs under {results}"
    yield Finding("runs", "results", "ok", text, facts={"path": str(results), "counts": {**counts}})
    for state, cure in _CURES.items():
        if names := found[state]:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            text = f"{', '.join(names[:_NAMED])}{more}"
            yield Finding("runs", state, "warning", text, cure, {"runs": [*names]})


def _run_folders(results: Path) -> list[Path]:
    if not results.is_dir():
        return []
    places = [*results.glob("*/config.json"), *results.glob("*/*/config.json")]
    return sorted(place.parent for place in places)


def _state(folder: RunFolder) -> tuple[str, str]:
    """The state of a run, and its name with what is known besides."""
    try:
        status = folder.read_status()
    except (ValueError, OSError) as error:
        return "damaged", f"{folder.run_id} ({error})"
    if status is None:
        return "interrupted", folder.run_id
    name = f"{folder.run_id} at {status.kimg:g} of {status.total_kimg:g} kimg"
    if status.status == "failed":
        return "failed", f"{name} ({status.error})"
    if status.status == "running":
        return ("running" if _is_held(folder.path) else "interrupted"), name
    return status.status, name


def _is_held(folder: Path) -> bool:
    """Whether the process that holds the lock lives; one on another machine is believed."""
    try:
        owner = re.fullmatch(r"pid (\d{1,9}) on (.+)", (folder / ".lock-owner").read_text())
    except (OSError, UnicodeDecodeError):
        return False
    if owner is None:
        return False
    if owner[2] != socket.gethostname():
        return True
    try:
        os.kill(int(owner[1]), 0)
    except PermissionError:
        return True  # another user's
    except (OSError, OverflowError):
        return False
    return True
