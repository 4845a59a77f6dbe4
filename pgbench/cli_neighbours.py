"""`pgbench neighbours`: the training images nearest to samples of a run."""

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", help="portraits, scenes or DIR.  [what the run was trained on]")
@click.option("--count", default=8, show_default=True, help="How many samples, 1 to 64.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
def neighbours(run: Path, data: str | None, count: int, device: str) -> None:
    """Search the training images nearest to samples of RUN's last snapshot.

    Writes into RUN neighbours.png (each line a sample and its five nearest), neighbours.json (the
    distances, and those of reals as a scale) and walk.png (walks between latents), and prints
    their paths. `pgbench report` shows them.
    """
    from pgbench.cli_progress import progress_bar
    from pgbench.environment import choose_device, last_data
    from pgbench.neighbours import nearest_training_images, training_store
    from pgbench.results import RunFolder

    folder = RunFolder.at(run)
    store = training_store(folder, data or last_data(folder.environment_path))
    with progress_bar(f"searching {store.info.name}") as progress:
        paths = nearest_training_images(
            folder, store, count=count, device=choose_device(device), on_progress=progress
        )
    for path in paths:
        click.echo(path)
