"""The committed results: the documents show the tables that follow from them, sheets are small."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

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


def read(document: Path) -> str:
    return (HERE / document).read_text()


def test_no_committed_picture_is_large() -> None:
    pictures = [path for path in KEPT.rglob("*") if path.suffix in (".png", ".jpeg")]
    assert pictures
    assert [path for path in pictures if path.stat().st_size > 200_000] == []
