"""Metric names, which carry the count they are computed from, and the result every metric returns.

`swd16k` is the SWD of 16,384 images: the count biases the number, so it belongs to the name (paper,
section 5). For swd, k is 1024 (the paper's 16k are 16,384 images); for msssim the number counts
pairs and k is 1000, so `msssim10k` takes the paper's 10,000 pairs, 20,000 images.
"""

import re
from dataclasses import dataclass, field
from typing import Any

SWD_VERSION = 1
MSSSIM_VERSION = 1


@dataclass(frozen=True)
class MetricSpec:
    """A metric as its name asks for it.

    Attributes
    ----------
    name : str
        The name as given, such as `swd16k`.
    kind : str
        `swd` or `msssim`.
    num_images : int
        How many images of each set are needed.
    needs_reals : bool
        Whether it compares with real images.
    version : int
        The metric version of this code: numbers of other versions are not comparable.
    """

    name: str
    kind: str
    num_images: int
    needs_reals: bool
    version: int


@dataclass(frozen=True)
class MetricResult:
    """What a metric measured, and everything that changes the number.

    Attributes
    ----------
    metric : str
        The kind of metric, such as `swd`.
    metric_version : int
    num_images : int
        Images used of each set.
    seed : int
    values : dict
        Key to value, such as {"32": 4.1, "16": 9.8, "avg": 6.95}.
    stderr : dict
        The same keys; None where no standard error can be given.
    protocol : dict
        JSON-ready settings that the values depend on.
    wall_sec : float
        Duration in seconds.
    noise_floor : dict, optional
        The same keys, where it was measured.
    """

    metric: str
    metric_version: int
    num_images: int
    seed: int
    values: dict[str, float]
    stderr: dict[str, float | None]
    protocol: dict[str, Any] = field(repr=False)
    wall_sec: float
    noise_floor: dict[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "schema": 1,
            "metric": self.metric,
            "metric_version": self.metric_version,
            "num_images": self.num_images,
            "seed": self.seed,
            "values": self.values,
            "stderr": self.stderr,
            "noise_floor": self.noise_floor,
            "protocol": self.protocol,
            "wall_sec": self.wall_sec,
        }


def parse(name: str) -> MetricSpec:
    """Read a metric name.

    Parameters
    ----------
    name : str
        `swd` or `msssim` followed by a count without leading zeros and perhaps `k`: `swd16k`,
        `swd256`, `msssim10k`.

    Raises
    ------
    ValueError
        The name is of another form.
    """
    found = re.fullmatch(r"(swd|msssim)([1-9][0-9]{0,8})(k?)", name, re.ASCII)
    if found is None:
        raise ValueError(
            f"{name!r} is no metric name: give swd or msssim and a count, such as swd16k (16,384 "
            "images) or msssim10k (10,000 pairs)."
        )
    kind, count = found[1], int(found[2])
    if kind == "swd":
        return MetricSpec(name, kind, count * (1024 if found[3] else 1), True, SWD_VERSION)
    pairs = count * (1000 if found[3] else 1)
    return MetricSpec(name, kind, 2 * pairs, False, MSSSIM_VERSION)
