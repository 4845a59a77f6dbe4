"""The multiplications of a training: what its time goes with, step by step, to the end.

A network's pass counts once forward, once backward to its input and once to its weights; the
gradient penalty takes six passes: forward, backward, and both of them differentiated.
"""

import numpy as np
from numpy.typing import NDArray

from pgbench.config import DiscriminatorConfig, GeneratorConfig, RunConfig
from pgbench.schedule import level_of_detail

_POINTS = 512  # of the schedule, to add up


def generator_products(config: GeneratorConfig, resolution: int) -> float:
    """Multiplications that make one image of `resolution`, a fade left out."""
    maps = _maps(config, 4)
    total = 16.0 * maps * (config.latent_size + 9 * maps)
    size = 8
    while size <= resolution:
        above, maps = maps, _maps(config, size)
        total += size**2 * maps * (4 * above + 9 * maps)
        size *= 2
    return total + 3 * maps * resolution**2


def discriminator_products(config: DiscriminatorConfig, resolution: int) -> float:
    """Multiplications that score one image of `resolution`, a fade left out."""
    total = 3.0 * _maps(config, resolution) * resolution**2
    size = resolution
    while size > 4:
        maps = _maps(config, size)
        total += 9 * size**2 * maps * (maps + _maps(config, size // 2))
        size //= 2
    maps, extra = _maps(config, 4), config.minibatch_layer == "stddev"
    return total + 16 * 9 * (maps + extra) * maps + 16 * maps * _maps(config, 2)


def products_per_real(config: RunConfig, resolution: int) -> float:
    """Multiplications of both networks' steps, for each real image that D is shown."""
    G = generator_products(config.generator, resolution)
    D = discriminator_products(config.discriminator, resolution)
    d_step = G + (12 if config.loss.kind == "wgan-gp" else 6) * D
    g_step = 3 * G + 2 * D
    if config.optimiser.shared_step:
        return d_step - G + g_step
    return d_step + g_step / config.optimiser.n_critic


def work_done(config: RunConfig) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """nimg and the share of the run's multiplications made by then, to interpolate between."""
    schedule, full = config.schedule, config.data.resolution
    nimg = np.linspace(0, 1000 * schedule.total_kimg, _POINTS)
    lods = [level_of_detail(int(each), schedule, resolution=full) for each in nimg[:-1]]
    cost = np.array([products_per_real(config, full >> int(lod)) for lod in lods])
    done = np.concatenate([[0.0], np.cumsum(cost)])
    return nimg, done / done[-1]


def _maps(config: GeneratorConfig | DiscriminatorConfig, size: int) -> int:
    """nf(i) of resolution 2**(i+1)."""
    return max(1, min(config.fmap_base // (size // 2), config.fmap_max))
