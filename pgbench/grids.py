"""PNG sheets of images, to look at."""

import math
from pathlib import Path

import numpy as np
from PIL import Image

from pgbench.atomic import write_atomically
from pgbench.data import Images

_SHEET_PIXELS = 512  # small images are enlarged until a sheet is about this wide
_GAP = 8


def save_sheets(path: Path, *sheets: Images) -> None:
    """Write sets of NCHW uint8 images as square sheets, side by side on white, one PNG."""
    drawn = [sheet(images) for images in sheets]
    height = max(sheet.shape[0] for sheet in drawn)
    gap = np.full((height, _GAP, 3), 255, dtype=np.uint8)
    row = [part for sheet in drawn for part in (_padded(sheet, height), gap)][:-1]
    _save(path, np.hstack(row))


def _padded(sheet: Images, height: int) -> Images:
    return np.pad(sheet, ((0, height - len(sheet)), (0, 0), (0, 0)), constant_values=255)


def save_picture(path: Path, image: Images) -> None:
    """Write one CHW uint8 image as PNG."""
    _save(path, image.transpose(1, 2, 0))


def _save(path: Path, pixels: Images) -> None:
    write_atomically(path, lambda file: Image.fromarray(pixels).save(file, format="PNG"))


def sheet(images: Images) -> Images:
    """NCHW -> one HWC picture, as nearly square as the count allows."""
    count, channels, height, width = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    cells = np.full((rows * columns, channels, height, width), 255, dtype=np.uint8)
    cells[:count] = images
    grid = cells.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    joined = grid.reshape(rows * height, columns * width, channels)
    factor = max(1, _SHEET_PIXELS // (columns * width))
    return joined.repeat(factor, axis=0).repeat(factor, axis=1)
