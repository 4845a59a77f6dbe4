"""`pgbench metrics is|fid|kid|prdc`: what a network sees in image sets (paper section 5)."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pgbench.cli_metrics import (
    IMAGES,
    Command,
    Measure,
    common_options,
    open_sets,
    run_metric,
    two_set_options,
)
from pgbench.cli_progress import progress_bar

if TYPE_CHECKING:
    from pgbench.metrics.extractors import Extractor
    from pgbench.metrics.images import ImageSet

_EXTRACTOR = (
    click.option(
        "--extractor",
        type=click.Choice(["inception", "efficientnet-lite0"]),
        default="inception",
        show_default=True,
        help="The second needs no download (pgbench[effnet]); its numbers have their own names.",
    ),
    click.option(
        "--weights",
        type=click.Path(path_type=Path),
        help="File of the Inception weights.  [the one in the cache, else downloaded]",
    ),
    click.option(
        "--allow-other-weights", is_flag=True, help="Take a FILE with another SHA-256, and say so."
    ),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto"),
    click.option("--no-cache", is_flag=True, help="Neither read nor keep features."),
)


def extractor_options(command: Command) -> Command:
    """The options of every metric that looks through a network."""
    for option in reversed(_EXTRACTOR):
        command = option(command)
    return command


@click.command("is")
@click.argument("fake", type=IMAGES)
@common_options
@extractor_options
@click.option("--splits", type=click.IntRange(min=1), default=10, show_default=True)
def inception_score(fake: Path, splits: int, **options: Any) -> None:
    """Inception score of FAKE, higher is better; with EfficientNet is-effnetlite0."""
    from pgbench.metrics import inception_score as measure

    _run(partial(measure, splits=splits), (fake,), **options)


@click.command()
@two_set_options
@extractor_options
@click.option(
    "--save-stats",
    type=click.Path(path_type=Path),
    help="Write mean and covariance of the reals' features to FILE.npz, to use as REAL.",
)
def fid(real: Path, fake: Path, save_stats: Path | None, **options: Any) -> None:
    """Fréchet inception distance, lower is better; with EfficientNet fd-effnetlite0.

    REAL may be an .npz of the statistics `mu` and `sigma`, as pytorch-fid and clean-fid write it.
    """
    from pgbench.metrics import fid as measure
    from pgbench.metrics import load_statistics
    from pgbench.metrics.frechet import holds_statistics

    if not holds_statistics(real):
        _run(measure, (real, fake), save_stats=save_stats, **options)
        return
    if save_stats is not None:
        raise click.UsageError(f"{real} is a file of statistics already; leave out --save-stats.")
    for name in ("mirror", "noise_floor"):
        if options.pop(name):
            raise click.UsageError(
                f"--{name.replace('_', '-')} needs the real images, not statistics of them."
            )
    _run(partial(measure, load_statistics(real)), (fake,), **options)


@click.command()
@two_set_options
@extractor_options
@click.option("--subsets", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--subset-size", type=click.IntRange(min=2), default=1000, show_default=True)
def kid(real: Path, fake: Path, subsets: int, subset_size: int, **options: Any) -> None:
    """Kernel inception distance, lower is better; with EfficientNet kd-effnetlite0."""
    from pgbench.metrics import kid as measure

    _run(partial(measure, subsets=subsets, subset_size=subset_size), (real, fake), **options)


@click.command()
@two_set_options
@extractor_options
def prdc(real: Path, fake: Path, **options: Any) -> None:
    """Precision, recall, density and coverage, higher is better."""
    from pgbench.metrics import prdc as measure

    _run(measure, (real, fake), **options)


def _run(
    measure: Measure,
    paths: tuple[Path, ...],
    *,
    extractor: str,
    weights: Path | None,
    allow_other_weights: bool,
    device: str,
    no_cache: bool,
    skip_broken: bool,
    save_stats: Path | None = None,
    **options: Any,
) -> None:
    if save_stats is not None and not save_stats.resolve().parent.is_dir():
        raise click.UsageError(f"There is no folder {save_stats.parent} for --save-stats; make it.")
    sets = open_sets(*paths, skip_broken=skip_broken)
    network = _open(extractor, weights, allow_other_weights, device)
    seen_by = {"extractor": network, "cache": not no_cache}
    run_metric(partial(measure, **seen_by), sets, **options)
    if save_stats is not None:
        chosen = {key: options[key] for key in ("num_images", "mirror", "seed")}
        _save_statistics(save_stats, sets[0], **seen_by, **chosen)


def _save_statistics(path: Path, reals: "ImageSet", **options: Any) -> None:
    from pgbench.metrics import save_statistics, statistics
    from pgbench.metrics.features import features

    with progress_bar(f"statistics of {reals.name}", images=reals.num_images) as progress:
        seen = features(reals, progress=progress, **options)
    save_statistics(path, statistics(seen.pool))
    click.echo(f"Wrote {path}", err=True)


def _open(name: str, weights: Path | None, allow_other: bool, device: str) -> "Extractor":
    from pgbench.environment import choose_device
    from pgbench.metrics import open_efficientnet, open_inception

    chosen = choose_device(device)
    if name == "efficientnet-lite0":
        if weights is not None:
            raise click.UsageError("--weights are those of Inception; leave them out.")
        return open_efficientnet(chosen)
    with progress_bar("Inception weights") as progress:
        return open_inception(
            weights, allow_other_weights=allow_other, device=chosen, progress=progress
        )
