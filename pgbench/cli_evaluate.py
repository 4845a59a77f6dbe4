"""`pgbench evaluate` and `pgbench generate`: what to do with trained runs and snapshots."""

from pathlib import Path

import click

_DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--metrics", "names", help="Such as swd16k,msssim10k.  [those of the configuration]")
@click.option("--data", help="portraits, scenes or DIR.  [what the run was trained on]")
@_DEVICE
def evaluate(runs: tuple[Path, ...], names: str | None, data: str | None, device: str) -> None:
    """Measure every snapshot of RUNS and add the values to their records."""
    from pgbench.cli_progress import progress_bar
    from pgbench.distributed import joined
    from pgbench.environment import choose_device
    from pgbench.evaluate import assist, evaluate_run

    metrics = tuple(name.strip() for name in names.split(",")) if names else None
    with joined(device) as world:
        for run in runs:
            if world.rank:
                assist(world, choose_device(device))
                continue
            with progress_bar(f"evaluating {run}") as progress:
                evaluate_run(
                    run,
                    metrics,
                    data=data,
                    device=choose_device(device),
                    on_progress=lambda _, fraction: progress(fraction),
                    world=world,
                )
            click.echo(run / "metrics.jsonl")


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--seeds", default="0-63", show_default=True, help="Such as 0-3 or 0,2,5.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the PNGs.")
@_DEVICE
def generate(source: Path, seeds: str, out: Path, device: str) -> None:
    """Write images of SOURCE, a run (its last snapshot) or a snapshot file, as PNGs."""
    from pgbench.checkpoint import load_snapshot
    from pgbench.cli_run import parse_seeds
    from pgbench.distributed import joined
    from pgbench.environment import choose_device
    from pgbench.grids import save_picture
    from pgbench.sampling import dealt
    from pgbench.sampling import generate as images_of

    chosen = parse_seeds(seeds)
    with joined(device) as world:
        generator, info = load_snapshot(_snapshot(source), choose_device(device))
        out.mkdir(parents=True, exist_ok=True)
        mine = dealt(chosen, world)
        images = (image for batch in images_of(generator, mine, lod=info.lod) for image in batch)
        for seed, image in zip(mine, images, strict=True):
            save_picture(out / f"seed{seed:06d}.png", image)
        world.any(False)  # all have written theirs
        if world.rank == 0:
            click.echo(out)


def _snapshot(source: Path) -> Path:
    """The file of a snapshot, or that of a run's last one."""
    from pgbench.results import RunFolder

    if not source.exists():
        raise ValueError(f"there is no run or snapshot at {source}; give one that is")
    if not source.is_dir():
        return source
    snapshots = RunFolder.at(source).snapshots_done()
    if not snapshots:
        raise ValueError(f"{source} has no snapshot yet; let it train further")
    return snapshots[-1][1]
