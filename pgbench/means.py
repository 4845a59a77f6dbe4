"""What D and G did since the last tick, on the average."""

import math

import torch
from torch import Tensor

from pgbench.distributed import World


class Means:
    """Running means of scalars between two ticks, summed on the device."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def add(self, **values: Tensor) -> None:
        for name, value in values.items():
            total, count = self._sums.get(name, (torch.zeros_like(value), 0))
            self._sums[name] = total + value.detach(), count + 1

    def take(self) -> dict[str, float]:
        """The means since the last call; FloatingPointError when one is not finite."""
        tensors = {name: total / count for name, (total, count) in self._sums.items()}
        self._world.average(list(tensors.values()))
        self._sums = {}
        means = {name: tensor.item() for name, tensor in tensors.items()}
        for name, mean in means.items():
            if not math.isfinite(mean):
                raise FloatingPointError(f"{name} is {mean}")
        return means
