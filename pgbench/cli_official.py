"""`pgbench import-official`: a released network pickle as snapshots."""

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command("import-official")
@click.argument("file", type=_PATH)
@click.option("--out", type=_PATH, required=True, help="The snapshot of G_ema, a .safetensors.")
def import_official(file: Path, out: Path) -> None:
    """Convert FILE, a released network pickle, to a snapshot for generate and video.

    FILE is read and never loaded: nothing in it is run. G and D are written beside the snapshot,
    as NAME-G.safetensors and NAME-D.safetensors, for pgbench.official.continue_from.
    """
    from pgbench.official import read_official, save_official

    for path in save_official(read_official(file), out):
        click.echo(path)
