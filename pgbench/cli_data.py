"""`pgbench data`: data sets as image stores."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pgbench.cli_progress import progress_bar

if TYPE_CHECKING:
    from pgbench.data import ImageStore

_PATH = click.Path(path_type=Path)


@click.group()
def data() -> None:
    """List data sets, prepare image stores, look into them."""


@data.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_sets(as_json: bool) -> None:
    """What there is: count, licence, where to get it, and the stores on this machine."""
    from pgbench.catalogue import REAL, known_stores
    from pgbench.sources import BUILT_IN, cache_folder

    rows = [
        {
            "name": each.name,
            "num_images": f"{each.num_images:,}",
            "licence": "Apache-2.0" if each.name == "portraits" else "those of the photographs",
            "from": f"built in: {each.description}",
        }
        for each in BUILT_IN.values()
    ]
    rows += [
        {
            "name": each.name,
            "num_images": each.num_images,
            "licence": each.licence,
            "from": each.address,
        }
        for each in REAL.values()
    ]
    stores = [
        {"path": str(store.path), "name": store.info.name, "num_images": store.info.num_images}
        | {"resolution": store.info.resolution}
        for store in known_stores()
    ]
    if as_json:
        click.echo(json.dumps({"schema": 1, "sets": rows, "stores": stores}))
        return
    for row in rows:
        click.echo(f"{row['name']:<17}{row['num_images']:>14}  {row['licence']}")
        click.echo(f"{'':<17}{row['from']}")
    click.echo(f"\nOn this machine (built-in sets are kept in {cache_folder()}):")
    for each in stores or [{}]:
        click.echo(
            f"{each['name']:<17}{each['num_images']:>14,}  {each['resolution']}²  {each['path']}"
            if each
            else "none yet"
        )


@data.command()
@click.argument("name")
@click.option("--out", type=_PATH, required=True, help="The new store.")
@click.option("--from", "path", type=_PATH, help="What you have: a folder, zip, archive, LMDB, …")
@click.option("--resolution", type=int, help="Of a built-in set [32], LSUN [256] or folder.")
@click.option("--max-images", type=click.IntRange(min=1), help="Take the first so many.")
@click.option("--crop", type=click.Choice(["none", "centre"]), help="Of a folder.  [none]")
@click.option("--resize", type=click.Choice(["lanczos", "box"]), help="Of a folder.")
@click.option("--allow-upscale", is_flag=True, help="Enlarge pictures that are too small.")
def prepare(name: str, out: Path, path: Path | None, **options: Any) -> None:
    """Make an image store of NAME as the paper has it.

    NAME is portraits, scenes (built in), celeba, celeba-hq, lsun-CATEGORY, cifar10, mnist-rgb or
    folder (any pictures, StyleGAN-style zips with labels). Of any but mnist-rgb, --from may also be
    a folder of the released TFRecords or an HDF5 file. The same command resumes.
    """
    from pgbench.catalogue import Options, known_name, prepare_real, remember
    from pgbench.sources import BUILT_IN, built_in_store

    if name not in BUILT_IN and not known_name(name):
        raise ValueError(
            f"there is no data set {name!r}; pgbench data list names them, and folder takes any "
            "pictures"
        )
    if out.exists():
        raise ValueError(f"{out} exists already; choose another --out or remove it")
    if name in BUILT_IN:
        chosen = [key for key in ("crop", "resize", "allow_upscale") if options.pop(key)]
        if path is not None or chosen:
            raise ValueError(f"{name} is drawn, not read; leave --from, --crop and --resize out")
        resolution, count = options["resolution"] or 32, options["max_images"]
        store = built_in_store(BUILT_IN[name], resolution=resolution, num_images=count, out=out)
        remember(store.path)
    elif path is None:
        raise ValueError(f"{name} needs --from, what it is read from; pgbench data list tells")
    else:
        store = prepare_real(name, path, out, Options(**options))
    _tell(out, store)


def _tell(out: Path, store: "ImageStore") -> None:
    info = store.info
    click.echo(f"{out}: {info.num_images} images of {info.resolution}x{info.resolution}")
    click.echo(f"fingerprint {info.fingerprint[info.resolution]}")
    if info.note:
        click.echo(f"note: {info.note}")
    if info.num_skipped:
        click.echo(f"{info.num_skipped} unreadable entries were left out; dataset.json names them")


@data.command()
@click.argument("name", type=click.Choice(["cifar10", "mnist-rgb"]))
@click.option("--out", type=_PATH, required=True, help="Folder for the files.")
def download(name: str, out: Path) -> None:
    """Fetch the files that NAME is prepared from; the same command resumes."""
    from pgbench.catalogue import REAL

    fetch = REAL[name].download
    assert fetch is not None
    with progress_bar(f"downloading {name}") as progress:
        fetch(out, progress=progress)
    click.echo(out)


@data.command()
@click.argument("store", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--sheet", type=_PATH, help="Also write a PNG of samples to FILE.")
def inspect(store: Path, as_json: bool, sheet: Path | None) -> None:
    """What a store holds: counts, levels, labels, mean and deviation, fingerprints."""
    from pgbench.data import ImageStore
    from pgbench.grids import save_picture
    from pgbench.inspection import inspect_store
    from pgbench.inspection import sheet as sheet_of

    with progress_bar(f"reading {store}") as progress:
        found = inspect_store(store, progress=progress)
    if sheet is not None:
        save_picture(sheet, sheet_of(ImageStore.open(store)).transpose(2, 0, 1))
    if as_json:
        click.echo(json.dumps(found, allow_nan=False))
        return
    counts = list(((found["labels"] or {}).pop("counts", None) or {}).values())
    if counts:
        found["labels"]["images_of_a_class"] = [min(counts), max(counts)]
    width = max(map(len, found))
    for key, value in found.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        click.echo(f"{key:<{width}}  {text}")


@data.command()
@click.argument("store", type=_PATH)
def verify(store: Path) -> None:
    """Hash every level again, and name the first image that differs; exit code 1 if one does."""
    from pgbench.inspection import verify_store

    with progress_bar(f"hashing {store}") as progress:
        wrong = verify_store(store, progress=progress)
    if wrong is not None:
        click.echo(wrong, err=True)
        raise click.exceptions.Exit(1)
    click.echo(f"{store} is as it was prepared")


@data.command()
@click.argument("store", type=_PATH)
@click.option("--out", type=_PATH, required=True, help="The new folder of TFRecords.")
def export(store: Path, out: Path) -> None:
    """Write STORE as TFRecords in the released layout (pgbench[official])."""
    from pgbench.data import ImageStore
    from pgbench.tfrecords import write_tfrecords

    opened = ImageStore.open(store)
    with progress_bar(f"writing {out}", images=opened.info.num_images) as progress:
        write_tfrecords(opened, out, progress=progress)
    click.echo(out)
