"""Sheets that other processes make are those that this one would make, whatever happens to them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgbench.reports import apart
from pgbench.reports.apart import sheets
from pgbench.reports.canvas import MOST_BYTES
from pgbench.reports.sample_grids import shown


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A picture of more than 200 kB, with a name that not every program reads."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a b\n\udcff.png")
    return tmp_path / "a b\n\udcff.png"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "FEW", 0)


def test_a_sheet_is_the_same(large: Path) -> None:
    with sheets(1) as sheet:
        assert sheet(large) == sheet(large) == shown(large)
    assert len(shown(large)) <= MOST_BYTES


def test_what_is_no_picture_is_told_and_the_next_one_is_drawn(large: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("text")
    with sheets(1) as sheet:
        with pytest.raises(ValueError, match=r"text\.png is no picture"):
            sheet(tmp_path / "text.png")
        assert sheet(large) == shown(large)


def test_a_lost_process_costs_nothing(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def kept(module: str) -> apart.Process:
        begun.append(started(module))
        return begun[-1]

    started = apart.started
    monkeypatch.setattr(apart, "started", kept)
    with sheets(1) as sheet:
        expected = sheet(large)
        begun[0].kill()
        begun[0].wait()
        assert [sheet(large), sheet(large)] == [expected, expected]
    assert [process.returncode for process in begun] == [-9, 0]


def test_few_sheets_start_no_process(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "FEW", 1)
    monkeypatch.setattr(apart, "started", None)
    with sheets(2) as sheet:
        assert sheet(large) == shown(large)
