"""`pgbench run`: train and evaluate configurations of the paper."""

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pgbench.compiling import Choice
    from pgbench.config import RunConfig
    from pgbench.results import RunStatus

MAX_SEED = 2**31 - 1
_MANY = 10**7  # nobody asks for as many seeds in earnest


@click.group()
def run() -> None:
    """Train, measure and report experiments of the paper; the same command resumes."""


@run.command()
@click.option("--row", required=True, help="a|b|c|d|e*|e|f|g|h|all; e-star is the same as e*.")
@click.option("--data", default="portraits", show_default=True, help="portraits, scenes or DIR.")
@click.option("--profile", default="desktop", show_default=True, help="How large: see the docs.")
@click.option("--seed", type=click.IntRange(0, MAX_SEED), help="One seed, by default 0.")
@click.option("--seeds", help="Several seeds, such as 0-3 or 0,2,5.")
@click.option("--phase-kimg", type=float, help="Kimg to train, and to fade, per resolution.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default="results", show_default=True
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option(
    "--compile",
    "compiling",
    type=click.Choice(["auto", "on", "off"]),
    is_flag=False,
    flag_value="on",
    default="off",
    show_default=True,
    help="Compile the steps; auto: where the run is long enough to win the minutes back.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "tf32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Arithmetic of the convolutions, part of the configuration.",
)
@click.option("--dry-run", is_flag=True, help="Only print what would be run.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: the configuration as JSON.")
def ablation(
    row: str,
    data: str,
    profile: str,
    seed: int | None,
    seeds: str | None,
    phase_kimg: float | None,
    out: Path,
    device: str,
    compiling: "Choice",
    precision: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Rows of table 1: trained, measured, and put beside the published numbers."""
    chosen = _seeds(seed, seeds)
    configs = _configs(row, data=data, profile=profile, seeds=chosen, phase_kimg=phase_kimg)
    if precision != "float32":
        from pgbench.config import replace

        configs = [replace(config, numerics={"precision": precision}) for config in configs]
    if dry_run:
        _show(configs, as_json)
        return
    sys.exit(_train(configs, data=data, out=out, device=device, compiling=compiling))


def _train(
    configs: "list[RunConfig]", *, data: str, out: Path, device: str, compiling: "Choice"
) -> int:
    """Train one after the other, alone or with the other processes of torchrun; the exit code."""
    from pgbench.distributed import joined
    from pgbench.reproductions.launch import run as launch

    failed = False
    with joined(device) as world:
        for config in configs:
            status = launch(
                config, data=data, out=out, device=device, compiling=compiling, world=world
            )
            if status.status == "interrupted":
                return 1 if status.error else 130
            failed = failed or status.status == "failed"
            if world.rank == 0:
                _conclude(config, status, out)
    return 1 if failed else 0


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


def _configs(
    row: str, *, data: str, profile: str, seeds: list[int], phase_kimg: float | None
) -> "list[RunConfig]":
    from pgbench.reproductions.table1 import ROWS, SCALES, row_config
    from pgbench.sources import BUILT_IN, dataset_name

    wanted = row.replace("e-star", "e*")
    if wanted not in [*ROWS, "all"]:
        raise ValueError(f"there is no row {row!r}; the rows are {', '.join(ROWS)} and all")
    if profile not in SCALES:
        raise ValueError(f"there is no profile {profile!r}; the profiles are {', '.join(SCALES)}")
    if phase_kimg is not None and not 0.001 <= phase_kimg < 1e9:
        raise ValueError(
            f"a phase of {phase_kimg} kimg is no training; give --phase-kimg such as 600"
        )
    name, mirror = dataset_name(data)
    return [
        row_config(
            each,
            profile=profile,
            dataset=name,
            mirror=mirror,
            num_images=SCALES[profile].num_images if data in BUILT_IN else None,
            seed=seed,
            phase_kimg=phase_kimg,
        )
        for seed in seeds
        for each in (ROWS if wanted == "all" else [wanted])
    ]


def _show(configs: "list[RunConfig]", as_json: bool) -> None:
    if as_json:
        plain: list[Any] = [config.to_json() for config in configs]
        click.echo(json.dumps(plain[0] if len(plain) == 1 else plain, indent=2))
        return
    for config in configs:
        kimg = config.schedule.total_kimg
        click.echo(f"{config.run_id}  {config.data.resolution}²  {kimg:g} kimg")


def _conclude(config: "RunConfig", status: "RunStatus", out: Path) -> None:
    """Print the row beside the published one and rebuild the report."""
    from rich.console import Console
    from rich.table import Table

    from pgbench.reports.build import build
    from pgbench.reports.table1 import PAPER_DATASET, PAPER_NAME, row_lines
    from pgbench.results import load_results, load_runs

    data, profile = config.data, config.profile
    lines = row_lines(
        load_results(out),
        load_runs(out),
        row=config.row,
        dataset=data.name,
        profile=profile,
        resolution=data.resolution,
    )
    title = f"row {config.row}, {profile}: {status.status}"
    name = PAPER_NAME.get(PAPER_DATASET.get(data.name, ""))
    paper = "published" if name is None else f"published: {name} 128²"
    ours = f"ours: {data.name} {data.resolution}²"
    table = Table("", paper, ours, "difference", title=title)
    for line in lines:
        table.add_row(*line)
    Console().print(table)
    report = build(out, out / "report")
    samples = sorted((out / config.run_id / "samples").glob("*.png"))
    for path in [*report, *samples[-1:]]:
        click.echo(path)
