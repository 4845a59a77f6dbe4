"""Metric names, which carry the count they are computed from, and the result every metric returns.

`swd16k` is the SWD of 16,384 images: the count biases the number, so it belongs to the name (paper,
section 5). For swd and modes, k is 1024 (the paper's 16k are 16,384 images), for all others 1000.
For msssim the number counts pairs, so `msssim10k` takes the paper's 10,000 pairs, 20,000 images;
for modes it is that of each of ten sets, so `modes25k` takes the paper's ten times 25,600. Metrics
of another network than Inception have names of their own: `fd-effnetlite0-50k` is no `fid50k`.
"""

import re
from dataclasses import dataclass, field
from typing import Any

SWD_VERSION = 2
MSSSIM_VERSION = 1
IS_VERSION = 1
FID_VERSION = 1
KID_VERSION = 1
PRDC_VERSION = 1
MODES_VERSION = 1
MODE_SETS = 10  # whose modes are averaged

_VERSIONS = {
    "swd": SWD_VERSION,
    "msssim": MSSSIM_VERSION,
    "is": IS_VERSION,
    "fid": FID_VERSION,
    "kid": KID_VERSION,
    "prdc": PRDC_VERSION,
    "modes": MODES_VERSION,
}
_EFFNET = {"is": "is", "fd": "fid", "kd": "kid", "prdc": "prdc"}  # name before -effnetlite0: kind
_ONE_SET = ("msssim", "is", "modes")
_WITHOUT_FEATURES = ("swd", "msssim", "modes")


@dataclass(frozen=True)
class MetricSpec:
    """A metric as its name asks for it.

    Attributes
    ----------
    name : str
        The name as given, such as `swd16k`.
    kind : str
        `swd`, `msssim`, `is`, `fid`, `kid`, `prdc` or `modes`.
    num_images : int
        How many images of each set are needed.
    version : int
        The metric version of this code: numbers of other versions are not comparable.
    efficientnet : bool
        Whether EfficientNet-Lite0 takes the place of Inception.
    """

    name: str
    kind: str
    num_images: int
    version: int
    efficientnet: bool = False

    @property
    def needs_reals(self) -> bool:
        """Whether it compares with real images."""
        return self.kind not in _ONE_SET

    @property
    def needs_features(self) -> bool:
        """Whether it looks at the features of a network instead of pixels."""
        return self.kind not in _WITHOUT_FEATURES


@dataclass(frozen=True)
class MetricResult:
    """What a metric measured, and everything that changes the number.

    Attributes
    ----------
    metric : str
        The kind of metric, such as `swd`.
    metric_version : int
    num_images : int
        Images used of each set; of the smaller one where the sets are of unequal size.
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
        `swd`, `msssim`, `is`, `fid`, `kid`, `prdc` or `modes`, or one of `is-effnetlite0-`,
        `fd-effnetlite0-`, `kd-effnetlite0-` and `prdc-effnetlite0-`, followed by a count without
        leading zeros and perhaps `k`: `swd16k`, `swd256`, `msssim10k`, `fd-effnetlite0-5k`.

    Raises
    ------
    ValueError
        The name is of another form.
    """
    kinds, others = "|".join(_VERSIONS), "|".join(_EFFNET)
    found = re.fullmatch(
        rf"(?:({kinds})|({others})-effnetlite0-)([1-9][0-9]{{0,8}})(k?)", name, re.ASCII
    )
    if found is None:
        raise ValueError(
            f"{name!r} is no metric name: give swd, msssim, is, fid, kid, prdc or modes and a "
            "count, such as swd16k (16,384 images), msssim10k (10,000 pairs) or fid50k (50,000)."
        )
    kind = found[1] or _EFFNET[found[2]]
    thousand = 1024 if kind in ("swd", "modes") else 1000
    count = int(found[3]) * (thousand if found[4] else 1)
    num_images = count * {"msssim": 2, "modes": MODE_SETS}.get(kind, 1)
    return MetricSpec(name, kind, num_images, _VERSIONS[kind], efficientnet=bool(found[2]))
