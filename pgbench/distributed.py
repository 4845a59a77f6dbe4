"""Several processes that train one run together, started by torchrun: gloo on CPU, NCCL on CUDA.

Every process draws the whole minibatch's random numbers and works on its share, so that latents
and data do not depend on how many there are. Process 0 alone writes.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

_PATIENCE = timedelta(hours=24)  # the others wait while one of them measures


class LostRank(Exception):
    """Another process of the run went away."""


@dataclass(frozen=True)
class World:
    """Which of how many processes this one is; all methods are called by all of them at once."""

    rank: int = 0
    size: int = 1

    def average(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self._together(lambda: dist.all_reduce(flat))
        parts = torch.split(flat / self.size, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        raised = torch.tensor(float(flag))
        self._together(lambda: dist.all_reduce(raised))
        return raised.item() > 0

    def tell(self, content: bytes) -> bytes:
        """What process 0 has to say, in all of them."""
        if self.size == 1:
            return content
        length = torch.tensor(len(content))
        self._together(lambda: dist.broadcast(length, src=0))
        message = torch.empty(int(length), dtype=torch.uint8)
        if self.rank == 0:
            message.copy_(torch.from_numpy(np.frombuffer(content, np.uint8).copy()))
        self._together(lambda: dist.broadcast(message, src=0))
        return message.numpy().tobytes()

    def _together(self, exchange: Callable[[], object]) -> None:
        try:
            exchange()
        except RuntimeError as error:
            raise LostRank("another process of the run was lost") from error


ALONE = World()


@contextmanager
def joined(device: str) -> Iterator[World]:
    """The processes that torchrun started; alone without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    cuda = device != "cpu" and torch.cuda.is_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=_PATIENCE)
    try:
        yield World(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()


@dataclass(frozen=True)
class Share:
    """One of `count` equal parts of a minibatch, made of whole groups of `group` images.

    Image i is in group i mod (N / group), as the minibatch statistic has it: what is computed
    within groups is the same in a share as in the whole minibatch.
    """

    index: int
    count: int
    group: int = 1

    def of(self, batch: Tensor) -> Tensor:
        """The part of `batch` (N, …)."""
        if self.count == 1:
            return batch
        groups = len(batch) // self.group
        chosen = slice(self.index * groups // self.count, (self.index + 1) * groups // self.count)
        grouped = batch.reshape(self.group, groups, *batch.shape[1:])
        return grouped[:, chosen].flatten(0, 1)
