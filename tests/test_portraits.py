"""Painted faces: repeatable, aligned, varied, the same at every resolution."""

import dataclasses
import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pgbench import portraits
from pgbench.portraits import Factors, draw, factors, render


def reduced(image: NDArray[np.uint8], times: int) -> NDArray[np.float64]:
    """Means of times x times blocks, unrounded."""
    side = image.shape[-1] // times
    blocks = image.astype(np.float64).reshape(3, side, times, side, times)
    return np.asarray(blocks.mean(axis=(2, 4)))


def plain(**changes: Any) -> Factors:
    """A face that looks straight ahead, its eyes uncovered."""
    chosen: dict[str, Any] = {
        "hair_style": "short", "facial_hair": "none", "glasses": "none", "eye_colour": "brown",
        "earrings": "none", "yaw": 0.0, "roll": 0.0, "shift_x": 0.0, "shift_y": 0.0, "scale": 1.0,
        "gaze_x": 0.0, "gaze_y": 0.0,
    }  # fmt: skip
    return dataclasses.replace(factors(0, 0), **chosen | changes)


def changed(first: Factors, second: Factors) -> NDArray[np.float64]:
    """How much each pixel differs between two faces at 128x128, (128, 128)."""
    a, b = (draw(face, resolution=128).astype(np.float64) for face in (first, second))
    return np.asarray(np.abs(a - b).sum(axis=0))


def centroid(weights: NDArray[np.float64]) -> tuple[float, float]:
    """Centre of mass as fractions of the width and height."""
    axis = (np.arange(len(weights)) + 0.5) / len(weights)
    total = weights.sum()
    return float(weights.sum(axis=0) @ axis / total), float(weights.sum(axis=1) @ axis / total)


