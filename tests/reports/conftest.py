"""Canned run folders: what a run leaves behind, without running it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pgbench.reports.names import file_stem
from pgbench.results import Record, RunFolder, RunStatus

MakeRun = Callable[..., RunFolder]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


@pytest.fixture
def make_run(results: Path) -> MakeRun:
    """Write one run of table 1, unless said otherwise.

    `values` maps (metric, key) to a value, `earlier` a clock to such values before; `record`
    changes the fields of all records.
    """

    def make(
        row: str,
        values: dict[tuple[str, str], float] | None = None,
        *,
        artefact: str = "table1",
        earlier: dict[float, dict[tuple[str, str], float]] | None = None,
        seed: int = 0,
        status: str = "done",
        kimg: float = 90.0,
        dataset: str = "portraits",
        profile: str = "desktop",
        resolution: int = 64,
        lr: float = 1e-3,
        run_id: str | None = None,
        record: dict[str, object] | None = None,
    ) -> RunFolder:
        data = {"name": dataset, "resolution": resolution, "mirror": True, "num_images": None}
        config = {"artefact": artefact, "row": row, "profile": profile, "seed": seed, "data": data}
        config |= {"optimiser": {"lr": lr}, "schedule": {"total_kimg": 90.0}}
        place = f"{dataset}-{profile}-s{seed}-{resolution}-{lr}"
        name = run_id or file_stem(artefact, row.replace("*", "-star"), place)
        run = RunFolder.open(results, name, json.loads(json.dumps(config)))
        run.write_status(
            RunStatus.model_validate(
                {"status": status, "kimg": kimg, "total_kimg": 90, "wall_sec": 1800}
            )
        )
        clocks = (earlier or {}) | {kimg: values or {}}
        known = [(at, *of, value) for at, here in clocks.items() for of, value in here.items()]
        for at, metric, key, value in known:
            fields = {
                **{"run_id": name, "artefact": artefact, "row": row, "dataset": dataset},
                **{"dataset_fingerprint": "f0", "resolution": resolution, "profile": profile},
                **{"seed": seed, "kimg": at, "metric": metric, "key": key, "value": value},
                **{"stderr": None, "num_images": 2048, "metric_version": 1, "protocol": {}},
                **{"wall_sec": 1.5, "status": "ok", "error": None},
            }
            run.append_record(Record.model_validate(fields | (record or {})))
        return run

    return make


@pytest.fixture
def latex_rows() -> Callable[[str], list[str]]:
    """The rows of a Markdown table as booktabs has them, by plain replacement."""

    def rows(markdown: str) -> list[str]:
        lines = [line for line in markdown.splitlines() if line.startswith("| ")]
        return [" & ".join(map(_in_latex, line[2:-2].split(" | "))) + " \\\\" for line in lines[2:]]

    return rows


def _in_latex(cell: str) -> str:
    text = re.sub("^-(?=[0-9])", "\0", cell.strip().replace("\\*", "*"))
    for plain, latex in {
        **{"&amp;": r"\&", "±": r"\ensuremath{\pm}", "%": r"\%", "_": r"\_"},
        **{"—": r"\textemdash{}", "×": r"\ensuremath{\times}"},
        **{"\0": r"\ensuremath{-}", "--": "-{}-"},
    }.items():
        text = text.replace(plain, latex)
    text = re.sub(r"\*\*(.*?)\*\*", r"\\textbf{\1}", text)
    text = re.sub(r" <sup>(\d+)</sup>", r"\\textsuperscript{\1}", text)
    return text.replace("*", "{*}")
