"""The pages without a browser: structure, escaping, links, bytes, and what is written again."""

import json
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
from PIL import Image

from pgbench.reports.curves import Curve, Figure
from pgbench.reports.pictures import Picture
from pgbench.reports.site import Missing, RunDetail, write_site
from pgbench.reports.tables import Cell, Column, Table
from pgbench.results import RUN_COLUMNS

HOSTILE = "<script>alert(1)</script>"
MINUS = "\N{MINUS SIGN}"
VOID = {"meta", "link", "img", "br", "path", "circle"}
WriteSite = Callable[..., list[Path]]


class Document(HTMLParser):
    """Tags with their attributes, the text in each kind of tag, and whether tags are nested."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == [], f"{path.name}: never closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"{self.path.name}: {tag} closes another tag"

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        found = [attrs for name, attrs in self.tags if name == tag]
        names = {name.rstrip("_"): value for name, value in wanted.items()}
        return [a for a in found if all(value in (a.get(n) or "") for n, value in names.items())]


def runs_of(*changes: Mapping[str, object]) -> pd.DataFrame:
    first: dict[str, object] = {"run_id": "table1-g", "artefact": "table1", "row": "g"}
    first |= {"dataset": "portraits", "profile": "desktop", "seed": 0, "resolution": 32}
    first |= {"status": "done", "kimg": 72.0, "total_kimg": 72.0, "wall_sec": 1800.0}
    first |= {"error": None, "config_hash": "51f99a9d"}
    return pd.DataFrame([first | dict(change) for change in changes], columns=RUN_COLUMNS)


def table_of(stem: str = "table1-portraits", **changes: object) -> Table:
    columns = (Column("row", align="left"), Column("paper", "SWD"), Column("ours", "SWD"))
    rows = (
        (Cell("a"), Cell("9.28", 9.28, "published"), Cell("65.66", 65.66, "ours")),
        (Cell("d"), Cell("8.07", 8.07, "published"), Cell("24.28", 24.28, "ours", best=True)),
        (Cell("h"), Cell("2.96", 2.96, "published", best=True), Cell("—", None, "ours", note="no")),
        (Cell("x"), Cell("failed", None, "status"), Cell("not tested", None, "verdict", note="no")),
    )
    fields: dict[str, object] = {"columns": columns, "rows": rows, "notes": ("SWD × 1000.",)}
    fields |= {"title": "Ablation", "caption": "What is compared.", "artefact": "table1"}
    return Table(stem, **(fields | changes))  # type: ignore[arg-type]


def figure_of(stem: str = "swd", **changes: object) -> Figure:
    curves = (Curve("row g", (12.0, 24.0, 36.0), (90.0, 60.0, 30.0)),)
    fields: dict[str, object] = {"title": "SWD", "caption": "One seed."}
    fields |= {"x_label": "kimg", "y_label": "SWD × 1000"}
    fields |= {"curves": curves, "artefact": "table1"}
    return Figure(stem, **(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
def site(tmp_path: Path) -> WriteSite:
    """Write a report into tmp_path/out of a run, a table and a figure, changed as asked."""

    def write(out: str = "out", **changes: Any) -> list[Path]:
        inputs: dict[str, Any] = {"title": "A report", "runs": runs_of({}), "tables": [table_of()]}
        inputs |= {"figures": [figure_of()], "pictures": [], "ledger": None, "problems": []}
        inputs |= {"details": {"table1-g": RunDetail({"lr": 1e-3, "data": {"name": "p"}})}}
        return write_site(tmp_path / out, **(inputs | changes))

    return write


def documents(paths: list[Path]) -> dict[str, Document]:
    return {path.name: Document(path) for path in paths if path.suffix == ".html"}


def times(paths: list[Path]) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in paths if path.suffix == ".html"}


def test_there_is_an_overview_and_a_page_per_artefact_and_run(
    site: WriteSite, tmp_path: Path
) -> None:
    names = [path.relative_to(tmp_path / "out").as_posix() for path in site()]
    pages = ["index.html", "artefacts/table1.html", "runs/table1-g.html"]
    assert names == [*pages, "static/site.css", "static/site.js"]


def test_every_link_leads_somewhere_inside(site: WriteSite, tmp_path: Path) -> None:
    Image.new("RGB", (8, 4)).save(tmp_path / "grid.png")
    pictures = [Picture("g rid", "alt", "", tmp_path / "grid.png", run_id="table1-g")]
    ledger = pd.DataFrame([{"claim": "c", "artefact": "table1", "runs": ["table1-g"]}])
    csv = tmp_path / "out" / "swd.csv"
    csv.parent.mkdir()
    csv.write_text("x,y\n")
    paths = site(pictures=pictures, ledger=ledger, files=[csv])
    seen = set()
    for document in documents(paths).values():
        for _, attrs in document.tags:
            for link in filter(None, (attrs.get("href"), attrs.get("src"))):
                if link == "data:,":
                    continue
                parts = urlsplit(link)
                assert not parts.scheme, link
                assert not parts.netloc, link
                assert not parts.path.startswith("/"), link
                target = (document.path.parent / unquote(parts.path)).resolve()
                target = target if parts.path else document.path
                assert target.is_relative_to(tmp_path / "out"), link
                assert target.is_file(), link
                if parts.fragment:
                    ids = [attrs.get("id") for _, attrs in Document(target).tags]
                    assert ids.count(unquote(parts.fragment)) == 1, link
                seen.add(target.name)
    assert seen >= {"swd.csv", "g-rid.png", "site.css", "site.js", "index.html", "table1-g.html"}


def test_the_files_name_no_other_place() -> None:
    static = Path(__file__).parents[2] / "reports" / "static"
    for path in sorted(static.iterdir()):
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//\w|@import|url\(|fetch|XMLHttp", text), path


def test_pages_have_landmarks_one_heading_and_unique_ids(site: WriteSite) -> None:
    for document in documents(site(tables=[table_of(), table_of()])).values():
        names = [tag for tag, _ in document.tags]
        assert [names.count(tag) for tag in ("header", "main", "footer", "h1")] == [1, 1, 1, 1]
        assert document.all("html") == [{"lang": "en"}]
        assert document.all("a", class_="skip") == [{"class": "skip", "href": "#content"}]
        ids = [attrs["id"] for _, attrs in document.tags if "id" in attrs]
        assert len(ids) == len(set(ids))
        assert all(attrs.get("aria-label") for attrs in document.all("nav"))


def test_what_assistive_names_refer_to_exists(site: WriteSite) -> None:
    for document in documents(site()).values():
        ids = {attrs.get("id") for _, attrs in document.tags}
        for name in ("aria-labelledby", "aria-describedby"):
            refers = [attrs[name] for _, attrs in document.tags if attrs.get(name)]
            assert set(refers) <= ids


def test_cells_carry_what_they_are(site: WriteSite) -> None:
    document = documents(site())["table1.html"]
    text = document.path.read_text()
    assert len(document.all("caption")) >= 2
    assert document.all("th", scope="colgroup") == [
        {"scope": "colgroup", "colspan": "2", "class": "group"}
    ]
    assert [a["data-value"] for a in document.all("td", class_="published")] == [
        "9.28",
        "8.07",
        "2.96",
    ]
    assert "<strong>24.28</strong>" in text
    assert "<strong>2.96</strong>" in text
    assert len(document.all("span", class_="mark failed")) == 1
    assert len(document.all("span", class_="mark missing")) == 1
    assert len(document.all("td", class_="empty")) == 1
    # Two cells share a note, which is told once.
    assert text.count('href="#table-table1-portraits-note-1"') == 2
    assert text.count("<li id=") == 1
    head = text[text.index("<thead>") : text.index("</thead>")]
    assert (head.count("data-sort"), head.count('rowspan="2"')) == (3, 1)


def test_a_curve_s_values_are_in_a_table_and_on_the_line(site: WriteSite) -> None:
    document = documents(site())["table1.html"]
    assert "<td>24</td><td>60</td>" in document.path.read_text()
    places = [attrs["data-at"] for attrs in document.all("tr") if attrs.get("data-at")]
    (line,) = [a["d"] for a in document.all("path", class_="line")]
    assert line == "M" + "L".join(filter(None, places))


def test_a_figure_without_values_says_so(site: WriteSite) -> None:
    empty = figure_of(curves=(Curve("c", (), ()),))
    assert "No value to draw." in site(figures=[empty])[1].read_text()


def test_nothing_found_says_how_to_begin(site: WriteSite) -> None:
    empty = {"runs": runs_of(), "tables": [], "figures": [], "details": {}}
    paths = site(**empty, missing=[Missing("Table 1", "pgbench run ablation --row all")])
    assert [path.name for path in paths] == ["index.html", "site.css", "site.js"]
    text = Document(paths[0]).text
    assert "No run was found." in text
    assert "pgbench run ablation --row g --profile smoke" in text
    assert "pgbench run ablation --row all" in text


def test_the_ledger_is_shown_with_what_is_missing(site: WriteSite) -> None:
    tested: dict[str, object] = {"claim": "Growing helps", "where": "section 6.1", "seeds": 3}
    tested |= {"artefact": "table1", "published": -5.0, "ours": -4.5, "low": -6.0, "high": -3.0}
    tested |= {"verdict": "confirmed", "runs": "table1-g, elsewhere"}
    untested = {"claim": "Faster", "published": "5.4×", "missing": "both runs"}
    untested |= {"command": "pgbench run figure4"}
    document = documents(site(ledger=pd.DataFrame([tested, untested])))["index.html"]
    words = " ".join(document.text.split())
    ours = f"{MINUS}4.5 [{MINUS}6, {MINUS}3] 3 seeds"
    for told in ("Growing helps section 6.1", f"{MINUS}5", ours, "confirmed"):
        assert told in words
    assert "5.4×" in words
    assert "both runs pgbench run figure4" in words
    assert "not tested" in words
    assert "elsewhere" in words
    assert len(document.all("a", href="runs/table1-g.html")) == 2
    assert len(document.all("span", class_="mark confirmed")) == 1


def test_failed_and_unfinished_runs_are_told_apart_in_words(site: WriteSite) -> None:
    runs = runs_of(
        {},
        {"run_id": "b", "status": "failed", "error": "G diverged"},
        {"run_id": "c", "status": "running"},
    )
    pages = documents(site(runs=runs))
    assert "1 done1 failed1 unfinished" in pages["index.html"].text.replace("\n", "")
    assert "G diverged" in pages["b.html"].text
    assert len(pages["index.html"].all("span", class_="mark unfinished")) == 3


def test_hostile_text_stays_text(site: WriteSite, tmp_path: Path) -> None:
    quoted = f'"{HOSTILE}'
    config = {HOSTILE: HOSTILE, "nested": {quoted: [HOSTILE]}, "end": "</pre></script>"}
    detail = RunDetail(config, {"sessions": [config]}, {HOSTILE: config}, config)
    changes = {"run_id": HOSTILE, "artefact": quoted, "row": quoted, "dataset": HOSTILE}
    runs = runs_of(changes | {"profile": HOSTILE, "status": "failed", "error": HOSTILE})
    cells = ((Cell(HOSTILE, note=quoted), Cell(HOSTILE, 1.0, "status", best=True), Cell(quoted)),)
    table = table_of(title=HOSTILE, caption=HOSTILE, rows=cells, notes=(quoted,), artefact=quoted)
    curve = Curve(HOSTILE, (1.0, 2.0), (1.0, 2.0))
    words = {"title": quoted, "caption": HOSTILE, "x_label": HOSTILE, "y_label": quoted}
    figures = [figure_of(**words, curves=(curve, curve), artefact=quoted, marks_label=HOSTILE)]
    figures += [figure_of(HOSTILE, **words, curves=(curve, curve), run_id=HOSTILE, marks=(1.5,))]
    pictures = [Picture(quoted, quoted, HOSTILE, tmp_path / f"{HOSTILE[:8]}.png", run_id=HOSTILE)]
    ledger = pd.DataFrame([{"claim": HOSTILE, "where": quoted, "verdict": quoted, "note": HOSTILE}])
    paths = site(
        title=HOSTILE,
        runs=runs,
        tables=[table],
        figures=figures,
        pictures=pictures,
        ledger=ledger,
        problems=[quoted],
        details={HOSTILE: detail},
        missing=[Missing(quoted, HOSTILE)],
    )
    assert len(paths) == 5
    for document in documents(paths).values():
        assert document.all("script") == [{"src": document.all("script")[0]["src"]}]
        assert not [a for _, attrs in document.tags for a in attrs if a.startswith("on")]
        assert HOSTILE in document.text


def test_control_direction_and_surrogate_characters_are_replaced(site: WriteSite) -> None:
    index = site(problems=["a\x00b\x1b[31m\u202eevil\udcff"])[0]
    assert "a\ufffdb\ufffd[31m\ufffdevil\ufffd" in index.read_text()


def test_hostile_names_make_safe_distinct_files(site: WriteSite, tmp_path: Path) -> None:
    names = ["../../etc/passwd", "a b", "a/b", "A-B", "..", "", "x" * 400, "nul\0", "é", ".hidden"]
    paths = site(runs=runs_of(*({"run_id": name} for name in names)))
    stems = [path.stem for path in paths if path.parent.name == "runs"]
    assert len({stem.lower() for stem in stems}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_+][A-Za-z0-9._+-]{0,127}", stem) for stem in stems)
    assert all(path.resolve().is_relative_to(tmp_path / "out") for path in paths)
    assert all(path.is_file() for path in paths)


def test_the_same_inputs_make_the_same_bytes(site: WriteSite, tmp_path: Path) -> None:
    Image.new("RGB", (8, 4)).save(tmp_path / "grid.png")
    (tmp_path / "else").mkdir()
    Image.new("RGB", (8, 4)).save(tmp_path / "else" / "grid.png")
    sources = [tmp_path / "grid.png", tmp_path / "else" / "grid.png"]
    made = []
    for out, source in zip(("one", "two"), sources, strict=True):
        paths = site(out, pictures=[Picture("g", "alt", "caption", source)])
        made.append({path.relative_to(tmp_path / out): path.read_bytes() for path in paths})
    assert made[0] == made[1]
    manifests = [(tmp_path / out / ".site.json").read_bytes() for out in ("one", "two")]
    assert manifests[0] == manifests[1]


def test_only_pages_whose_inputs_changed_are_written_again(site: WriteSite) -> None:
    names = {"run_id": "b", "artefact": "table3"}
    before = times(site(runs=runs_of({}, names)))
    assert times(site(runs=runs_of({}, names))) == before
    after = times(site(runs=runs_of({}, names | {"status": "failed"})))
    assert {name for name in before if after[name] != before[name]} == {
        "index.html",
        "table3.html",
        "b.html",
    }


def test_a_changed_curve_is_drawn_again(site: WriteSite) -> None:
    before = times(site())
    curve = Curve("row g", (12.0, 24.0, 36.0), (90.0, 60.0, 31.0))
    after = times(site(figures=[figure_of(curves=(curve,))]))
    assert {name for name in before if after[name] != before[name]} == {"table1.html"}


def test_a_page_that_was_edited_or_cut_is_written_again(site: WriteSite) -> None:
    index = site()[0]
    text = index.read_text()
    index.write_text(text[:100])
    assert site()[0].read_text() == text


@pytest.mark.parametrize("damage", ["{", "[]", '{"index.html": 3}', "\udcff"])
def test_a_damaged_manifest_only_costs_time(site: WriteSite, tmp_path: Path, damage: str) -> None:
    text = site()[0].read_text()
    (tmp_path / "out" / ".site.json").write_text(damage, errors="surrogateescape")
    assert site()[0].read_text() == text


def test_pages_of_runs_that_are_gone_are_removed_and_nothing_else(
    site: WriteSite, tmp_path: Path
) -> None:
    out, kept = tmp_path / "out", tmp_path / "kept.html"
    site(runs=runs_of({}, {"run_id": "gone"}))
    kept.write_text("mine")
    (out / "runs" / "mine.html").write_text("mine")
    manifest = json.loads((out / ".site.json").read_text())
    manifest |= {"../kept.html": ["", ""], "runs/../../kept.html": ["", ""]}
    (out / ".site.json").write_text(json.dumps(manifest))
    site()
    assert sorted(path.name for path in (out / "runs").iterdir()) == ["mine.html", "table1-g.html"]
    assert kept.read_text() == "mine"


def test_pictures_lie_beside_the_pages_with_their_size(site: WriteSite, tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.PNG")
    (tmp_path / "film.mp4").write_bytes(b"film")
    (tmp_path / "bad.png").write_text("no image")
    (tmp_path / "page.html").write_text("<script>")
    names = ["a.PNG", "film.mp4", "bad.png", "page.html", "absent.png"]
    pictures = [Picture("same", f"shows {n}", "", tmp_path / n, artefact="table1") for n in names]
    paths = site(pictures=pictures)
    copied = [path for path in paths if path.parent.name == "pictures"]
    assert [path.name for path in copied] == ["same.png", "same-2.mp4"]
    assert copied[0].read_bytes() == (tmp_path / "a.PNG").read_bytes()
    document = documents(paths)["table1.html"]
    (image,) = document.all("img")
    assert (image["alt"], image["width"], image["height"]) == ("shows a.PNG", "30", "20")
    assert document.all("video")[0]["src"] == "../pictures/same-2.mp4"
    for name in names[2:]:
        assert f"The picture {name} is not there or cannot be read." in document.text


def test_a_picture_too_large_to_decode_is_not_shown(
    site: WriteSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    page = site(pictures=[Picture("a", "", "", tmp_path / "a.png", artefact="table1")])[1]
    assert "cannot be read" in page.read_text()


def test_figures_of_unknown_runs_are_shown_with_their_artefact(site: WriteSite) -> None:
    paths = site(figures=[figure_of(run_id="nobody"), figure_of("mine", run_id="table1-g")])
    pages = {name: page.path.read_text() for name, page in documents(paths).items()}
    assert 'id="figure-swd"' in pages["table1.html"]
    assert 'id="figure-mine"' in pages["table1-g.html"]
    assert 'id="figure-mine"' not in pages["table1.html"]


def test_a_report_of_twenty_runs_stays_small(site: WriteSite) -> None:
    clock = tuple(float(i) for i in range(50))
    curves = tuple(Curve(f"c{i}", clock, clock, clock, clock) for i in range(3))
    names = [f"run-{i}" for i in range(20)]
    figures = [figure_of(f"{n}-{i}", curves=curves, run_id=n) for n in names for i in range(5)]
    paths = site(runs=runs_of(*({"run_id": name} for name in names)), figures=figures)
    assert sum(path.stat().st_size for path in paths) < 3_000_000
