"""Names that others chose, made safe: as file names, and as text on one line."""

import re
from collections.abc import Iterable

_LONGEST = 120
_ARTEFACTS = {"celebahq": "CelebA-HQ", "lsun": "LSUN", "lsgan": "LSGAN", "fid": "FID"}
_TABLE4 = [
    f"K/{part} {row}" for part in (4, 2) for row in ("wgan-gp", "norm", "stddev", "progression")
]


def file_stem(*parts: object) -> str:
    """Parts joined by hyphens, with letters, digits, dots, plus and underscores only."""
    safe = re.sub(r"[^A-Za-z0-9._+]+", "-", "-".join(str(part) for part in parts))
    return safe.strip("-.")[:_LONGEST] or "unnamed"


def distinct(names: Iterable[str]) -> list[str]:
    """A safe file name without its ending for each of `names`, all different in any case."""
    stems: list[str] = []
    taken: set[str] = set()
    for name in names:
        stem, count = file_stem(name), 2
        while stem.lower() in taken:
            stem, count = f"{file_stem(name)}-{count}", count + 1
        stems.append(stem)
        taken.add(stem.lower())
    return stems


def one_line(text: object, *, longest: int | None = None) -> str:
    """Text without control and direction characters, cut where it is too long."""
    printable = "".join(char if char.isprintable() else " " for char in str(text))
    words = " ".join(printable.split())
    if longest is None or len(words) <= longest:
        return words
    return f"{words[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"


def artefact_name(artefact: str) -> str:
    """table1 -> Table 1, training_time -> Training time."""
    if numbered := re.fullmatch(r"(table|figure)([0-9]{1,3}[a-z]?)", artefact):
        return f"{numbered[1].capitalize()} {numbered[2]}"
    words = artefact.replace("_", " ") or "Other"
    return _ARTEFACTS.get(artefact, words[0].upper() + words[1:])


def row_order(row: str) -> tuple[int, str, bool]:
    """A key that sorts rows as the paper does: e* before e, table 4's as its columns add up."""
    place = _TABLE4.index(row) if row in _TABLE4 else -1
    return place, row.rstrip("*"), not row.endswith("*")
