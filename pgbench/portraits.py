"""Built-in data set `portraits`: painted faces, aligned on the eyes, with every factor known.

It stands where CelebA stands in table 1. `factors` chooses what a face is, `draw` paints it:
the same seed and index are the same face at every resolution. Pixels repeat exactly on one
machine; another processor or NumPy may round a few of them differently.
"""

import numpy as np
from numpy.typing import NDArray

from pgbench.portrait_canvas import Array, Canvas, light_of
from pgbench.portrait_eyes import paint_brow, paint_eye
from pgbench.portrait_face import paint_ear, paint_head, paint_lines, paint_neck, paint_nose
from pgbench.portrait_factors import LEVELS, Factors, factors
from pgbench.portrait_hair import hair_colours, paint_back_hair, paint_front_hair
from pgbench.portrait_mouth import paint_facial_hair, paint_mouth
from pgbench.portrait_scene import paint_background, paint_clothes, paint_earring, paint_glasses

__all__ = ["LEVELS", "RESOLUTIONS", "VERSION", "Factors", "draw", "factors", "render"]

VERSION = 1  # bumped whenever pixels change
RESOLUTIONS = (4, 8, 16, 32, 64, 128, 256)
_FEWEST_SAMPLES = 64  # a side: a 4x4 picture, too, is the mean of a finer one


def render(seed: int, index: int, *, resolution: int) -> NDArray[np.uint8]:
    """Portrait `index` of data set `seed`: CHW RGB, uint8, [0, 255]; ValueError for a bad size."""
    return draw(factors(seed, index), resolution=resolution)


def draw(factors: Factors, *, resolution: int) -> NDArray[np.uint8]:
    """The portrait with these factors: CHW RGB, uint8, [0, 255]; ValueError for a bad size."""
    if resolution not in RESOLUTIONS:
        raise ValueError(
            f"resolution {resolution} is not available for portraits: "
            f"choose one of {', '.join(map(str, RESOLUTIONS))}."
        )
    canvas = Canvas(factors, max(2 * resolution, _FEWEST_SAMPLES))
    _paint(canvas, factors)
    return _develop(canvas.rgb, resolution)


def _paint(canvas: Canvas, f: Factors) -> None:
    """All layers, from back to front."""
    light = light_of(f)
    dark_hair = 0.75 * hair_colours(f)[0]
    paint_background(canvas, f)
    paint_back_hair(canvas, f, light)
    paint_neck(canvas, f, light)
    paint_clothes(canvas, f, light)
    for side in (-1, 1):
        paint_ear(canvas, f, light, side=side)
        if f.earrings != "none":
            paint_earring(canvas, f, light, side=side)
    paint_head(canvas, f, light)
    paint_lines(canvas, f)
    paint_nose(canvas, f, light)
    if f.facial_hair != "none":
        paint_facial_hair(canvas, f, dark_hair)
    paint_mouth(canvas, f, light)
    for side in (-1, 1):
        paint_eye(canvas, f, light, side=side)
        paint_brow(canvas, f, dark_hair, side=side)
    if f.glasses != "none":
        paint_glasses(canvas, f, light)
    paint_front_hair(canvas, f, light)


def _develop(light: Array, resolution: int) -> NDArray[np.uint8]:
    """Samples of light, (3, n, n), to pixels: sRGB values are averaged and rounded once."""
    side = light.shape[-1] // resolution
    values = np.sqrt(np.clip(light, 0, 1)).reshape(3, resolution, side, resolution, side)
    return np.asarray(np.rint(values.mean(axis=(2, 4)) * 255), dtype=np.uint8)
