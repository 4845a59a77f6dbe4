"""Reproducible evaluation of generative models, starting with Progressive GANs."""

__version__ = "0.1.0"
