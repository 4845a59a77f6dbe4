"""Files are made when their inputs change, removed when nothing makes them, and nothing else is."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pgbench.reports.figures import Curve
from pgbench.reports.output import Made, digest, report_folder

Make = Callable[..., list[str]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Keep parts (name -> inputs), each a file that holds its inputs; returns what was made."""

    def made(**parts: object) -> list[str]:
        fresh: list[str] = []

        def content(name: str) -> Made:
            fresh.append(name)
            return Made({f"runs/{name}.html": str(parts[name]).encode()}, {"of": name})

        with report_folder(tmp_path / "out") as output:
            for name, inputs in parts.items():
                part = output.keep(name, inputs, lambda name=name: content(name))  # type: ignore[misc]
                assert part.told == {"of": name}
        assert output.files() == [f"runs/{name}.html" for name in parts]
        return fresh

    return made


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((folder / "out" / "runs").iterdir())}


def test_only_what_changed_is_made_again(make: Make, tmp_path: Path) -> None:
    assert make(a=1, b=2) == ["a", "b"]
    assert make(a=1, b=2) == []
    assert make(a=1, b=3) == ["b"]
    assert contents(tmp_path) == {"a.html": "1", "b.html": "3"}


def test_what_nothing_makes_any_more_is_removed_and_nothing_else(
    make: Make, tmp_path: Path
) -> None:
    make(a=1, b=2)
    (tmp_path / "out" / "runs" / "mine.html").write_text("mine")
    make(a=1)
    assert contents(tmp_path) == {"a.html": "1", "mine.html": "mine"}


@pytest.mark.parametrize("text", ["", "cut", None])
def test_what_was_edited_cut_or_lost_is_made_again(
    make: Make, tmp_path: Path, text: str | None
) -> None:
    make(a="whole")
    path = tmp_path / "out" / "runs" / "a.html"
    path.unlink() if text is None else path.write_text(text)
    assert make(a="whole") == ["a"]
    assert path.read_text() == "whole"


def test_another_program_makes_everything_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(a=1)
    monkeypatch.setattr("pgbench.reports.output._program", lambda: "newer")
    assert make(a=1) == ["a"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"a": 3}', '{"a": {"key": 1}}', "\udcff"])
def test_a_damaged_manifest_only_costs_time(make: Make, tmp_path: Path, damage: str) -> None:
    make(a=1)
    manifest = tmp_path / "out" / ".cache" / "report.json"
    manifest.write_text(damage, errors="surrogateescape")
    assert make(a=1) == ["a"]


@pytest.mark.parametrize(
    "name", ["../kept.html", "runs/../../kept.html", "/etc/kept", "kept/kept.html", "runs/.hidden"]
)
def test_a_manifest_cannot_name_files_of_others(make: Make, tmp_path: Path, name: str) -> None:
    make(a=1)
    place = tmp_path / "out" / name
    if not name.startswith("/"):
        place.parent.mkdir(exist_ok=True)
        place.write_text("mine")
    manifest = tmp_path / "out" / ".cache" / "report.json"
    parts = json.loads(manifest.read_text())
    parts["gone"] = {"key": "", "files": {name: []}, "told": None}
    manifest.write_text(json.dumps(parts))
    make(a=1)
    assert name.startswith("/") or place.read_text() == "mine"


def test_a_report_that_fails_removes_nothing(make: Make, tmp_path: Path) -> None:
    make(a=1, b=2)
    with pytest.raises(OSError, match="full"), report_folder(tmp_path / "out"):
        raise OSError("full")
    assert contents(tmp_path) == {"a.html": "1", "b.html": "2"}
    assert make(a=1) == []
    assert contents(tmp_path) == {"a.html": "1"}


def test_what_is_kept_for_the_next_time_is_for_no_repository(make: Make, tmp_path: Path) -> None:
    make(a=1)
    assert (tmp_path / "out" / ".cache" / ".gitignore").read_text() == "*\n"
    hidden = [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    assert hidden == [".cache"]


def test_the_numbers_of_curves_count() -> None:
    curve = Curve("c", (1.0, 2.0), (3.0, 4.0))
    others = [
        Curve("c", (1.0, 2.0), (3.0, 5.0)),
        Curve("c", (1.0, 2.5), (3.0, 4.0)),
        Curve("c", (1.0, 2.0), (3.0, 4.0), (3.0, 4.0)),
        Curve("c", (1.0, 2.0), (3.0, 4.0), None, (3.0, 4.0)),
        Curve("c", (1.0, 2.0), (3.0, 4.0), dashed=True),
        Curve("d", (1.0, 2.0), (3.0, 4.0)),
    ]
    assert len({digest([one]) for one in (curve, *others)}) == 7
    assert digest([curve]) == digest([Curve("c", (1.0, 2.0), (3.0, 4.0))])
