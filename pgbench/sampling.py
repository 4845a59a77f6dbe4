"""Seeds -> images: image i depends on seed i alone, on no batch size and no device count.

Images are always made in the fixed groups of 16 consecutive seeds that hold them, because
batch normalisation (rows a-c) mixes the images of a minibatch.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pgbench.data import Images
from pgbench.distributed import World
from pgbench.networks import Generator

GROUP = 16
_LATENT = 3  # purpose of the random stream


def latent(seed: int, latent_size: int) -> Tensor:
    """The latent N(0, 1) of one seed, float32 (latent_size,)."""
    rng = np.random.default_rng([seed, _LATENT])
    return torch.from_numpy(rng.standard_normal(latent_size, dtype=np.float32))


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] -> uint8: round(x * 127.5 + 127.5), clipped."""
    return (images * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


@torch.no_grad()
def generate(generator: Generator, seeds: Iterable[int], *, lod: float) -> Iterator[Images]:
    """Images of `seeds` in their order, in batches of up to 16: NCHW uint8 at full resolution.

    During growing, images of a lower resolution are enlarged by nearest neighbour.
    """
    device = next(generator.parameters()).device
    for group, members in groupby(seeds, key=lambda seed: seed // GROUP):
        first = group * GROUP
        size = generator.config.latent_size
        z = torch.stack([latent(first + i, size) for i in range(GROUP)]).to(device)
        images = to_uint8(_enlarge(generator(z, lod), generator.config.resolution))
        yield images[[seed - first for seed in members]].cpu().numpy()


def dealt(seeds: Sequence[int], world: World) -> list[int]:
    """Those of `seeds` that this process makes: every so many-th of their groups."""
    groups = sorted({seed // GROUP for seed in seeds})
    mine = set(groups[world.rank :: world.size])
    return [seed for seed in seeds if seed // GROUP in mine]


def _enlarge(images: Tensor, resolution: int) -> Tensor:
    factor = resolution // images.shape[-1]
    return F.interpolate(images, scale_factor=float(factor)) if factor > 1 else images
