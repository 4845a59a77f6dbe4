"""The processes of a run at tasks that the first one deals out, such as images and features.

While the first process measures, the others serve it. An error in any of them ends them all.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from pgbench.distributed import World

# A task to its answer, nests of tensors and plain values.
Worker = TypeVar("Worker", bound=Callable[[Any], Any])


class Crew(Generic[Worker]):
    """All processes, each with a worker that does one task at a time."""

    def __init__(self, world: World, worker: Worker) -> None:
        self.world = world
        self.worker = worker

    @property
    def size(self) -> int:
        """How many tasks are done at once."""
        return self.world.size

    def work(self, tasks: Sequence[Any]) -> list[Any]:
        """The answers to at most `size` tasks, in the first process."""
        idle = [()] * (self.size - len(tasks))
        mine = self.world.deal([*((task,) for task in tasks), *idle])
        return self.world.gather(self.worker(*mine))[: len(tasks)]

    def serve(self) -> None:
        """Do what the first process deals out, in the others, until it has done."""
        while (dealt := self.world.deal()) is not None:
            self.world.gather(self.worker(*dealt) if dealt else None)

    @contextmanager
    def led(self) -> Iterator["Crew[Worker]"]:
        """The crew for the first process; the others are let go when it is done.

        After an error they are not: they notice that the first one has gone.
        """
        yield self
        self.world.deal([None] * self.size)
