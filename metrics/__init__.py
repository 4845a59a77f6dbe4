"""Metrics on anybody's images; imports nothing else of the project."""

from typing import TYPE_CHECKING, Any

from pgbench.metrics.compare import Difference, compare, read_result
from pgbench.metrics.frechet import (
    Statistics,
    frechet_distance,
    load_statistics,
    save_statistics,
    statistics,
)
from pgbench.metrics.images import ImageSet, open_images
from pgbench.metrics.msssim import msssim
from pgbench.metrics.registry import MetricResult, MetricSpec, parse
from pgbench.metrics.repeats import repeated
from pgbench.metrics.swd import swd

if TYPE_CHECKING:
    from pgbench.metrics.extractors import Extractor, open_efficientnet, open_inception
    from pgbench.metrics.fidelity import fid, inception_score, kid, prdc

_WITH_TORCH = {
    "Extractor": "extractors",
    "open_efficientnet": "extractors",
    "open_inception": "extractors",
    "fid": "fidelity",
    "inception_score": "fidelity",
    "kid": "fidelity",
    "prdc": "fidelity",
}
__all__ = [
    "Difference",
    "Extractor",
    "ImageSet",
    "MetricResult",
    "MetricSpec",
    "Statistics",
    "compare",
    "fid",
    "frechet_distance",
    "inception_score",
    "kid",
    "load_statistics",
    "msssim",
    "open_efficientnet",
    "open_images",
    "open_inception",
    "parse",
    "prdc",
    "read_result",
    "repeated",
    "save_statistics",
    "statistics",
    "swd",
]


def __getattr__(name: str) -> Any:
    """What looks through a network, imported when it is first asked for: torch takes seconds."""
    if name not in _WITH_TORCH:
        raise AttributeError(f"module 'pgbench.metrics' has no attribute {name!r}")
    from pgbench.metrics import extractors, fidelity

    return getattr({"extractors": extractors, "fidelity": fidelity}[_WITH_TORCH[name]], name)
