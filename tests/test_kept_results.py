"""The committed results: the documents show the tables that follow from them, sheets are small."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from pgbench import watch

HERE = Path(__file__).parents[1]
KEPT = HERE / "docs" / "results" / "desktop"


@pytest.fixture(scope="module")
def keep() -> ModuleType:
    spec = importlib.util.spec_from_file_location("keep", HERE / "docs" / "results" / "keep.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_documents_show_the_tables_of_the_committed_runs(keep: ModuleType) -> None:
    shown = [match for document in keep.DOCUMENTS for match in keep.TABLE.findall(read(document))]
    assert [name for name, _ in shown].count("ledger") == len(keep.DOCUMENTS)
    for name, text in shown:
        assert text == keep.table(KEPT, name), name


def test_the_watch_keeps_the_distance_from_our_runs_that_it_states(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the figures of its docstring as limits it would still be silent."""
    stated = {"_GRADIENT_FACTOR": 2.9, "_SCORE_BOUND": 19, "_SCORE_FACTOR": 0}
    for name, limit in (stated | {"_SPREAD_FRACTION": 0.20}).items():
        monkeypatch.setattr(watch, name, limit)
    runs = sorted(KEPT.parent.glob("*/table1-*/stats.jsonl"))
    assert len(runs) > 60
    for path in runs:
        first = json.loads(path.with_name("config.json").read_text())["schedule"]["train_kimg"]
        watching = watch.Watch([], first_phase_kimg=first)
        for stats in map(json.loads, path.read_text().splitlines()):
            assert watching.warnings(stats) == [], path
            assert abs(stats["real_score"]) <= 8.5


def test_the_guide_states_the_memory_of_the_committed_runs() -> None:
    first = span([before for before, _ in memory("a")])
    last = {row: span([end for _, end in memory(row)]) for row in "abg"}
    stated = (
        f"row a, whose minibatch is 64, reached {first} MB before its first snapshot and "
        f"{last['a']} MB with the metrics of its snapshots in the same process; "
        f"row b reached {last['b']} MB and row g {last['g']} MB with them."
    )
    assert stated in " ".join(read(Path("docs/reproducing.md")).split())


def memory(row: str) -> list[tuple[float, float]]:
    """Peak MB before the first snapshot and at the end, of each run of `row` on portraits."""
    peaks = []
    for path in sorted(KEPT.glob(f"table1-{row}-portraits-*/stats.jsonl")):
        records = path.with_name("metrics.jsonl").read_text().splitlines()
        snapshot = min(json.loads(record)["kimg"] for record in records)
        ticks = [json.loads(line) for line in path.read_text().splitlines()]
        before = [tick["peak_memory_mb"] for tick in ticks if tick["kimg"] < snapshot]
        peaks.append((before[-1], ticks[-1]["peak_memory_mb"]))
    return peaks


def span(values: list[float]) -> str:
    return f"{min(values):,.0f} to {max(values):,.0f}"


def read(document: Path) -> str:
    return (HERE / document).read_text()


def test_no_committed_picture_is_large() -> None:
    pictures = [path for path in KEPT.rglob("*") if path.suffix in (".png", ".jpeg")]
    assert pictures
    assert [path for path in pictures if path.stat().st_size > 200_000] == []
