"""What `pgbench run` runs: the artefacts by the names of their commands, and their data sets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pgbench.catalogue import REAL, known_name, known_stores
from pgbench.config import RunConfig
from pgbench.reproductions import celebahq, figure4, lsgan, lsun, table1, table3, table4
from pgbench.reproductions.profiles import Scale
from pgbench.sources import BUILT_IN, dataset_name


@dataclass(frozen=True)
class Experiment:
    """An artefact's rows, their sizes, and the data sets that they are meant for.

    `built_in` are the sets that stand where the paper's stand; `smoke` is the one that the profile
    smoke takes where a store is needed and there is none, as it tries the pipeline alone.
    """

    rows: Mapping[str, RunConfig]
    scales: Mapping[str, Scale | table4.Scale]
    row_config: Callable[..., RunConfig]
    sets: tuple[str, ...]
    built_in: tuple[str, ...] = ()
    smoke: str | None = None
    rows_on: Callable[[str], list[str]] | None = None  # what `all` means on a data set

    def check(self, choice: "Choice") -> None:
        """ValueError when there is no such row or profile."""
        if choice.row not in [*self.rows, "all"]:
            rows = ", ".join(self.rows)
            raise ValueError(f"there is no row {choice.row!r}; the rows are {rows} and all")
        if choice.profile not in self.scales:
            names = ", ".join(self.scales)
            raise ValueError(f"there is no profile {choice.profile!r}; the profiles are {names}")


@dataclass(frozen=True)
class Choice:
    """What is asked of an experiment: a row or `all`, a profile, seeds, and what overrides it."""

    row: str
    profile: str
    seeds: tuple[int, ...]
    phase_kimg: float | None = None


EXPERIMENTS = {
    "ablation": Experiment(
        rows=table1.ROWS,
        scales=table1.SCALES,
        row_config=table1.row_config,
        sets=("celeba", "lsun-bedroom"),
        built_in=("portraits", "scenes"),
    ),
    "figure4": Experiment(
        rows=figure4.ROWS,
        scales=figure4.SCALES,
        row_config=figure4.row_config,
        sets=("celeba", "celeba-hq"),
        built_in=("portraits",),
        rows_on=figure4.rows_on,
    ),
    "cifar10": Experiment(
        rows=table3.ROWS,
        scales=table3.SCALES,
        row_config=table3.row_config,
        sets=("cifar10",),
        smoke="portraits",
    ),
    "celebahq": Experiment(
        rows=celebahq.ROWS,
        scales=celebahq.SCALES,
        row_config=celebahq.row_config,
        sets=("celeba-hq",),
        built_in=("portraits",),
    ),
    "lsun": Experiment(
        rows=lsun.ROWS,
        scales=lsun.SCALES,
        row_config=lsun.row_config,
        sets=tuple(config.data.name for config in lsun.ROWS.values()),
        built_in=("scenes",),
        rows_on=lsun.rows_on,
    ),
    "mnist-modes": Experiment(
        rows=table4.ROWS,
        scales=table4.SCALES,
        row_config=table4.row_config,
        sets=("mnist-rgb",),
    ),
    "lsgan": Experiment(
        rows=lsgan.ROWS,
        scales=lsgan.SCALES,
        row_config=lsgan.row_config,
        sets=("celeba-hq",),
        built_in=("portraits",),
    ),
}


def configs_of(experiment: Experiment, choice: Choice, *, data: str) -> list[RunConfig]:
    """The configurations of a choice on one data set, by its seeds and then its rows."""
    experiment.check(choice)
    name, mirror = dataset_name(data)
    every = list(experiment.rows) if experiment.rows_on is None else experiment.rows_on(name)
    scale = experiment.scales[choice.profile]
    count = scale.num_images if isinstance(scale, Scale) else None  # no built-in set has modes
    return [
        experiment.row_config(
            row,
            profile=choice.profile,
            dataset=name,
            mirror=mirror,
            num_images=count if data in BUILT_IN else None,
            seed=seed,
            phase_kimg=choice.phase_kimg,
        )
        for seed in choice.seeds
        for row in (every if choice.row == "all" else [choice.row])
    ]


def default_data(experiment: Experiment, *, profile: str) -> tuple[str, ...]:
    """The data sets to take when none is given; ValueError with what to do when none is there."""
    if experiment.built_in:
        return experiment.built_in
    for name in experiment.sets:
        found = _prepared(name)
        if found is not None:
            return (found,)
    if profile == "smoke" and experiment.smoke is not None:
        return (experiment.smoke,)
    raise ValueError(how_to_get(experiment.sets[0]))


def find_data(given: str) -> str:
    """What `--data` names: a built-in set, a folder, or by its name a store made on this machine.

    ValueError with what to do when it is a real data set that is not there.
    """
    if given in BUILT_IN or Path(given).is_dir() or not known_name(given) or given == "folder":
        return given
    found = _prepared(given)
    if found is None:
        raise ValueError(how_to_get(given))
    return found


def how_to_get(name: str) -> str:
    """That there is no store of a real data set, and the commands that make one."""
    real = REAL.get(name, REAL["lsun-<category>"])
    fetch = f"fetch {real.given}, from {real.address}"
    source = "WHAT_YOU_FETCHED"
    if real.download is not None:
        source = f"downloads/{name}"
        fetch = f"pgbench data download {name} --out {source}"
    prepare = f"pgbench data prepare {name} --from {source} --out stores/{name}"
    return f"there is no store of {name} on this machine; make one: {fetch}, then {prepare}"


def _prepared(name: str) -> str | None:
    """The store of that name that was made last."""
    found = [store for store in known_stores() if store.info.name == name]
    return str(found[-1].path) if found else None
