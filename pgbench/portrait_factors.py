"""What varies in the built-in portraits: every discrete and continuous factor, and its sampling.

Lengths are in face units: the origin lies between the eyes, u points right and v down, the chin
is near v = 0.7. Fractions run from 0 to 1, signed amounts from -1 to 1.
"""

import bisect
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

# Levels and how often they occur.
HAIR_STYLES: Final = {
    "bald": 0.05, "buzz": 0.07, "short": 0.14, "side_parted": 0.12, "fringe": 0.10,
    "bob": 0.10, "long_straight": 0.14, "long_wavy": 0.12, "curly": 0.08, "bun": 0.08,
}  # fmt: skip
HAIR_COLOURS: Final = {
    "black": 0.22, "dark_brown": 0.24, "brown": 0.19, "auburn": 0.08, "red": 0.05,
    "dark_blond": 0.09, "blond": 0.08, "grey": 0.05,
}  # fmt: skip
EYE_COLOURS: Final = {"brown": 0.44, "hazel": 0.18, "green": 0.12, "blue": 0.16, "grey": 0.10}
FACIAL_HAIR: Final = {
    "none": 0.68, "stubble": 0.12, "moustache": 0.05, "goatee": 0.06, "beard": 0.09,
}  # fmt: skip
GLASSES: Final = {"none": 0.84, "round": 0.06, "square": 0.06, "sunglasses": 0.04}
EARRINGS: Final = {"none": 0.74, "stud": 0.10, "hoop": 0.10, "drop": 0.06}
BACKGROUNDS: Final = {
    "studio": 0.24, "gradient": 0.18, "bokeh": 0.18, "foliage": 0.15, "room": 0.13, "horizon": 0.12,
}  # fmt: skip
NECKLINES: Final = {"crew": 0.26, "v_neck": 0.22, "shirt": 0.20, "turtleneck": 0.12, "wide": 0.20}

LEVELS: Final = {
    "hair_style": HAIR_STYLES, "hair_colour": HAIR_COLOURS, "eye_colour": EYE_COLOURS,
    "facial_hair": FACIAL_HAIR, "glasses": GLASSES, "earrings": EARRINGS,
    "background": BACKGROUNDS, "neckline": NECKLINES,
}  # fmt: skip
_STREAM = 0xFACE5  # sets these draws apart from others that start from the same seed and index


@dataclasses.dataclass(frozen=True, kw_only=True)
class Factors:
    """All that a portrait shows; drawing it adds nothing at random."""

    hair_style: str
    hair_colour: str
    eye_colour: str
    facial_hair: str
    glasses: str
    earrings: str
    background: str
    neckline: str

    skin_tone: float  # 0 light to 1 dark
    skin_warmth: float  # -1 rosy to 1 golden
    age: float  # 0 young to 1 old: lines, grey in the hair
    freckles: float  # fraction
    ruggedness: float  # 0 soft to 1 heavy: jaw, brow ridge, neck
    makeup: float  # fraction: lips, lids, lashes

    face_width: float  # about 1
    face_length: float  # about 1: from the eyes to the chin
    chin: float  # 0 pointed to 1 square
    cheeks: float  # fraction: fullness
    ear_size: float  # about 1
    eye_size: float  # about 1
    eye_spacing: float  # half the distance between the pupils, about 0.2 units
    eye_openness: float  # about 1
    eye_tilt: float  # -1 to 1: outer corners down or up
    gaze_x: float  # -1 to 1
    gaze_y: float  # -1 to 1
    brow_height: float  # -1 to 1
    brow_thickness: float  # about 1
    brow_arch: float  # fraction
    brow_tilt: float  # -1 to 1: worried to stern
    nose_width: float  # about 1
    nose_length: float  # about 1
    nose_bridge: float  # about 1: how far it stands out
    mouth_width: float  # about 1
    lip_fullness: float  # about 1
    smile: float  # -0.15 to 1
    mouth_open: float  # fraction; teeth show above 0.1

    hair_volume: float  # fraction
    hair_length: float  # fraction
    hair_parting: float  # -1 to 1
    hair_tint: float  # -1 darker to 1 lighter
    hairline: float  # -1 low to 1 high

    yaw: float  # -1 to 1: full turn is about 20 degrees
    roll: float  # radians
    shift_x: float  # image units (half the image is 1)
    shift_y: float  # image units
    scale: float  # about 1

    light_side: float  # -1 from the left to 1 from the right
    light_height: float  # fraction
    light_contrast: float  # fraction: key light against ambient light
    light_warmth: float  # -1 cool to 1 warm
    exposure: float  # about 1

    background_hue: float  # turns
    background_hue_step: float  # turns, between its two colours
    background_saturation: float  # fraction
    background_value: float  # fraction
    clothes_hue: float  # turns
    clothes_saturation: float  # fraction
    clothes_value: float  # fraction
    texture: int  # seed of strands, freckles, cloth and background patterns

    def __post_init__(self) -> None:
        """Refuse levels that nothing can draw."""
        for name, levels in LEVELS.items():
            if getattr(self, name) not in levels:
                raise ValueError(
                    f"{name} {getattr(self, name)!r} is unknown: choose one of {', '.join(levels)}."
                )


