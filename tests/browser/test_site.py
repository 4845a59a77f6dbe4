"""The pages in a real browser: sorting, reading values, themes, widths, print, and no network."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from PIL import Image

from pgbench.reports.curves import Curve, Figure
from pgbench.reports.pictures import Picture
from pgbench.reports.site import RunDetail, write_site
from pgbench.reports.tables import Cell, Column, Table
from pgbench.results import RUN_COLUMNS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

HOSTILE = "<script>alert(1)</script>"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]
PAGES = ("index.html", "artefacts/table1.html", "runs/script-alert-1-script.html")


@dataclass
class Visit:
    """A page of the report in a browser, with everything it asked for and complained of."""

    page: "Page"
    site: Path
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def go(self, name: str) -> "Page":
        self.page.goto((self.site / name).as_uri())
        return self.page


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "there is no chromium; install it"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report whose run, data set and texts try to leave their place."""
    folder = tmp_path_factory.mktemp("site")
    Image.new("RGB", (776, 384), "teal").save(folder / "grid.png")
    long = "unbreakable" * 20
    run = {"run_id": HOSTILE, "artefact": "table1", "row": HOSTILE, "dataset": long, "seed": 0}
    run |= {"profile": "desktop", "resolution": 32, "status": "failed", "error": long}
    run |= {"kimg": 45.0, "total_kimg": 72.0, "wall_sec": 1800.0, "config_hash": "0"}
    clock = (10.0, 20.0, 30.0)
    curves = (
        Curve("row d", clock, (90.0, 60.0, 30.0), (85.0, 55.0, 25.0), (95.0, 65.0, 35.0)),
        Curve(HOSTILE, clock, (10.0, 20.0, float("nan")), dashed=True),
    )
    words = ("SWD", "One seed.", "kimg", "SWD × 1000")
    figures = [
        Figure("f", *words, curves, marks=(15.0,), marks_label=long, artefact="table1"),
        Figure("g", *words, curves, log_y=True, run_id=HOSTILE),
    ]
    config = {"end": "</script></pre><script>alert(1)</script>", long: [long]}
    write_site(
        folder / "out",
        title="A report",
        runs=pd.DataFrame([run], columns=RUN_COLUMNS),
        tables=[_table(long)],
        figures=figures,
        pictures=[Picture("grid", HOSTILE, long, folder / "grid.png", run_id=HOSTILE)],
        ledger=pd.DataFrame([{"claim": long, "command": long, "verdict": HOSTILE, "ours": 1.0}]),
        problems=[long],
        details={HOSTILE: RunDetail(config, config, {HOSTILE: config}, config)},
    )
    return folder / "out"


def _table(long: str) -> Table:
    first = (Column("row", align="left"), Column("paper", "SWD"), Column("ours", "SWD"))
    columns = (*first, *(Column(f"column {i}") for i in range(12)))
    ours = {"a": 65.66, "b": 109.28, "d": 9.5, "h": None}
    rows = tuple(
        (
            *(Cell(row, kind="label"), Cell("—", kind="published")),
            Cell("—" if value is None else f"{value:.2f}", value, "ours"),
            *(Cell(HOSTILE if i else "1", note=long) for i in range(12)),
        )
        for row, value in ours.items()
    )
    return Table("t", "Ablation", long, columns, rows, artefact="table1")


@pytest.fixture
def visit(browser: "Browser", site: Path) -> Iterator[Callable[..., Visit]]:
    """Open a browser window; every request and message of its pages is kept."""
    contexts = []

    def open_window(width: int = 1280, **options: Any) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        made = Visit(context.new_page(), site)
        made.page.on("request", lambda request: made.asked.append(request.url))
        made.page.on("console", lambda message: made.said.append(message.text))
        made.page.on("pageerror", lambda error: made.said.append(str(error)))
        made.page.on("dialog", lambda dialog: made.said.append(f"dialog: {dialog.message}"))
        return made

    yield open_window
    for context in contexts:
        context.close()


def order(page: "Page") -> list[str]:
    """The rows of the table, by their labels."""
    return page.locator("#table-t tbody th").all_inner_texts()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_loads_in_silence_and_fits(visit: Callable[..., Visit], width: int, name: str) -> None:
    here = visit(width)
    page = here.go(name)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".theme").is_visible()
    assert here.said == []
    assert here.asked
    assert all(url.startswith(("file://", "data:")) for url in here.asked)


def test_a_script_in_a_name_stays_text(visit: Callable[..., Visit]) -> None:
    here = visit()
    page = here.go(PAGES[2])
    assert page.locator("h1").inner_text() == HOSTILE
    assert page.locator("script").count() == 1
    page.locator(".plot").hover()
    assert page.locator("figure.picture img").get_attribute("alt") == HOSTILE
    assert here.said == []


