"""The committed results: the documents show the ledger that follows from them, sheets are small."""

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


def test_the_documents_show_the_ledger_of_the_committed_runs(keep: ModuleType) -> None:
    told = keep.ledger(KEPT)
    assert "| Growing improves quality (section 6.1, table 1) | portraits | desktop |" in told
    for document in keep.SHOWING_THE_LEDGER:
        assert keep.LEDGER.findall((HERE / document).read_text()) == [told]


def test_no_committed_picture_is_large() -> None:
    pictures = [path for path in KEPT.rglob("*") if path.suffix in (".png", ".jpeg")]
    assert pictures
    assert [path for path in pictures if path.stat().st_size > 200_000] == []
