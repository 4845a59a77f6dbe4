"""CelebA, aligned and cropped as in section 3, and CelebA-HQ as finished pictures (section 6)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pgbench.crops import CELEBA_SIDE, celeba_crop
from pgbench.metrics.messages import reason, shown
from pgbench.pictures_folder import (
    PictureFiles,
    ReadFitted,
    count_note,
    first_of,
    open_folder,
    source_of,
)
from pgbench.prepare import Pictures, StoreDraft

_CELEBA_IMAGES = 202_599
_CELEBA_HQ_IMAGES = 30_000
_FOLDER = "img_align_celeba"
_ATTRIBUTES = "list_attr_celeba.txt"
_NUM_ATTRIBUTES = 40


def open_celeba(path: Path, *, max_images: int | None = None) -> Pictures:
    """The aligned pictures, 128x128; attributes (N, 40) int8 of -1 and 1 where their list is."""
    inside = path / _FOLDER
    place = inside if inside.is_dir() else path
    files = PictureFiles.open(place)
    read = ReadFitted(files, celeba_crop)
    read(0)  # early, should it not be CelebA
    count = first_of(len(files), max_images)
    kinds = sorted({Path(name).suffix.lower().lstrip(".") for name in files.names[:count]})
    draft = StoreDraft(
        name="celeba",
        source=f"CelebA, {source_of(place)} of {' and '.join(kinds)} files",
        crop="128x128 centred at x 89, y 121 of the aligned 178x218",
        resolution=CELEBA_SIDE,
        num_images=count,
        mirror=True,
    )
    attributes = _attributes(place, files.names[:count])
    return Pictures(draft, read, labels=attributes, note=count_note(count, _CELEBA_IMAGES))


def open_celeba_hq(path: Path, *, max_images: int | None = None) -> Pictures:
    """Finished CelebA-HQ pictures of 1024x1024."""
    pictures = open_folder(
        path, name="celeba-hq", resolution=1024, max_images=max_images, mirror=True
    )
    draft = replace(pictures.draft, source=f"CelebA-HQ, {pictures.draft.source}")
    note = count_note(draft.num_images, _CELEBA_HQ_IMAGES)
    return replace(pictures, draft=draft, note=note)


def _attributes(place: Path, names: tuple[str, ...]) -> NDArray[np.int8] | None:
    """The attributes of the files, told by their names without suffix; None without a list."""
    whole = place.resolve()
    beside = [folder / _ATTRIBUTES for folder in (whole, whole.parent, whole.parent.parent)]
    file = next(filter(Path.is_file, beside), None)
    if file is None:
        return None
    rows = _read_attributes(file)
    attributes = np.empty((len(names), _NUM_ATTRIBUTES), np.int8)
    for i, name in enumerate(names):
        row = rows.get(Path(name).stem)
        if row is None:
            raise ValueError(f"{shown(file)} does not name {shown(name)}; download it again")
        attributes[i] = row
    return attributes


def _read_attributes(file: Path) -> dict[str, NDArray[np.int8]]:
    """File name without suffix -> (40,) int8."""
    try:
        count, names, *lines = file.read_text(encoding="ascii").splitlines()
        if int(count) != len(lines) or len(names.split()) != _NUM_ATTRIBUTES:
            raise ValueError(f"not {_NUM_ATTRIBUTES} names and then {count} lines")
        rows = dict(map(_attribute_row, lines))
        if len(rows) != len(lines):
            raise ValueError("a file is named twice")
    except ValueError as error:
        raise ValueError(
            f"{shown(file)} is no list of CelebA's attributes ({reason(error)}); download it again"
        ) from error
    return rows


def _attribute_row(line: str) -> tuple[str, NDArray[np.int8]]:
    name, *values = line.split() or [""]
    if len(values) != _NUM_ATTRIBUTES or not set(values) <= {"1", "-1"}:
        raise ValueError(f"{name!r} has no {_NUM_ATTRIBUTES} values of -1 or 1")
    return Path(name).stem, np.array(values, dtype=np.int8)