def test_a_click_sorts_by_value_with_the_missing_last(visit: Callable[..., Visit]) -> None:
    page = visit().go(PAGES[1])
    head = page.locator("#table-t thead th", has_text="ours")
    orders = []
    for _ in range(3):
        head.get_by_role("button").click()
        orders.append((head.get_attribute("aria-sort"), order(page)))
    assert orders == [
        ("ascending", ["d", "a", "b", "h"]),
        ("descending", ["b", "a", "d", "h"]),
        ("none", ["a", "b", "d", "h"]),
    ]


def test_keys_sort_too_and_one_column_at_a_time(visit: Callable[..., Visit]) -> None:
    page = visit().go(PAGES[1])
    heads = page.locator("#table-t thead th[data-sort]")
    heads.nth(0).get_by_role("button").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    assert order(page) == ["h", "d", "b", "a"]
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    states = [heads.nth(i).get_attribute("aria-sort") for i in range(heads.count())]
    assert [state for state in states if state != "none"] == ["ascending"]


def test_the_pointer_reads_the_nearest_value(visit: Callable[..., Visit]) -> None:
    page = visit().go(PAGES[1])
    box = page.locator("#figure-f svg[role=img]").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 344 / 640, box["y"] + box["height"] * 0.4)
    shown = page.locator("#figure-f .value")
    assert shown.inner_text().splitlines() == ["row d", "SWD × 1000: 60 (55 to 65)", "kimg: 20"]
    page.mouse.move(0, 0)
    assert shown.is_hidden()


def test_arrow_keys_read_the_values_aloud(visit: Callable[..., Visit]) -> None:
    page = visit(390).go(PAGES[1])
    page.locator("#figure-f .plot").focus()
    spoken = page.locator("#figure-f [role=status]")
    heard = []
    for key in ("ArrowRight", "ArrowRight", "End", "ArrowDown", "Home"):
        page.keyboard.press(key)
        heard.append(spoken.inner_text())
    assert heard == [
        "row d: 90 (85 to 95) at 10",
        "row d: 60 (55 to 65) at 20",
        "row d: 30 (25 to 35) at 30",
        f"{HOSTILE}: 20 at 20",
        f"{HOSTILE}: 10 at 10",
    ]
    page.keyboard.press("Escape")
    assert page.locator("#figure-f .value").is_hidden()


def test_a_curve_can_be_taken_away(visit: Callable[..., Visit]) -> None:
    page = visit().go(PAGES[1])
    button = page.locator("#figure-f .legend button").first
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.locator("#figure-f g.curve").first.is_hidden()
    page.locator("#figure-f .plot").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#figure-f .value b").inner_text() == HOSTILE


def background(page: "Page") -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_dark_and_light_follow_the_system_until_chosen(visit: Callable[..., Visit]) -> None:
    here = visit(color_scheme="dark")
    page = here.go(PAGES[0])
    dark = background(page)
    button = page.get_by_role("button", name="Dark theme")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    light = background(page)
    assert light == "rgb(255, 255, 255)" != dark
    assert background(here.go(PAGES[1])) == light  # remembered
    assert background(visit(color_scheme="light").go(PAGES[0])) == light


def test_the_theme_works_where_nothing_may_be_remembered(visit: Callable[..., Visit]) -> None:
    here = visit()
    forbid = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('no'); }})"
    here.page.add_init_script(forbid)
    page = here.go(PAGES[0])
    page.get_by_role("button", name="Dark theme").click()
    assert background(page) != "rgb(255, 255, 255)"
    assert here.said == []


def test_the_first_tab_skips_to_the_content(visit: Callable[..., Visit]) -> None:
    page = visit().go(PAGES[0])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_is_complete_without_the_script(visit: Callable[..., Visit]) -> None:
    page = visit(java_script_enabled=False).go(PAGES[1])
    assert page.locator("#figure-f g.curve").count() == 2
    assert page.locator("#table-t tbody tr").count() == 4
    assert page.locator("button").count() == 0
    page.locator("#figure-f summary").click()
    assert page.locator("#figure-f table.values").is_visible()


@pytest.mark.parametrize("name", PAGES)
def test_prints_on_white_with_everything_on_the_paper(
    visit: Callable[..., Visit], name: str, tmp_path: Path
) -> None:
    page = visit(700, color_scheme="dark").go(name)
    page.pdf(path=str(tmp_path / "page.pdf"), format="A4")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    page.emulate_media(media="print")
    assert background(page) == "rgb(255, 255, 255)"
    assert page.locator(".theme").is_hidden()
