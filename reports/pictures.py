"""Pictures and static files of a report, copied beside its pages."""

import filecmp
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pgbench.reports.pages import distinct

STATIC = Path(__file__).parent / "static"
IMAGES = {".png", ".jpg", ".jpeg", ".gif", ".webp"}
FILMS = {".mp4", ".webm"}


@dataclass(frozen=True)
class Picture:
    """An image or film of an artefact or, with `run_id`, of a run; `alt` says what it shows."""

    stem: str
    alt: str
    caption: str
    path: Path
    artefact: str = ""
    run_id: str | None = None


@dataclass(frozen=True)
class Shown:
    """A picture as pages show it: `name` in pictures/, "image" or "film"; "" is unreadable."""

    picture: Picture
    name: str
    kind: str
    width: int = 0
    height: int = 0


def copy_pictures(out: Path, pictures: Sequence[Picture]) -> list[Shown]:
    """Copy what is new or changed into `out`/pictures."""
    stems = distinct(picture.stem for picture in pictures)
    return [_copy_picture(out, *both) for both in zip(pictures, stems, strict=True)]


def copy_static(out: Path) -> list[str]:
    """Copy the style sheet and the script; returns their names."""
    sources = sorted(path for path in STATIC.iterdir() if path.suffix in {".css", ".js"})
    for path in sources:
        _copy(path, out / "static" / path.name)
    return [f"static/{path.name}" for path in sources]


def _copy_picture(out: Path, picture: Picture, stem: str) -> Shown:
    suffix = picture.path.suffix.lower()
    shown = Shown(picture, f"{stem}{suffix}", "")
    if suffix in FILMS and picture.path.is_file():
        shown = Shown(picture, shown.name, "film")
    elif suffix in IMAGES:
        shown = _measured(shown)
    if shown.kind:
        _copy(picture.path, out / "pictures" / shown.name)
    return shown


def _measured(shown: Shown) -> Shown:
    """With width and height, so that the page keeps its place while images load."""
    try:
        with warnings.catch_warnings(action="error"), Image.open(shown.picture.path) as image:
            return Shown(shown.picture, shown.name, "image", *image.size)
    except (OSError, ValueError, Image.DecompressionBombError, Warning):
        return shown


def _copy(source: Path, target: Path) -> None:
    """Keep the times, by which an unchanged file is recognised without reading it."""
    if target.is_file() and filecmp.cmp(source, target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
