"""The sample grids of a run, read as single images: 36 fakes of the seeds 0 to 35, then reals.

A grid is a PNG of two square sheets side by side, fakes left: 6x6 cells, enlarged alike, a white
gap between the sheets.
"""

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pgbench.reports.canvas import MOST_BYTES, small_jpeg

SIDE = 6  # cells along a sheet
GAP = 8
SHEET_PIXELS = 512  # small images are enlarged until a sheet is about this wide
MOST_PIXELS = 80_000_000  # before anything is decoded; a grid of 1024x1024 images has 75.5 million
_SIZE = struct.Struct(">16xII")  # where a PNG says how large it is
_NAME = re.compile(r"fakes-reals-(\d{6,}\.\d)\.png")


@dataclass(frozen=True)
class Grid:
    """One grid of a run, decoded; images come at the resolution of the data."""

    picture: Image.Image
    resolution: int

    @property
    def edge(self) -> int:
        """Pixels of a cell."""
        return self.resolution * max(1, SHEET_PIXELS // (SIDE * self.resolution))

    @property
    def has_reals(self) -> bool:
        """Whether there are reals in such cells, too: of few of them a sheet has another width."""
        return self.picture.width == 2 * SIDE * self.edge + GAP

    def fake(self, row: int, column: int) -> Image.Image:
        """G_ema's image of seed 6 `row` + `column`."""
        return self._cell(column * self.edge, row * self.edge)

    def real(self, row: int, column: int) -> Image.Image:
        """The image of the data set at that place, where the grid `has_reals`."""
        return self._cell((SIDE + column) * self.edge + GAP, row * self.edge)

    def _cell(self, x: int, y: int) -> Image.Image:
        enlarged = self.picture.crop((x, y, x + self.edge, y + self.edge))
        return enlarged.resize((self.resolution,) * 2, Image.Resampling.NEAREST)


def grid_paths(samples: Path) -> list[tuple[float, Path]]:
    """(kimg, path) of every grid in a run's samples, by the clock."""
    try:
        names = os.listdir(samples)  # of hundreds of runs: quicker than Path.glob
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = sorted((float(match[1]), match[0]) for match in map(_NAME.fullmatch, names) if match)
    return [(kimg, samples / name) for kimg, name in found]


def read_grid(path: Path, resolution: int) -> Grid:
    """The grid at `path`; ValueError when it is damaged or no grid of images of `resolution`."""
    grid = Grid(read_png(path), resolution)
    if min(grid.picture.width - GAP, grid.picture.height) < SIDE * grid.edge:
        size = f"{grid.picture.width}x{grid.picture.height}"
        raise ValueError(f"{path} is of {size} pixels: no grid of {resolution}x{resolution} images")
    return grid


def read_png(path: Path) -> Image.Image:
    """An RGB picture; ValueError when the file is no sound PNG of a sensible size."""
    try:
        with path.open("rb") as file:
            width, height = _SIZE.unpack(file.read(_SIZE.size))
            if width * height > MOST_PIXELS:
                raise ValueError(f"it has {width}x{height} pixels")
            with Image.open(file, formats=["PNG"]) as picture:
                picture.load()
                return picture if picture.mode == "RGB" else picture.convert("RGB")
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise ValueError(f"{path} is no picture ({error or type(error).__name__})") from error


def shown(path: Path) -> bytes:
    """The PNG at `path` where it is small, else a JPEG of it."""
    picture = read_png(path)
    return path.read_bytes() if path.stat().st_size <= MOST_BYTES else small_jpeg(picture)
