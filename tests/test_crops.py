"""Crops of section 3 and LSUN, on pictures whose pixels say where they are."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pgbench.crops import Fit, celeba_crop, centre_square, check_side, resized

Pixels = NDArray[np.uint8]


def placed(height: int, width: int) -> Pixels:
    """Red is the row, green the column, both counted from 0; blue is 7."""
    image = np.full((3, height, width), 7, np.uint8)
    image[0], image[1] = np.arange(height)[:, None], np.arange(width)[None]
    return image


def noise(side: int) -> Pixels:
    return np.random.default_rng(side).integers(0, 256, (3, side, side), np.uint8)


class TestCelebA:
    def test_rows_57_to_184_and_columns_25_to_152(self) -> None:
        crop = celeba_crop(placed(218, 178))
        assert crop.shape == (3, 128, 128)
        assert crop[:, 0, 0].tolist() == [57, 25, 7]
        assert crop[:, 127, 127].tolist() == [184, 152, 7]

    def test_the_centre_pixel_is_x_89_y_121(self) -> None:
        image = np.zeros((3, 218, 178), np.uint8)
        image[:, 121, 89] = 255
        assert np.argwhere(celeba_crop(image)[0]).tolist() == [[64, 64]]

    @pytest.mark.parametrize(
        ("height", "width"), [(178, 218), (218, 177), (128, 128), (1024, 1024)]
    )
    def test_another_size_is_named(self, height: int, width: int) -> None:
        with pytest.raises(ValueError, match=f"a picture of {width}x{height} pixels is no aligned"):
            celeba_crop(np.zeros((3, height, width), np.uint8))


class TestCentreSquare:
    @pytest.mark.parametrize(
        ("height", "width", "top", "left"),
        [(4, 10, 0, 3), (10, 4, 3, 0), (4, 9, 0, 2), (9, 4, 2, 0), (5, 5, 0, 0), (1, 8, 0, 3)],
    )
    def test_is_in_the_middle(self, height: int, width: int, top: int, left: int) -> None:
        square = centre_square(placed(height, width))
        side = min(height, width)
        assert square.shape == (3, side, side)
        assert square[:, 0, 0].tolist() == [top, left, 7]
        assert square[:, -1, -1].tolist() == [top + side - 1, left + side - 1, 7]


class TestResized:
    def test_box_is_the_mean_of_blocks_rounded_once(self) -> None:
        image = np.zeros((3, 4, 4), np.uint8)
        image[0, 0, 0] = 255  # a mean of 63.75
        image[1, 2:, :2] = [[9, 9], [9, 10]]  # 9.25; by rows, then columns, it would be 9 and 10
        box = resized(image, 2, method="box")
        assert box.tolist() == [[[64, 0], [0, 0]], [[0, 0], [9, 0]], [[0, 0], [0, 0]]]

    @pytest.mark.parametrize("block", [2, 3, 5])
    def test_box_on_noise(self, block: int) -> None:
        image = noise(4 * block)
        expected = [
            [
                [
                    round(float(np.mean(channel[y : y + block, x : x + block].astype(np.float64))))
                    for x in range(0, 4 * block, block)
                ]
                for y in range(0, 4 * block, block)
            ]
            for channel in image
        ]
        assert resized(image, 4, method="box").tolist() == expected

    def test_lanczos_is_pillows(self) -> None:
        image = noise(37)
        picture = Image.fromarray(image.transpose(1, 2, 0))
        expected = np.asarray(picture.resize((16, 16), Image.Resampling.LANCZOS))
        assert np.array_equal(resized(image, 16), expected.transpose(2, 0, 1))

    def test_lanczos_is_antialiased(self) -> None:
        image = np.zeros((3, 64, 64), np.uint8)
        image[:, ::2, ::2] = 255  # too fine for 8x8: a quarter of 255 everywhere
        assert np.abs(resized(image, 8).astype(float) - 63.75).max() < 16

    @pytest.mark.parametrize("method", ["lanczos", "box"])
    def test_the_same_size_changes_nothing(self, method: str) -> None:
        image = noise(16)
        assert np.array_equal(resized(image, 16, method=method), image)  # type: ignore[arg-type]

    @pytest.mark.parametrize("method", ["lanczos", "box"])
    def test_a_flat_picture_stays_flat(self, method: str) -> None:
        image = np.full((3, 24, 24), 201, np.uint8)
        assert (resized(image, 8, method=method) == 201).all()  # type: ignore[arg-type]

    def test_a_small_picture_is_refused_unless_allowed(self) -> None:
        with pytest.raises(ValueError, match="a picture of 8x8 pixels is too small for 16x16"):
            resized(noise(8), 16)
        assert resized(noise(8), 16, allow_upscale=True).shape == (3, 16, 16)

    @pytest.mark.parametrize(("side", "resolution"), [(12, 8), (4, 8)])
    def test_box_takes_whole_blocks_alone(self, side: int, resolution: int) -> None:
        with pytest.raises(ValueError, match="is no whole multiple of 8x8"):
            resized(noise(side), resolution, method="box", allow_upscale=True)

    def test_a_picture_that_is_no_square_would_be_distorted(self) -> None:
        with pytest.raises(ValueError, match="a picture of 20x16 pixels would be distorted"):
            resized(placed(16, 20), 8)

    def test_the_shorter_side_counts(self) -> None:
        check_side(placed(16, 30), 16, allow_upscale=False)
        with pytest.raises(ValueError, match="30x15 pixels is too small"):
            check_side(placed(15, 30), 16, allow_upscale=False)


class TestFit:
    def test_crops_before_it_scales(self) -> None:
        image = np.zeros((3, 8, 16), np.uint8)
        image[:, :, 4:12] = 90
        assert (Fit(4, "centre", "lanczos")(image) == 90).all()

    def test_without_resizing_the_size_must_fit(self) -> None:
        assert Fit(8, "centre")(placed(8, 12)).shape == (3, 8, 8)
        with pytest.raises(ValueError, match="a picture of 12x8 pixels does not fit"):
            Fit(8)(placed(8, 12))

    @pytest.mark.parametrize(
        ("fit", "words"),
        [
            (Fit(8), "none"),
            (Fit(8, "centre"), "centre square"),
            (Fit(8, resize="box"), "box to 8x8"),
            (Fit(256, "centre", "lanczos"), "centre square, lanczos to 256x256"),
        ],
    )
    def test_says_what_it_does(self, fit: Fit, words: str) -> None:
        assert str(fit) == words
