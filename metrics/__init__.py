"""Metrics on anybody's images; imports nothing else of the project."""

from pgbench.metrics.images import ImageSet, open_images
from pgbench.metrics.msssim import msssim
from pgbench.metrics.registry import MetricResult, MetricSpec, parse
from pgbench.metrics.swd import swd

__all__ = ["ImageSet", "MetricResult", "MetricSpec", "msssim", "open_images", "parse", "swd"]
