"""The pages without a browser: structure, escaping, links, bytes, and what is written again."""

import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest

from pgbench.reports.figures import Curve, Figure
from pgbench.reports.output import report_folder
from pgbench.reports.run_files import RunDetail, Source
from pgbench.reports.sheets import Picture
from pgbench.reports.site import Content, Missing, write_overview, write_run_pages
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
    first |= {"error": None, "config_hash": "51f99a9d", "path": Path("anywhere")}
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


def picture_of(stem: str = "grid", **changes: object) -> Picture:
    fields: dict[str, object] = {"title": "Grid", "alt": "alt", "caption": ""}
    fields |= {"width": 8, "height": 4}
    return Picture(stem, f"pictures/{stem}.png", **(fields | changes))  # type: ignore[arg-type]


def source_of(detail: RunDetail, stamp: object = 0) -> Source:
    return Source(stamp, lambda: detail)


@pytest.fixture
def site(tmp_path: Path) -> WriteSite:
    """Write a report into tmp_path/out of a run, a table and a figure, changed as asked.

    `files` are put there first, by their names.
    """

    def write(out: str = "out", **changes: Any) -> list[Path]:
        inputs: dict[str, Any] = {"title": "A report", "runs": runs_of({}), "tables": [table_of()]}
        inputs |= {"figures": [figure_of()], "pictures": [], "ledger": None, "problems": []}
        files = changes.pop("files", {})
        inputs |= changes
        plain = source_of(RunDetail({"lr": 1e-3, "data": {"name": "p"}}))
        inputs["sources"] = {run_id: plain for run_id in inputs["runs"]["run_id"]} | changes.get(
            "sources", {}
        )
        with report_folder(tmp_path / out) as output:
            for name, content in files.items():
                output.put(name, content)
            title, sources, drawn = (inputs.pop(key) for key in ("title", "sources", "pictures"))
            of_run = {key: [one for one in drawn if one.run_id == key] for key in (None, *sources)}
            content = Content(pictures=of_run[None], **inputs)
            pages = {"title": title, "sources": sources, "pictures": of_run.__getitem__}
            write_run_pages(output, content, **pages)
            write_overview(output, content, title=title)
        return [tmp_path / out / name for name in output.files() if name not in files]

    return write


def documents(paths: list[Path]) -> dict[str, Document]:
    return {path.name: Document(path) for path in paths if path.suffix == ".html"}


def times(paths: list[Path]) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in paths if path.suffix == ".html"}


def test_there_is_an_overview_and_a_page_per_artefact_and_run(
    site: WriteSite, tmp_path: Path
) -> None:
    names = [path.relative_to(tmp_path / "out").as_posix() for path in site()]
    pages = ["runs/table1-g.html", "index.html", "artefacts/table1.html"]
    assert names == [*pages, "static/site.css", "static/site.js"]


def test_every_link_leads_somewhere_inside(site: WriteSite, tmp_path: Path) -> None:
    pictures = [picture_of("grid", run_id="table1-g"), picture_of("rows", artefact="table1")]
    ledger = pd.DataFrame([{"claim": "c", "artefact": "table1", "runs": ["table1-g"]}])
    names = [f"figures/swd.{end}" for end in ("csv", "png", "svg")]
    names += [f"tables/table1-portraits.{end}" for end in ("csv", "md", "tex")]
    files = dict.fromkeys([*names, "pictures/grid.png", "pictures/rows.png"], "content")
    paths = site(pictures=pictures, ledger=ledger, files=files)
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
    assert seen >= {*(Path(file).name for file in files), "site.css", "site.js", "index.html"}


def test_the_files_name_no_other_place() -> None:
    static = Path(__file__).parents[2] / "reports" / "static"
    for path in sorted(static.iterdir()):
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//\w|@import|url\(|fetch|XMLHttp", text), path


def test_pages_have_landmarks_one_heading_and_unique_ids(site: WriteSite) -> None:
    for document in documents(site(tables=[table_of(), table_of("more")])).values():
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
    # Why a cell is empty is told there; any other note below, once.
    assert text.count('href="#table-table1-portraits-note-1"') == 1
    assert text.count("<li id=") == 1
    assert '<span aria-label="no value: no" title="no">' in text
    head = text[text.index("<thead>") : text.index("</thead>")]
    assert (head.count("data-sort"), head.count('rowspan="2"')) == (3, 1)


def test_verdicts_refer_to_the_claims_where_there_are_some(site: WriteSite) -> None:
    ledger = pd.DataFrame([{"claim": "Growing helps", "artefact": "table1"}])
    document = documents(site(ledger=ledger))["table1.html"]
    assert len(document.all("a", href="#claims")) == 1
    assert "<li id=" not in document.path.read_text()


