"""`pgbench video`: a walk through the latents of a snapshot, or the film of a run, as MP4."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from pgbench.data import Images

_OF_A_WALK = ("grid", "seed", "smoothing", "size", "device")


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .mp4 to write.")
@click.option("--film", is_flag=True, help="The sample sheets of a run instead, in their order.")
@click.option("--seconds", type=float, default=10.0, show_default=True, help="How long it lasts.")
@click.option("--fps", type=click.IntRange(1, 240), default=30, show_default=True)
@click.option("--grid", default="4x3", show_default=True, help="Columns and rows of cells.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--smoothing", type=float, default=1.0, show_default=True, help="σ in seconds.")
@click.option("--size", type=click.IntRange(min=4), help="Pixels of a cell.  [those of its image]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.pass_context
def video(
    context: click.Context,
    /,
    source: Path,
    out: Path,
    film: bool,
    seconds: float,
    fps: int,
    **of_a_walk: object,
) -> None:
    """Write a looping walk through the latents of SOURCE, a run (its last snapshot) or a snapshot
    file, as MP4; or, with --film, how the samples of the run SOURCE changed while it trained.
    """
    from pgbench.cli_progress import progress_bar
    from pgbench.results import RunFolder
    from pgbench.video import film as film_of
    from pgbench.video import write_video

    if film:
        _refuse_options_of_a_walk(context)
        total, frames = film_of(RunFolder.at(source), seconds=seconds, fps=fps)
    else:
        total, frames = _walk(source, seconds, fps, **of_a_walk)  # type: ignore[arg-type]
    with progress_bar(f"writing {out}", images=total) as progress:
        write_video(out, _counted(frames, total, progress), fps=fps)
    click.echo(out)


def _refuse_options_of_a_walk(context: click.Context) -> None:
    for name in _OF_A_WALK:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} is of a walk; give it without --film.")


def _walk(
    source: Path,
    seconds: float,
    fps: int,
    *,
    grid: str,
    seed: int,
    smoothing: float,
    size: int | None,
    device: str,
) -> "tuple[int, Iterator[Images]]":
    """How many frames a walk has, and those."""
    from pgbench.checkpoint import load_snapshot
    from pgbench.environment import choose_device
    from pgbench.video import cell_edge, frame_count, walk_frames

    columns, rows = _parsed_grid(grid)
    total = frame_count(seconds, fps)
    generator, info = load_snapshot(snapshot_of(source), choose_device(device))
    edge = cell_edge(info.generator.resolution, columns, rows, size)
    return total, walk_frames(
        generator,
        (columns, rows),
        lod=info.lod,
        frames=total,
        sigma=smoothing * fps,
        seed=seed,
        edge=edge,
    )


def snapshot_of(source: Path) -> Path:
    """`source` if it is a file, the last snapshot if it is a run; ValueError when there is none."""
    from pgbench.results import RunFolder

    if not source.exists():
        raise ValueError(f"there is no run or snapshot at {source}; give one that is")
    if not source.is_dir():
        return source
    snapshots = RunFolder.at(source).snapshots_done()
    if not snapshots:
        raise ValueError(f"{source} has no snapshot yet; let it train further")
    return snapshots[-1][1]


def _parsed_grid(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", text, re.ASCII)
    if match is None:
        raise ValueError(f"--grid {text!r} is no grid; write columns and rows, such as 4x3")
    return int(match[1]), int(match[2])


def _counted(
    frames: "Iterator[Images]", total: int, progress: Callable[[float], None]
) -> "Iterator[Images]":
    for done, frame in enumerate(frames, start=1):
        yield frame
        progress(done / total)
