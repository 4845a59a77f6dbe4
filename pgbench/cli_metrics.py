"""`pgbench metrics`: measure image sets (paper section 5)."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pgbench.metrics.registry import MetricResult

_IMAGES = click.Path(path_type=Path)
_Command = Callable[..., None]


@click.group()
def metrics() -> None:
    """Measure image sets: a folder, a .zip, a .npy or .npz of uint8 images, or an image store."""


def _common_options(command: _Command) -> _Command:
    options = (
        click.option("--num-images", type=click.IntRange(min=1), help="Use the first N images."),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@metrics.command()
@click.argument("real", type=_IMAGES)
@click.argument("fake", type=_IMAGES)
@_common_options
@click.option("--mirror", is_flag=True, help="Flip the reals at random, as training did.")
def swd(real: Path, fake: Path, mirror: bool, as_json: bool, **options: Any) -> None:
    """Sliced Wasserstein distance x 1000 between REAL and FAKE, lower is better.

    Without --num-images, both sets are used whole and must hold equally many images.
    """
    from pgbench.metrics import open_images
    from pgbench.metrics import swd as measure

    real_set, fake_set = open_images(real), open_images(fake)
    with progress_bar("swd") as progress:
        result = measure(real_set, fake_set, mirror=mirror, progress=progress, **options)
    _show(result, as_json)


@metrics.command()
@click.argument("fake", type=_IMAGES)
@_common_options
def msssim(fake: Path, as_json: bool, **options: Any) -> None:
    """MS-SSIM of the pairs (0, 1), (2, 3), ... of FAKE, lower means more variation.

    The number of images must be even. Nothing is random: --seed is only recorded.
    """
    from pgbench.metrics import msssim as measure
    from pgbench.metrics import open_images

    fake_set = open_images(fake)
    with progress_bar("msssim") as progress:
        result = measure(fake_set, progress=progress, **options)
    _show(result, as_json)


@contextmanager
def progress_bar(name: str) -> Iterator[Callable[[float], None]]:
    """A function that shows a fraction done on stderr, if that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(name, total=1.0)
        yield lambda fraction: bar.update(task, completed=fraction)


def _show(result: "MetricResult", as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(result.to_json(), allow_nan=False))
        return
    click.echo(f"{result.metric}, {result.num_images} images, seed {result.seed}")
    for key, value in result.values.items():
        error = result.stderr[key]
        click.echo(f"{key:>8}  {value:10.4f}" + ("" if error is None else f"  +- {error:.4f}"))
