"""Several runs on a Ray cluster, each a task that goes on from its last state on another worker.

A worker trains in a folder of its own machine, which is sent back as it grows.
"""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from pgbench.errors import sentence
from pgbench.reproductions.ray_mirror import Keeper, RayKeeper, mirrored
from pgbench.reproductions.sweep import Job, Outcome, lost, perform
from pgbench.reproductions.sweep_bars import Bars
from pgbench.results import RunFolder
from pgbench.sources import lasting_name

_RETRIES = 3
_POLL_SEC = 1.0
_LAST_WORDS_SEC = 120.0  # for a run that is asked to stop


@dataclass(frozen=True)
class Share:
    """What each run takes of the cluster; `gpus` None: one where there are any."""

    address: str | None  # None: the cluster that this machine belongs to, or one made for now
    cpus: int
    gpus: float | None


def on_ray(jobs: Sequence[Job], share: Share) -> Iterator[tuple[Job, Outcome]]:
    """Run the jobs as there is room for them; yields each as it ends.

    ValueError when Ray is not installed, cannot be reached or has too little for a run.
    """
    with _connected(share.address) as ray, ExitStack() as locks:
        resources = _resources(ray, share, jobs)
        folders = [RunFolder.open(job.out, job.config.run_id, job.config.to_json()) for job in jobs]
        for folder in folders:
            locks.enter_context(folder.lock())
        keeper = _keeper(ray, jobs)
        work = ray.remote(_work)
        tasks = {
            work.options(name=job.config.run_id, max_retries=_RETRIES, **resources).remote(
                replace(job, data=lasting_name(job.data)), share.cpus, keeper, version("pgbench")
            ): job
            for job in jobs
        }
        try:
            yield from _ended(ray, tasks)
        finally:
            _stop(ray, list(tasks))


def _ended(ray: Any, tasks: dict[Any, Job]) -> Iterator[tuple[Job, Outcome]]:
    """Each job as its task ends, taken out of `tasks`."""
    with Bars(len(tasks)) as bars:
        while tasks:
            ended, _ = ray.wait(list(tasks), timeout=_POLL_SEC)
            for task in ended:
                job = tasks.pop(task)
                outcome = _outcome(ray, task, job)
                bars.ended(job.config, outcome)
                yield job, outcome
            bars.show([(job.config, job.out) for job in tasks.values()])


def _outcome(ray: Any, task: Any, job: Job) -> Outcome:
    try:
        outcome: Outcome = ray.get(task)
        return outcome
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        what = str(error).partition("\n")[0].rstrip(".: ")
        return lost(job, f"its workers were lost {1 + _RETRIES} times ({what})")


def _work(job: Job, threads: int, keeper: Any, asked_by: str) -> Outcome:
    """The task: the run in a folder of this machine, from what is kept of it."""
    here = version("pgbench")
    if here != asked_by:
        return f"{os.uname().nodename} has pgbench {here}, not {asked_by}; install the same there"
    with mirrored(job.config.run_id, RayKeeper(keeper)) as scratch:
        try:
            return perform(replace(job, out=scratch), threads)
        except (ValueError, OSError) as error:
            return sentence(error)


def _keeper(ray: Any, jobs: Sequence[Job]) -> Any:
    """The actor that holds the results, on this machine."""
    here = ray.get_runtime_context().get_node_id()
    place = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
    actor = ray.remote(Keeper).options(num_cpus=0, scheduling_strategy=place)
    return actor.remote(str(jobs[0].out.resolve()))


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster; ValueError when it is not there."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise ValueError("--launcher ray needs one more package: pip install 'pgbench[ray]'") from (
            error
        )
    if address is not None and address.startswith("ray://"):
        raise ValueError(
            f"--address {address} is that of a client; start the command on a machine of the "
            "cluster, with its HOST:PORT or auto"
        )
    _check_address(address)
    new: dict[str, Any] = (
        {} if address or "RAY_ADDRESS" in os.environ else {"include_dashboard": False}
    )
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **new)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise _unreachable(address, error) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_address(address: str | None) -> None:
    """ValueError when nothing listens at HOST:PORT, which Ray itself tries for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str | None, error: Exception) -> ValueError:
    where = f"Ray at {address}" if address else "Ray"
    why = str(error).partition("\n")[0].rstrip(".")
    return ValueError(
        f"{where} cannot be reached ({why}); start it with ray start --head, or leave --address out"
    )


def _resources(ray: Any, share: Share, jobs: Sequence[Job]) -> dict[str, float]:
    """What each task asks for; ValueError when no machine of the cluster has as much."""
    most = {
        name: max(node["Resources"].get(name, 0.0) for node in ray.nodes() if node["Alive"])
        for name in ("CPU", "GPU")
    }
    on_gpu = jobs[0].device != "cpu" and most["GPU"] > 0
    gpus = share.gpus if share.gpus is not None else float(on_gpu)
    for name, asked in (("CPU", float(share.cpus)), ("GPU", gpus)):
        if asked > most[name]:
            raise ValueError(
                f"a run that takes {asked:g} {name}s fits on no machine of this cluster, of which "
                f"the largest has {most[name]:g}; give a smaller --{name.lower()}s"
            )
    return {"num_cpus": share.cpus, "num_gpus": gpus}


def _stop(ray: Any, tasks: Sequence[Any]) -> None:
    """Have all save what they have and wait for them."""
    for task in tasks:
        ray.cancel(task)
    if tasks:
        ray.wait(list(tasks), num_returns=len(tasks), timeout=_LAST_WORDS_SEC)
