"""The bar that long work shows on stderr, if that is a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(name: str, *, images: int | None = None) -> Iterator[Callable[[float], None]]:
    """A function that shows a fraction done, the time left and, of `images`, how many a second."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress, TextColumn

    columns = Progress.get_default_columns()
    if images is not None:
        columns = (*columns, TextColumn("{task.fields[rate]}"))
    console = Console(stderr=True)
    total = images or 1
    hidden = not sys.stderr.isatty()
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task(escape(name), total=total, rate="")

        def show(fraction: float) -> None:
            speed = bar.tasks[0].speed
            bar.update(
                task,
                completed=fraction * total,
                rate=f"{speed:.0f} images/s" if speed else "",
            )

        yield show
