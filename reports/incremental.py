"""Pages written only when what they are made of has changed.

`.site.json` keeps, for every page, a hash of its inputs and one of its bytes; a page that someone
edited, or that a full disk cut short, is written again.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment
from pandas import DataFrame

from pgbench.reports.curves import Curve

MANIFEST = ".site.json"
OURS = re.compile(r"(artefacts|runs|pictures)/[A-Za-z0-9_+][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class Page:
    """A file of the report: its name, its template and everything the template is given."""

    name: str
    template: str
    inputs: Mapping[str, object]


def write_pages(
    out: Path, pages: Sequence[Page], *, others: Sequence[str], templates: Environment
) -> None:
    """Write what changed, and remove pages and pictures of an earlier report that has them alone.

    `others` names the files of this report that are no pages.
    """
    known = _read_manifest(out)
    made: dict[str, list[str]] = {name: [] for name in others}
    program = _program()
    for page in pages:
        key = _digest([program, page.template, page.inputs])
        path = out / page.name
        if known.get(page.name) != [key, _bytes_digest(path)]:
            text = templates.get_template(page.template).render(page.inputs)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        made[page.name] = [key, _bytes_digest(path)]
    for name in known.keys() - made.keys():
        if OURS.fullmatch(name):
            (out / name).unlink(missing_ok=True)
    text = json.dumps(made, indent=0, sort_keys=True) + "\n"
    (out / MANIFEST).write_text(text, encoding="utf-8")


def _read_manifest(out: Path) -> dict[str, list[str]]:
    """What the last report left; nothing when it is not readable."""
    try:
        known = json.loads((out / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _program() -> str:
    """A hash of the sources that make pages: another version of them makes other pages."""
    here = Path(__file__).parent
    sources = sorted([*here.glob("*.py"), *here.glob("templates/*"), *here.glob("static/*")])
    return _digest([_bytes_digest(path) for path in sources if path.is_file()])


def _bytes_digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    except FileNotFoundError:
        return ""


def _digest(inputs: object) -> str:
    text = json.dumps(inputs, default=_plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(value: object) -> object:
    """What JSON has no form for; the numbers of a curve as bytes, which is quicker."""
    if isinstance(value, Curve):
        numbers = [v for v in (value.x, value.y, value.low, value.high) if v is not None]
        hashed = [hashlib.sha256(np.asarray(v, float).tobytes()).hexdigest() for v in numbers]
        return [value.name, value.dashed, value.low is None, value.high is None, *hashed]
    if dataclasses.is_dataclass(value):
        return [v for v in vars(value).values() if not isinstance(v, DataFrame)]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return value.name  # where it lies on this machine is on no page
    return str(value)