def test_a_curve_s_values_are_in_a_table_and_on_the_line(site: WriteSite) -> None:
    document = documents(site())["table1.html"]
    assert "<td>24</td><td>60</td>" in document.path.read_text()
    places = [attrs["data-at"] for attrs in document.all("tr") if attrs.get("data-at")]
    (line,) = [a["d"] for a in document.all("path", class_="line")]
    assert line == "M" + "L".join(filter(None, places))


def test_a_figure_without_values_says_so(site: WriteSite) -> None:
    empty = figure_of(curves=(Curve("c", (), ()),))
    assert "No value to draw." in site(figures=[empty])[2].read_text()


def test_nothing_found_says_how_to_begin(site: WriteSite) -> None:
    empty = {"runs": runs_of(), "tables": [], "figures": []}
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
    assert "both runs Command pgbench run figure4" in words
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


def test_hostile_text_stays_text(site: WriteSite) -> None:
    quoted = f'"{HOSTILE}'
    config = {HOSTILE: HOSTILE, "nested": {quoted: [HOSTILE]}, "end": "</pre></script>"}
    changes = {"run_id": HOSTILE, "artefact": quoted, "row": quoted, "dataset": HOSTILE}
    runs = runs_of(changes | {"profile": HOSTILE, "status": "failed", "error": HOSTILE})
    cells = ((Cell(HOSTILE, note=quoted), Cell(HOSTILE, 1.0, "status", best=True), Cell(quoted)),)
    table = table_of(title=HOSTILE, caption=HOSTILE, rows=cells, notes=(quoted,), artefact=quoted)
    curve = Curve(HOSTILE, (1.0, 2.0), (1.0, 2.0))
    words = {"title": quoted, "caption": HOSTILE, "x_label": HOSTILE, "y_label": quoted}
    figures = [figure_of(**words, curves=(curve, curve), artefact=quoted, marks_label=HOSTILE)]
    own = [figure_of("own", **words, curves=(curve, curve), marks=(1.5,))]
    detail = RunDetail(config, {"sessions": [config]}, {HOSTILE: config}, config, own)
    pictures = [picture_of(alt=quoted, caption=HOSTILE, run_id=HOSTILE)]
    ledger = pd.DataFrame([{"claim": HOSTILE, "where": quoted, "verdict": quoted, "note": HOSTILE}])
    paths = site(
        title=HOSTILE,
        runs=runs,
        tables=[table],
        figures=figures,
        pictures=pictures,
        ledger=ledger,
        problems=[quoted],
        sources={HOSTILE: source_of(detail)},
        missing=[Missing(quoted, HOSTILE)],
    )
    assert len(paths) == 5
    for document in documents(paths).values():
        assert document.all("script") == [{"src": document.all("script")[0]["src"]}]
        assert not [a for _, attrs in document.tags for a in attrs if a.startswith("on")]
        assert HOSTILE in document.text


def test_control_direction_and_surrogate_characters_are_replaced(site: WriteSite) -> None:
    index = site(problems=["a\x00b\x1b[31m\u202eevil\udcff"])[1]
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
    made = [
        {path.relative_to(tmp_path / out): path.read_bytes() for path in site(out, runs=runs)}
        for out, runs in (("one", runs_of({})), ("two", runs_of({"path": Path("elsewhere")})))
    ]
    assert made[0] == made[1]


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


def test_the_files_of_a_run_are_read_only_when_they_changed(site: WriteSite) -> None:
    def never() -> RunDetail:
        raise AssertionError("it was read")

    detail = RunDetail({"lr": 1.0}, figures=[figure_of("loss")])
    site(sources={"table1-g": source_of(detail, stamp=1)})
    page = site(sources={"table1-g": Source(1, never)})[0].read_text()
    assert 'id="figure-loss"' in page
    with pytest.raises(AssertionError, match="it was read"):
        site(sources={"table1-g": Source(2, never)})


def test_pictures_have_their_size(site: WriteSite) -> None:
    pictures = [picture_of("a", alt="shows a", artefact="table1"), picture_of(run_id="table1-g")]
    pages = documents(site(pictures=pictures))
    (image,) = pages["table1.html"].all("img")
    assert image["src"] == "../pictures/a.png"
    assert (image["alt"], image["width"], image["height"]) == ("shows a", "8", "4")
    assert len(pages["table1-g.html"].all("img")) == 1


def test_a_report_of_twenty_runs_stays_small(site: WriteSite) -> None:
    clock = tuple(float(i) for i in range(50))
    curves = tuple(Curve(f"c{i}", clock, clock, clock, clock) for i in range(3))
    names = [f"run-{i}" for i in range(20)]
    detail = RunDetail({}, figures=[figure_of(f"f{i}", curves=curves) for i in range(5)])
    sources = {name: source_of(detail) for name in names}
    paths = site(runs=runs_of(*({"run_id": name} for name in names)), sources=sources)
    assert sum(path.stat().st_size for path in paths) < 3_000_000
