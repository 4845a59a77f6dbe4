"""Sheets of images lie as they should."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pgbench.grids import save_picture, save_sheets

IMAGES = np.random.default_rng(0).integers(0, 255, (36, 3, 16, 16), np.uint8)


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        return np.asarray(picture)


def test_a_picture_is_its_pixels(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.png", IMAGES[3])
    assert np.array_equal(pixels(tmp_path / "a.png"), IMAGES[3].transpose(1, 2, 0))


def test_a_sheet_is_read_row_by_row_and_enlarged(tmp_path: Path) -> None:
    save_sheets(tmp_path / "a.png", IMAGES)
    sheet = pixels(tmp_path / "a.png")
    assert sheet.shape == (480, 480, 3)  # 6 x 16 pixels, enlarged 512 // 96 times
    cell = 16 * 5
    for number, image in enumerate(IMAGES):
        row, column = divmod(number, 6)
        shown = sheet[row * cell : (row + 1) * cell : 5, column * cell : (column + 1) * cell : 5]
        assert np.array_equal(shown, image.transpose(1, 2, 0))


def test_sheets_lie_side_by_side_on_white(tmp_path: Path) -> None:
    save_sheets(tmp_path / "a.png", IMAGES, IMAGES[::-1])
    sheet = pixels(tmp_path / "a.png")
    assert sheet.shape == (480, 480 + 8 + 480, 3)
    assert (sheet[:, 480:488] == 255).all()
    assert np.array_equal(sheet[0, 488], IMAGES[-1, :, 0, 0])


@pytest.mark.parametrize("count", [1, 2, 3, 10, 35])
def test_sheets_of_different_heights_fit(tmp_path: Path, count: int) -> None:
    save_sheets(tmp_path / "a.png", IMAGES, IMAGES[:count])
    sheet = pixels(tmp_path / "a.png")
    assert np.array_equal(sheet[0, 0], IMAGES[0, :, 0, 0])
    assert np.array_equal(sheet[0, 488], IMAGES[0, :, 0, 0])


def test_empty_cells_are_white(tmp_path: Path) -> None:
    save_sheets(tmp_path / "a.png", IMAGES[:3])
    assert (pixels(tmp_path / "a.png")[256:, 256:] == 255).all()
