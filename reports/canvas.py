"""Sheets of labelled images, and files no larger than a page should load."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

MOST_BYTES = 200_000
GAP, LINE = 10, 20  # pixels: between panels, of a label
FONT_SIZE, SMALLEST_FONT = 13, 9
QUALITY, COARSE, FINE = 85, 75, 92  # of a JPEG: the first is tried, then one of the others


@dataclass(frozen=True)
class Labelled:
    """Images that stand together under one label."""

    label: str
    images: Sequence[Image.Image]


def shown_edge(resolution: int, *, wanted: int) -> int:
    """Pixels of an image on a sheet: a multiple of its own, at least `wanted`, or `wanted`."""
    return resolution * math.ceil(wanted / resolution) if resolution < wanted else wanted


def labelled_sheet(
    panels: Sequence[Labelled], *, across: int, panels_across: int, edge: int
) -> Image.Image:
    """Panels row by row on white, their images `across` in a line, `edge` pixels each."""
    down = max(math.ceil(len(panel.images) / across) for panel in panels)
    width, height = across * edge, LINE + down * edge
    columns = min(len(panels), panels_across)
    lines = math.ceil(len(panels) / panels_across)
    size = (columns * (width + GAP) - GAP, lines * (height + GAP) - GAP)
    sheet = Image.new("RGB", size, "white")
    for number, panel in enumerate(panels):
        x = (number % panels_across) * (width + GAP)
        y = (number // panels_across) * (height + GAP)
        _write(sheet, (x, y), panel.label, room=width)
        for place, image in enumerate(panel.images):
            cell = (x + place % across * edge, y + LINE + place // across * edge)
            sheet.paste(_resized(image, edge), cell)
    return sheet


def titled(picture: Image.Image, labels: Sequence[tuple[int, str]]) -> Image.Image:
    """The picture under a line of labels, each from its x on."""
    sheet = Image.new("RGB", (picture.width, picture.height + LINE), "white")
    sheet.paste(picture, (0, LINE))
    for (x, label), (following, _) in zip(labels, [*labels[1:], (picture.width, "")], strict=True):
        _write(sheet, (x, 0), label, room=following - x)
    return sheet


def small(picture: Image.Image) -> bytes:
    """A PNG, or a JPEG where a PNG had more than MOST_BYTES."""
    content = _encoded(picture, format="PNG")
    return content if len(content) <= MOST_BYTES else small_jpeg(picture)


def small_jpeg(picture: Image.Image) -> bytes:
    """A JPEG of at most MOST_BYTES: as fine as can be, smaller where it must be."""
    content = _encoded(picture, format="JPEG", quality=QUALITY)
    fits = len(content) <= MOST_BYTES
    other = _encoded(picture, format="JPEG", quality=FINE if fits else COARSE)
    if len(other) <= MOST_BYTES:
        return other
    half = (max(1, picture.width // 2), max(1, picture.height // 2))
    return content if fits else small_jpeg(picture.resize(half))


def _write(sheet: Image.Image, place: tuple[int, int], text: str, *, room: int) -> None:
    """Text in one line, in smaller letters and then cut to the width there is."""
    fonts = [ImageFont.load_default(size) for size in range(FONT_SIZE, SMALLEST_FONT - 1, -1)]
    font = next((font for font in fonts if font.getlength(text) <= room), fonts[-1])
    while text and font.getlength(text) > room:
        text = text[:-1]
    middle = (place[0], place[1] + LINE // 2)
    ImageDraw.Draw(sheet).text(middle, text, fill="black", font=font, anchor="lm")


def _resized(image: Image.Image, edge: int) -> Image.Image:
    larger = edge >= image.width
    how = Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS
    return image.resize((edge, edge), how)


def _encoded(picture: Image.Image, **how: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, **how)
    return file.getvalue()
