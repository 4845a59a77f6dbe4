"""`pgbench metrics swd|msssim`: measure image sets (paper section 5); `cli_fidelity` adds the rest.

Options that all metrics share are here.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pgbench.cli_progress import progress_bar

if TYPE_CHECKING:
    from pgbench.metrics.images import ImageSet
    from pgbench.metrics.registry import MetricResult

IMAGES = click.Path(path_type=Path)
Command = Callable[..., None]
Measure = Callable[..., "MetricResult"]

_COMMON = (
    click.option("--num-images", type=click.IntRange(min=1), help="Use the first N images."),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
    click.option(
        "--repeats",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Average over so many seeds.",
    ),
    click.option("--skip-broken", is_flag=True, help="Leave out files that cannot be decoded."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
)
_TWO_SETS = (
    click.option("--mirror", is_flag=True, help="Flip the reals at random, as training did."),
    click.option(
        "--noise-floor", is_flag=True, help="Also measure two disjoint halves of the reals."
    ),
)


@click.group()
def metrics() -> None:
    """Measure image sets: a folder, a .zip, a .npy or .npz of uint8 images, or an image store."""


def common_options(command: Command) -> Command:
    """The options of every metric."""
    for option in reversed(_COMMON):
        command = option(command)
    return command


def two_set_options(command: Command) -> Command:
    """The options of a metric between REAL and FAKE, and the two arguments."""
    for option in reversed(_TWO_SETS):
        command = option(command)
    command = common_options(command)
    return click.argument("real", type=IMAGES)(click.argument("fake", type=IMAGES)(command))


@metrics.command()
@two_set_options
@click.option(
    "--directions",
    type=click.Choice(["orthonormal", "iid"]),
    default="orthonormal",
    show_default=True,
    help="iid is the paper's own; orthonormal blocks scatter less.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
def swd(real: Path, fake: Path, device: str, skip_broken: bool, **options: Any) -> None:
    """Sliced Wasserstein distance x 1000 between REAL and FAKE, lower is better.

    Sets of unequal size are compared by their quantiles.
    """
    from pgbench.metrics import swd as measure

    if device == "cuda":
        from pgbench.environment import choose_device

        choose_device(device)
    sets = open_sets(real, fake, skip_broken=skip_broken)
    run_metric(partial(measure, device=device), sets, **options)


@metrics.command()
@click.argument("fake", type=IMAGES)
@common_options
@click.option(
    "--pairs",
    type=click.Choice(["consecutive", "all"]),
    default="consecutive",
    show_default=True,
    help="(0, 1), (2, 3), ... as the paper has it, or every pair.",
)
@click.option("--reals", type=IMAGES, help="Measure these, too, for reference.")
def msssim(fake: Path, reals: Path | None, skip_broken: bool, **options: Any) -> None:
    """MS-SSIM of the pairs of FAKE, lower means more variation.

    The number of images must be even for consecutive pairs. Nothing is random: --seed is only
    recorded.
    """
    from pgbench.metrics import msssim as measure

    sets = open_sets(fake, *([reals] if reals else []), skip_broken=skip_broken)
    run_metric(partial(_with_reference, measure), sets, **options)


def _with_reference(
    measure: Measure, fake: "ImageSet", reals: "ImageSet | None" = None, **options: Any
) -> "MetricResult":
    return measure(fake, reals=reals, **options)


def open_sets(*paths: Path, skip_broken: bool) -> "list[ImageSet]":
    """Open image sets, with a bar where every file of them is tried first."""
    from pgbench.metrics import open_images
    from pgbench.metrics.messages import shown

    if not skip_broken:
        return [open_images(path) for path in paths]
    found = []
    for path in paths:
        with progress_bar(f"checking {shown(path)}") as progress:
            found.append(open_images(path, skip_broken=True, progress=progress))
        for name in found[-1].skipped:
            click.echo(f"Skipped {shown(f'{path}/{name}')}", err=True)
    return found


def run_metric(
    measure: Measure,
    sets: "list[ImageSet]",
    *,
    as_json: bool,
    repeats: int,
    seed: int,
    num_images: int | None,
    **options: Any,
) -> None:
    """Measure some sets with a bar, as often as asked, and print the result."""
    from dataclasses import replace

    from pgbench.metrics import repeated

    names = " and ".join(each.name for each in sets)
    images = sum(min(each.num_images, num_images or each.num_images) for each in sets)
    with progress_bar(names, images=repeats * images) as progress:

        def once(each_seed: int, index: int) -> "MetricResult":
            part = partial(_part, progress, index, repeats)
            return measure(*sets, seed=each_seed, num_images=num_images, progress=part, **options)

        result = repeated(once, seed=seed, repeats=repeats)
    if skipped := sum(len(each.skipped) for each in sets):
        result = replace(result, protocol=result.protocol | {"skipped_files": skipped})
    show(result, as_json=as_json)


def _part(progress: Callable[[float], None], index: int, count: int, fraction: float) -> None:
    progress((index + fraction) / count)


def show(result: "MetricResult", *, as_json: bool) -> None:
    """Print a result for programs or for people."""
    if as_json:
        click.echo(json.dumps(result.to_json(), allow_nan=False))
        return
    repeats = result.protocol.get("repeats", 1)
    seeds = f"seed {result.seed}"
    if repeats > 1:
        seeds = f"seeds {result.seed}-{result.seed + repeats - 1}"
    click.echo(f"{result.metric}, {result.num_images} images, {seeds}")
    width = max(8, *map(len, result.values))
    for key, value in result.values.items():
        error, floor = result.stderr[key], result.noise_floor
        text = f"{key:>{width}}  {value:10.4f}"
        text += "" if error is None else f"  +- {error:.4f}"
        if floor is not None:
            text += f"  noise floor {floor[key]:.4f}{_other_count(result)}"
        click.echo(text)


def _other_count(result: "MetricResult") -> str:
    """How many images the noise floor took of each half, where that is not what the value took."""
    taken = result.protocol["noise_floor_images"]
    return "" if taken == result.num_images else f" ({taken} images)"
