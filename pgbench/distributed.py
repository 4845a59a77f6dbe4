"""Several processes that train one run together, started by torchrun: gloo on CPU, NCCL on CUDA.

Every process draws the whole minibatch's random numbers and works on its share, so that latents
and data do not depend on how many there are. Process 0 alone writes.
"""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # once there is a group, its defaults would keep it for ever
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

_PATIENCE = timedelta(hours=24)  # the others wait while one of them measures
_MOMENT = timedelta(seconds=10)  # for the first process to hear what another one has to say
_LAST_WORDS, _HEARD = "last words", "heard"


class LostRank(ConnectionError):
    """Another process of the run went away; says why, where that one could tell."""


@dataclass(frozen=True)
class World:
    """Which of how many processes this one is; all methods are called by all of them at once.

    What travels besides gradients are nests of tensors and plain values; nothing is unpickled.
    """

    rank: int = 0
    size: int = 1
    store: Store | None = field(default=None, repr=False, compare=False)

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

    def share(self, value: Any = None) -> Any:
        """What process 0 has, in all of them."""
        if self.size == 1:
            return value
        message = _packed(value) if self.rank == 0 else torch.empty(0, dtype=torch.uint8)
        length = torch.tensor(len(message))
        self._together(lambda: dist.broadcast(length, src=0))
        if self.rank:
            message = torch.empty(int(length), dtype=torch.uint8)
        self._together(lambda: dist.broadcast(message, src=0))
        return _unpacked(message) if self.rank else value

    def deal(self, parts: Sequence[Any] = ()) -> Any:
        """Its part of what process 0 has, in each."""
        if self.rank:
            return self._receive(0)
        for rank in range(1, self.size):
            self._send(parts[rank], rank)
        return parts[0]

    def gather(self, value: Any) -> list[Any]:
        """What each process has, in process 0; in the others nothing."""
        if self.rank:
            self._send(value, 0)
            return []
        return [value, *(self._receive(rank) for rank in range(1, self.size))]

    def give_up(self, why: Exception) -> None:
        """Leave with a sentence for the first process, unless this is the one.

        Not before it was heard: torchrun ends all when it sees one end.
        """
        if self.store is None:
            return
        with suppress(RuntimeError):  # the store may have gone, too
            if self.rank == 0:
                self.store.set(_HEARD, "")
                return
            self.store.set(_LAST_WORDS, f"process {self.rank}: {why}")
            dist.destroy_process_group()  # the first one notices
            self.store.wait([_HEARD], _MOMENT)

    def _send(self, value: Any, rank: int) -> None:
        message = _packed(value)
        self._together(lambda: dist.send(torch.tensor(len(message)), rank))
        self._together(lambda: dist.send(message, rank))

    def _receive(self, rank: int) -> Any:
        length = torch.tensor(0)
        self._together(lambda: dist.recv(length, rank))
        message = torch.empty(int(length), dtype=torch.uint8)
        self._together(lambda: dist.recv(message, rank))
        return _unpacked(message)

    def _together(self, exchange: Callable[[], object]) -> None:
        try:
            exchange()
        except RuntimeError as error:
            raise LostRank(self._last_words()) from error

    def _last_words(self) -> str:
        """Why the others went, for the first process, which tells it."""
        with suppress(RuntimeError):
            if self.rank == 0 and self.store is not None and self.store.check([_LAST_WORDS]):
                self.store.set(_HEARD, "")
                return str(self.store.get(_LAST_WORDS), "utf-8")
        return "another process of the run was lost"


ALONE = World()


@contextmanager
def joined(device: str) -> Iterator[World]:
    """The processes that torchrun started; alone without it.

    The first one tells what is wrong, also with the others: their errors are their last words.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    world = _join(cuda=device != "cpu" and torch.cuda.is_available())
    try:
        yield world
    except (ValueError, OSError) as error:
        if not isinstance(error, LostRank):
            world.give_up(error)
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _join(*, cuda: bool) -> World:
    try:
        store, rank, size = next(rendezvous("env://"))
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            store=PrefixStore("gradients", store),
            rank=rank,
            world_size=size,
            timeout=_PATIENCE,
        )
    except RuntimeError as error:
        raise ValueError(f"the processes did not find each other ({error})") from error
    return World(rank, size, store)


def _packed(value: Any) -> Tensor:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return torch.from_numpy(np.frombuffer(buffer.getbuffer(), np.uint8))


def _unpacked(message: Tensor) -> Any:
    content = io.BytesIO(message.numpy().data)
    return torch.load(content, map_location="cpu", weights_only=True)


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
        size = min(self.group, len(batch))
        groups = len(batch) // size
        chosen = slice(self.index * groups // self.count, (self.index + 1) * groups // self.count)
        grouped = batch.reshape(size, groups, *batch.shape[1:])
        return grouped[:, chosen].flatten(0, 1)


def joined_parts(parts: Sequence[Tensor], *, group: int) -> Tensor:
    """What was shared: all parts in their order, each (N / count, …), as one batch (N, …)."""
    size = min(group, len(parts[0]))
    grouped = [part.reshape(size, len(part) // size, *part.shape[1:]) for part in parts]
    return torch.cat(grouped, dim=1).flatten(0, 1)
