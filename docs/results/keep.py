"""Put finished runs here: their numbers, last sheets and report, and tables into the documents.

`python docs/results/keep.py RESULTS docs/results/desktop`, from the top of the repository. What the
folder held before goes; pages and the sheets of single runs are left to `pgbench report`. In the
documents `<!-- table NAME -->` and `<!-- end -->` enclose a table of the report, or the ledger.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from pgbench.cli_report import write_report
from pgbench.reports.canvas import MOST_BYTES
from pgbench.reports.sample_grids import GAP, SIDE
from pgbench.reports.sheets import SAMPLES
from pgbench.reports.training_stats import load_stats
from pgbench.reproductions.claims import judge, to_markdown
from pgbench.results import RunFolder, load_results, load_runs

FILES = ("config.json", "environment.json", "status.json", "stats.jsonl", "metrics.jsonl")
SHOWN = "desktop"  # the profile whose tables the documents have
DOCUMENTS = (Path("README.md"), Path("docs/results/README.md"))
TABLE = re.compile(r"<!-- table (\S+) -->\n(.*?)<!-- end -->", re.DOTALL)


def keep_run(run: RunFolder, out: Path) -> None:
    """Copy what the numbers of a run are read from, and its last sheet of samples.

    Of a large sheet the reals are left out, which are in others, too, then the last lines of fakes.
    """
    samples = out / run.run_id / "samples"
    samples.mkdir(parents=True)
    for name in FILES:
        shutil.copy(run.path / name, samples.parent)
    last = max(run.samples.glob("*.png"))
    with Image.open(last) as sheet:
        fakes = sheet.crop((0, 0, sheet.width // 2 + GAP // 2, sheet.height))
        some = Image.new("RGB", fakes.size, "white")
        some.paste(fakes.crop((0, 0, fakes.width, fakes.height * SAMPLES // SIDE)))
        for shown in (sheet, fakes, some):
            shown.save(samples / last.name, optimize=True)
            if (samples / last.name).stat().st_size <= MOST_BYTES:
                return


def keep_report(kept: Path) -> None:
    """Build the report of `kept` and copy what can be read without a browser."""
    with tempfile.TemporaryDirectory() as folder:
        write_report(kept, Path(folder))
        runs = [path.name for path in kept.iterdir()]
        for path in sorted(Path(folder).rglob("*.*")):
            name = path.relative_to(folder)
            of_run = path.stem.startswith(tuple(runs))
            if name.parts[0] in ("report.md", "tables", "figures", "pictures") and not of_run:
                (kept / "report" / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, kept / "report" / name)


def ledger(kept: Path) -> str:
    """The verdicts on the paper's claims, as a table."""
    runs = load_runs(kept)
    return to_markdown(judge(load_results(kept), runs, load_stats(runs)))


def table(kept: Path, name: str) -> str:
    """A table of the report without its title, or the ledger, between empty lines."""
    if name == "ledger":
        text = ledger(kept)
    else:
        whole = (kept / "report" / "tables" / f"{name}.md").read_text()
        text = whole.partition("\n\n")[2]
    return f"\n{text.rstrip()}\n\n"


def main() -> None:
    results, kept = map(Path, sys.argv[1:])
    shutil.rmtree(kept, ignore_errors=True)
    runs = load_runs(results)
    for path in runs.loc[runs["status"] == "done", "path"]:
        keep_run(RunFolder(path), kept)
    keep_report(kept)
    for document in DOCUMENTS if kept.name == SHOWN else ():
        shown = TABLE.sub(
            lambda found: f"<!-- table {found[1]} -->\n{table(kept, found[1])}<!-- end -->",
            document.read_text(),
        )
        document.write_text(shown)


if __name__ == "__main__":
    main()