def iris_centres(face: Factors) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the left and right irises are: the pixels that change with the eye colour."""
    change = changed(face, dataclasses.replace(face, eye_colour="blue"))
    left, right = change.copy(), change.copy()
    left[:, 64:] = right[:, :64] = 0
    return centroid(left), centroid(right)


@pytest.mark.parametrize("resolution", portraits.RESOLUTIONS)
def test_shape_and_type(resolution: int) -> None:
    image = render(0, 0, resolution=resolution)
    assert image.shape == (3, resolution, resolution)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous


def test_same_image_in_any_order() -> None:
    forwards = [render(3, index, resolution=16) for index in range(8)]
    render(4, 0, resolution=32)
    backwards = [render(3, index, resolution=16) for index in reversed(range(8))]
    np.testing.assert_array_equal(forwards, backwards[::-1])


def test_render_draws_the_factors() -> None:
    np.testing.assert_array_equal(render(1, 2, resolution=32), draw(factors(1, 2), resolution=32))


def test_pixels_do_not_depend_on_the_process() -> None:
    program = (
        "import hashlib, sys; from pgbench.portraits import render;"
        "assert 'torch' not in sys.modules;"
        "print(hashlib.sha256(render(5, 6, resolution=64).tobytes()).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    here = hashlib.sha256(render(5, 6, resolution=64).tobytes()).hexdigest()
    assert other.stdout.strip() == here


def test_seed_and_index_both_matter() -> None:
    faces = {factors(seed, index) for seed in range(5) for index in range(5)}
    assert len(faces) == 25


@pytest.mark.parametrize("index", range(12))
def test_same_face_at_every_resolution(index: int) -> None:
    """Means of 2x2 pixels at 64 and of 8x8 at 256 are the picture at 32, sampling aside."""
    small = render(0, index, resolution=32).astype(np.float64)
    for resolution, mean, most in ((64, 1.5, 16.0), (256, 2.0, 24.0)):
        error = np.abs(reduced(render(0, index, resolution=resolution), resolution // 32) - small)
        assert error.mean() < mean
        assert np.percentile(error, 99) < most


def test_tiny_pictures_are_means_as_well() -> None:
    for index in range(12):
        tiny = render(0, index, resolution=4).astype(np.float64)
        error = np.abs(reduced(render(0, index, resolution=32), 8) - tiny)
        assert error.max() <= 1.0  # the same samples: only the two roundings differ


def test_edges_are_smooth() -> None:
    """No jagged outline: from a bright background to dark skin there are tones in between."""
    face = plain(hair_style="bald", background="gradient", background_saturation=0.0)
    face = dataclasses.replace(face, background_value=0.9, skin_tone=1.0)
    image = draw(face, resolution=64).astype(np.float64).mean(axis=0)
    row = image[10:20, :32]  # the left edge of the skull runs through these rows
    background, skin = row.max(axis=1), row.min(axis=1)
    share = (row - skin[:, None]) / (background - skin)[:, None]
    between = ((share > 0.15) & (share < 0.85)).sum(axis=1)
    assert (between >= 1).mean() > 0.7


def test_no_two_alike() -> None:
    digests = {hashlib.sha256(render(0, i, resolution=8).tobytes()).digest() for i in range(500)}
    assert len(digests) == 500


@pytest.mark.slow
def test_no_two_of_three_thousand_alike() -> None:
    digests = {hashlib.sha256(render(0, i, resolution=32).tobytes()).digest() for i in range(3000)}
    assert len(digests) == 3000


@pytest.mark.parametrize("name", portraits.LEVELS)
def test_every_level_occurs(name: str) -> None:
    seen = {getattr(factors(0, index), name) for index in range(500)}
    assert seen == set(portraits.LEVELS[name])


def test_amounts_vary_and_stay_in_range() -> None:
    faces = [factors(0, index) for index in range(500)]
    for field in dataclasses.fields(Factors):
        if field.type is float or field.type == "float":
            values = np.array([getattr(face, field.name) for face in faces])
            assert np.isfinite(values).all()
            assert len(np.unique(values)) > 40, field.name
    for name in ("skin_tone", "age", "freckles", "makeup", "chin", "light_height", "hair_length"):
        values = np.array([getattr(face, name) for face in faces])
        assert values.min() >= 0
        assert values.max() <= 1


def test_beards_only_on_heavy_faces() -> None:
    for index in range(500):
        face = factors(1, index)
        assert face.facial_hair == "none" or face.ruggedness > 0.5


def test_eyes_are_where_the_factors_say() -> None:
    """Iris centres: half the eye spacing beside the middle, just above 46% of the height."""
    face = plain(eye_spacing=0.2)
    (left, level), (right, other) = iris_centres(face)
    assert left == pytest.approx(0.5 - 0.2 / 2, abs=0.006)
    assert right == pytest.approx(0.5 + 0.2 / 2, abs=0.006)
    assert level == pytest.approx(0.46, abs=0.012)
    assert other == pytest.approx(level, abs=0.004)


def test_eyes_are_aligned() -> None:
    """Whatever the pose: eyes at 43% to 49% of the height, never far from their usual place."""
    places = []
    for index in range(40):
        face = dataclasses.replace(factors(2, index), eye_colour="brown", glasses="none")
        face = dataclasses.replace(face, hair_style="short", gaze_x=0.0, gaze_y=0.0)
        places.append(np.ravel(iris_centres(face)))
    left, left_height, right, right_height = np.transpose(places)
    heights = (left_height + right_height) / 2
    assert heights.min() > 0.43
    assert heights.max() < 0.49
    assert heights.std() < 0.012
    assert (right - left).std() < 0.015
    assert ((right + left) / 2).std() < 0.015


def test_shift_moves_and_roll_turns_the_eyes() -> None:
    face = plain()
    (left, height), _ = iris_centres(face)
    (moved, lower), _ = iris_centres(dataclasses.replace(face, shift_x=0.1, shift_y=0.06))
    assert moved - left == pytest.approx(0.05, abs=0.004)  # the picture is 2 units wide
    assert lower - height == pytest.approx(0.03, abs=0.004)
    (a, rise), (b, fall) = iris_centres(dataclasses.replace(face, roll=0.1))
    assert (fall - rise) / (b - a) == pytest.approx(np.tan(0.1), abs=0.02)


def test_turning_moves_the_nose_against_the_eyes() -> None:
    """Parallax: what stands out moves towards the side the face turns to."""
    places = []
    for yaw in (-0.8, 0.8):
        face = plain(yaw=yaw, light_side=0.0)
        change = changed(face, dataclasses.replace(face, nose_width=1.3))
        places.append(centroid(change * (change > 20))[0])
    assert places[1] - places[0] > 0.02


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        ({"glasses": "square"}, slice(44, 74)),
        ({"mouth_open": 0.9}, slice(68, 104)),
        ({"brow_thickness": 1.6}, slice(36, 54)),
        ({"neckline": "turtleneck"}, slice(90, 128)),
    ],
)
def test_a_factor_changes_its_own_part(change: dict[str, Any], rows: slice) -> None:
    face = plain(mouth_open=0.0, smile=0.0, neckline="crew")
    difference = changed(face, dataclasses.replace(face, **change))
    assert difference[rows].sum() > 0.98 * difference.sum() > 0


def test_background_stays_behind_the_face() -> None:
    face = plain(background="studio")
    difference = changed(face, dataclasses.replace(face, background="bokeh"))
    assert difference[50:80, 50:78].max() == 0
    assert difference[:20, :20].max() > 0


def test_skin_tone_darkens_the_face() -> None:
    levels = []
    for tone in (0.0, 0.25, 0.5, 0.75, 1.0):
        image = draw(plain(skin_tone=tone), resolution=32)
        levels.append(image[:, 18:22, 11:21].mean())
    assert (np.diff(levels) < 0).all()


def test_pictures_use_the_range_but_rarely_clip() -> None:
    images = np.stack([render(0, index, resolution=32) for index in range(60)])
    assert images.min() < 20
    assert images.max() > 235
    assert ((images == 0) | (images == 255)).mean() < 0.01
    assert images.std(axis=0).min() > 10  # every place of the picture varies


@pytest.mark.parametrize("resolution", [0, 2, 3, 48, 512, -4])
def test_bad_resolution(resolution: int) -> None:
    with pytest.raises(ValueError, match=rf"resolution {resolution} .* choose one of 4, 8, 16"):
        render(0, 0, resolution=resolution)


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (0, -1)])
def test_negative_seed_or_index(seed: int, index: int) -> None:
    with pytest.raises(ValueError, match=f"seed {seed} and index {index} must both be 0 or more"):
        factors(seed, index)


def test_unknown_level() -> None:
    with pytest.raises(ValueError, match="glasses 'monocle' is unknown: choose one of none, round"):
        dataclasses.replace(factors(0, 0), glasses="monocle")


@pytest.mark.parametrize("name", portraits.LEVELS)
def test_every_level_can_be_drawn_and_shows(name: str) -> None:
    face = plain(age=0.9, freckles=0.5, mouth_open=0.5)
    changes: list[dict[str, Any]] = [{name: level} for level in portraits.LEVELS[name]]
    faces = [dataclasses.replace(face, **change) for change in changes]
    assert len({draw(face, resolution=64).tobytes() for face in faces}) == len(faces)
