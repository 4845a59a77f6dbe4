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


def read(document: Path) -> str:
    return (HERE / document).read_text()


def test_no_committed_picture_is_large() -> None:
    pictures = [path for path in KEPT.rglob("*") if path.suffix in (".png", ".jpeg")]
    assert pictures
    assert [path for path in pictures if path.stat().st_size > 200_000] == []
