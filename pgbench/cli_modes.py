"""`pgbench metrics modes`: modes of MNIST in three channels that a set of images has (table 4)."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from pgbench.cli_metrics import IMAGES, common_options, open_sets, run_metric
from pgbench.cli_progress import progress_bar


@click.command()
@click.argument("fake", type=IMAGES)
@common_options
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="The store mnist-rgb or a folder of MNIST's files: the classifier learns their digits.",
)
@click.option(
    "--set-size",
    type=click.IntRange(min=1),
    default=25_600,
    show_default=True,
    help="Images of each set; the values of all sets are averaged.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
def modes(fake: Path, data: Path, device: str, skip_broken: bool, **options: Any) -> None:
    """Of 1000 modes of MNIST in RGB, how many FAKE has, and their KL from uniform.

    Three digits, one a channel, are a mode. The classifier that reads them is trained once, which
    takes minutes, and then kept.
    """
    from pgbench.environment import choose_device
    from pgbench.metrics.digits import open_digit_reader
    from pgbench.metrics.modes import modes as measure
    from pgbench.pictures_mnist import open_digits

    sets = open_sets(fake, skip_broken=skip_broken)
    with progress_bar("training the classifier of digits") as progress:
        reader = open_digit_reader(
            open_digits(data), device=choose_device(device), progress=progress
        )
    run_metric(partial(measure, reader=reader), sets, **options)