def factors(seed: int, index: int) -> Factors:
    """The factors of portrait `index` of data set `seed`, both 0 or more."""
    if seed < 0 or index < 0:
        raise ValueError(f"seed {seed} and index {index} must both be 0 or more.")
    rng = np.random.default_rng(np.random.SeedSequence([seed, index, _STREAM]))
    draws = _Draws(rng)
    ruggedness = draws.between(0, 1)
    age = draws.between(0, 1) ** 1.5
    skin_tone = draws.between(0, 1) ** 1.3
    return Factors(
        ruggedness=ruggedness,
        age=age,
        skin_tone=skin_tone,
        **_style(draws, ruggedness, skin_tone),
        **_colours(draws, age, skin_tone),
        **_face(draws, ruggedness),
        **_expression(draws),
        **_camera(draws),
        texture=int(rng.integers(2**32)),
    )


class _Draws:
    """Numbers from one generator, drawn in bulk and handed out in a fixed order."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._uniform: Iterator[float] = iter(rng.random(32).tolist())
        self._normal: Iterator[float] = iter(rng.standard_normal(40).clip(-2.2, 2.2).tolist())

    def between(self, low: float, high: float) -> float:
        """Uniform between `low` and `high`."""
        return low + (high - low) * next(self._uniform)

    def around(self, mean: float, deviation: float) -> float:
        """Normal, cut at 2.2 deviations."""
        return mean + deviation * next(self._normal)

    def level(self, weights: dict[str, float]) -> str:
        """One of the levels, as often as its weight says."""
        ends = list(itertools.accumulate(weights.values()))
        return list(weights)[bisect.bisect(ends[:-1], next(self._uniform) * ends[-1])]


def _style(draws: _Draws, ruggedness: float, skin_tone: float) -> dict[str, Any]:
    """Hair, beard, jewellery and dress; some go rather with a heavy or with a soft face."""
    heavy = ruggedness > 0.5
    cropped = dict.fromkeys(("bald", "buzz", "short", "side_parted"), 2.2 if heavy else 0.35)
    cropped["curly"] = 0.4 + 2.0 * skin_tone
    hair = {
        name: share * cropped.get(name, 1.0 - 0.8 * heavy) for name, share in HAIR_STYLES.items()
    }
    beard = FACIAL_HAIR if heavy else {"none": 1.0}
    return {
        "hair_style": draws.level(hair),
        "facial_hair": draws.level(beard),
        "earrings": draws.level({"none": 0.94, "stud": 0.06} if heavy else EARRINGS),
        "glasses": draws.level(GLASSES),
        "neckline": draws.level(NECKLINES),
        "makeup": 0.0 if heavy else draws.between(0, 1),
        "hair_volume": draws.between(0, 1),
        "hair_length": draws.between(0, 1),
        "hair_parting": draws.around(0, 0.5),
        "hairline": draws.around(0.3 if heavy else 0, 0.4),
    }


def _colours(draws: _Draws, age: float, skin_tone: float) -> dict[str, Any]:
    """Colours of skin, hair, eyes, cloth and background; dark skin rarely has light hair."""
    dark = ("black", "dark_brown")
    hair = {
        name: share * (0.6 + 3.4 * skin_tone if name in dark else 1.0 - 0.95 * skin_tone)
        for name, share in HAIR_COLOURS.items()
    }
    hair["grey"] = 0.01 + 0.4 * max(0.0, age - 0.4)
    eyes = {
        name: share * (0.7 + 4.0 * skin_tone if name == "brown" else 1.0 - 0.9 * skin_tone)
        for name, share in EYE_COLOURS.items()
    }
    return {
        "hair_colour": draws.level(hair),
        "eye_colour": draws.level(eyes),
        "skin_warmth": draws.around(0, 0.45),
        "hair_tint": draws.around(0, 0.45),
        "freckles": max(0.0, draws.between(-2.0, 1.0)) * (1.0 - skin_tone),
        "background": draws.level(BACKGROUNDS),
        "background_hue": draws.between(0, 1),
        "background_hue_step": draws.around(0, 0.12),
        "background_saturation": draws.between(0.06, 0.48),
        "background_value": draws.between(0.18, 0.9),
        "clothes_hue": draws.between(0, 1),
        "clothes_saturation": draws.between(0.03, 0.62),
        "clothes_value": draws.between(0.12, 0.88),
    }


def _face(draws: _Draws, ruggedness: float) -> dict[str, Any]:
    """Proportions."""
    return {
        "face_width": draws.around(0.98 + 0.04 * ruggedness, 0.035),
        "face_length": draws.around(0.98 + 0.05 * ruggedness, 0.03),
        "chin": min(1.0, max(0.0, draws.around(0.25 + 0.45 * ruggedness, 0.16))),
        "cheeks": draws.between(0, 1),
        "ear_size": draws.around(1.0, 0.1),
        "eye_size": draws.around(1.05 - 0.08 * ruggedness, 0.05),
        "eye_spacing": draws.around(0.202, 0.006),
        "eye_tilt": draws.around(0.15, 0.4),
        "brow_height": draws.around(0.2 - 0.5 * ruggedness, 0.4),
        "brow_thickness": draws.around(0.8 + 0.45 * ruggedness, 0.15),
        "brow_arch": draws.between(0, 1),
        "nose_width": draws.around(0.95 + 0.12 * ruggedness, 0.09),
        "nose_length": draws.around(1.0, 0.05),
        "nose_bridge": draws.around(1.0, 0.18),
        "mouth_width": draws.around(1.0, 0.07),
        "lip_fullness": draws.around(1.1 - 0.2 * ruggedness, 0.15),
    }


def _expression(draws: _Draws) -> dict[str, Any]:
    """Smiles open the mouth and narrow the eyes."""
    smile = draws.between(-0.15, 1)
    return {
        "smile": smile,
        "mouth_open": max(0.0, draws.around(0.8 * smile - 0.25, 0.3)),
        "eye_openness": draws.around(1.02 - 0.12 * max(smile, 0.0), 0.08),
        "gaze_x": draws.around(0, 0.3),
        "gaze_y": draws.around(0, 0.2),
        "brow_tilt": draws.around(0, 0.35),
    }


def _camera(draws: _Draws) -> dict[str, Any]:
    """Pose, light and exposure; the jitter is small: the portraits are aligned on the eyes."""
    return {
        "yaw": draws.around(0, 0.45),
        "roll": draws.around(0, 0.045),
        "shift_x": draws.around(0, 0.012),
        "shift_y": draws.around(0, 0.01),
        "scale": draws.around(1.07, 0.025),
        "light_side": draws.between(-1, 1),
        "light_height": draws.between(0, 1),
        "light_contrast": draws.between(0, 1),
        "light_warmth": draws.around(0.1, 0.45),
        "exposure": draws.around(1.0, 0.07),
    }
