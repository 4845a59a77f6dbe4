"""The command line: `pgbench VERB`. Each verb has a file; heavy imports are inside the commands."""

import os
import sys
from typing import NoReturn

import click

from pgbench import __version__
from pgbench.cli_check import check
from pgbench.cli_compare import compare
from pgbench.cli_data import data
from pgbench.cli_doctor import doctor
from pgbench.cli_evaluate import evaluate, generate
from pgbench.cli_fidelity import fid, inception_score, kid, prdc
from pgbench.cli_metrics import metrics
from pgbench.cli_modes import modes
from pgbench.cli_neighbours import neighbours
from pgbench.cli_official import import_official
from pgbench.cli_report import report
from pgbench.cli_run import run
from pgbench.cli_video import video

# How long a thread of libgomp, torch's own, waits by spinning. By default it is milliseconds, on
# a core that a step's other half could use; to be said before torch is imported.
SPINNING = {"GOMP_SPINCOUNT": "10000"}
INTERRUPTED = 130  # what a shell reports for Ctrl-C


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pgbench")
def cli() -> None:
    """Reproducible evaluation of generative models, starting with Progressive GANs."""


for command in (
    run,
    evaluate,
    generate,
    video,
    neighbours,
    metrics,
    compare,
    check,
    data,
    report,
    import_official,
    doctor,
):
    cli.add_command(command)
for metric in (inception_score, fid, kid, prdc, modes):
    metrics.add_command(metric)


def main() -> None:
    """Run the command line: errors are one sentence on stderr and exit code 2."""
    for name, value in SPINNING.items():
        os.environ.setdefault(name, value)
    try:
        with cli.make_context("pgbench", sys.argv[1:]) as context:
            cli.invoke(context)  # not cli.main, which ends with 1 when the reader has gone
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        _say("Interrupted.")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone
        sys.exit(0)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        from pgbench.errors import out_of_memory, sentence

        told = isinstance(error, ValueError | OSError) or out_of_memory(error)
        if not told or os.environ.get("PGBENCH_TRACEBACK"):
            raise
        _fail(sentence(error))


def _fail(message: str) -> NoReturn:
    """Say it on one line, whatever the message held."""
    _say(f"Error: {' '.join(message.split())}")
    sys.exit(2)


def _say(line: str) -> None:
    """Write to stderr; of several processes the first one speaks for all (pgbench.distributed)."""
    if os.environ.get("RANK", "0") == "0":
        click.echo(line, err=True)
