"""Metrics by their names, and how the values of their keys are ordered and written."""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """How the values of a key are written, and which one of a column is the best."""

    digits: int
    best: str | None = None  # min or max


STYLES = {
    "msssim": Style(4),
    "fid": Style(2, "min"),
    "fd-effnetlite0": Style(2, "min"),
    "is": Style(2, "max"),
    "best run": Style(2, "max"),
    "mean of runs": Style(2, "max"),
    "modes": Style(1, "max"),
    "kl": Style(2, "min"),
}
SWD = Style(2, "min")  # every level and their average


def style(key: str) -> Style:
    """That of a key; of an unknown one, SWD's."""
    return STYLES.get(key, SWD)


def most_images(metrics: Iterable[str], kind: str) -> str | None:
    """Of swd2k, swd16k, ... the one with the most images."""
    named = (re.fullmatch(rf"{kind}(\d{{1,9}})(k?)", metric) for metric in set(metrics))
    counts = {match[0]: int(match[1]) * (1000 if match[2] else 1) for match in named if match}
    return max(counts, key=lambda name: (counts[name], name), default=None)


def level_order(key: str) -> tuple[int, int, str]:
    """Levels from fine to coarse, then avg, then all others."""
    level = int(key) if re.fullmatch(r"\d{1,9}", key) else 0
    return (0 if level else 1 if key == "avg" else 2, -level, key)


def key_name(key: str) -> str:
    """How a key is called in a table."""
    if key in ("msssim", "fid"):
        return {"msssim": "MS-SSIM", "fid": "FID"}[key]
    return f"SWD {key}" if key == "avg" or key.isdecimal() else key
