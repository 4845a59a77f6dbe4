"""`pgbench data`: data sets as image stores."""

from pathlib import Path

import click


@click.group()
def data() -> None:
    """List data sets and prepare image stores."""


@data.command("list")
def list_sets() -> None:
    """The built-in data sets and where this machine keeps them."""
    from pgbench.sources import BUILT_IN, cache_folder

    for source in BUILT_IN.values():
        click.echo(f"{source.name:<12}{source.num_images:>8} images  {source.description}")
    click.echo(f"kept in {cache_folder()}")


@data.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new store.")
@click.option("--from", "pictures", type=click.Path(path_type=Path), help="Pictures, for folder.")
@click.option("--resolution", type=int, help="Of a built-in set.  [32]")
@click.option("--max-images", type=click.IntRange(min=1), help="Take the first so many.")
def prepare(
    name: str, out: Path, pictures: Path | None, resolution: int | None, max_images: int | None
) -> None:
    """Make an image store of NAME: portraits, scenes, or folder (square pictures of one size)."""
    from pgbench.sources import BUILT_IN, built_in_store, folder_store

    if name not in [*BUILT_IN, "folder"]:
        raise ValueError(f"there is no data set {name!r}; take {', '.join(BUILT_IN)} or folder")
    if out.exists():
        raise ValueError(f"{out} exists already; choose another --out or remove it")
    if name == "folder":
        if pictures is None:
            raise ValueError("folder needs --from, the folder of the pictures")
        if resolution is not None:
            raise ValueError("folder takes pictures as they are; leave --resolution out")
        store = folder_store(pictures, out, num_images=max_images)
    else:
        if pictures is not None:
            raise ValueError(f"{name} is drawn, not read; leave --from out")
        store = built_in_store(
            BUILT_IN[name], resolution=resolution or 32, num_images=max_images, out=out
        )
    info = store.info
    click.echo(f"{out}: {info.num_images} images of {info.resolution}x{info.resolution}")
    click.echo(f"fingerprint {info.fingerprint[info.resolution]}")
