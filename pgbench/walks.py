"""Strips of images between two latents: G that memorised would jump from image to image.

Between latents a and b at angle w lies sin((1 - t) w) / sin w a + sin(t w) / sin w b, spherical
interpolation (Shoemake 1985, "Animating rotation with quaternion curves"): it keeps the length
that latents N(0, 1) have.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from pgbench.data import Images
from pgbench.networks import Generator
from pgbench.sampling import GROUP, latent, to_uint8

STEPS = 8
STRIPS = 4  # shown of the 16 that are made


def between(a: NDArray[np.float64], b: NDArray[np.float64], t: float) -> NDArray[np.float64]:
    """Spherical interpolation of latents (..., size), `a` at t = 0 and `b` at t = 1."""
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    angle = np.arccos(np.clip(np.sum(a * b, axis=-1) / lengths, -1, 1))[..., None]
    point: NDArray[np.float64] = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(
        angle
    )
    return point


@torch.no_grad()
def walk_strips(generator: Generator, *, lod: float) -> Images:
    """NCHW uint8 (STRIPS * STEPS): strip i goes from the image of seed i to that of 16 + i.

    A group of 16 holds one moment of 16 strips, so that batch normalisation sees independent
    images, as in sampling: the first and last images are those that sampling makes of the seeds.
    """
    device = next(generator.parameters()).device
    size = generator.config.latent_size
    ends = np.stack([latent(seed, size).numpy() for seed in range(2 * GROUP)]).astype(np.float64)
    moments = []
    for t in np.linspace(0, 1, STEPS):
        z = torch.from_numpy(between(ends[:GROUP], ends[GROUP:], t)).float().to(device)
        moments.append(to_uint8(generator(z, lod))[:STRIPS].cpu().numpy())
    return np.concatenate(list(np.stack(moments, axis=1)))
