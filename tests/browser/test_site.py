"""The report of real runs in a real browser: sorting, reading values, themes, print, no network."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pgbench.cli_report import write_report
from pgbench.results import RunFolder, RunStatus

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

DESKTOP = Path(__file__).parents[2] / "docs" / "results" / "desktop"
SCRIPT = "<script>alert(1)"  # a folder's name cannot have the slash
LONG = "unbreakable" * 20
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]
INDEX, TABLE, FIGURE = "index.html", "artefacts/table1.html", "artefacts/figure4.html"
HOSTILE_RUN = "runs/script-alert-1.html"
PAGES = (INDEX, TABLE, FIGURE, "artefacts/training_time.html", HOSTILE_RUN)
AVERAGES = "#table-table1-portraits-desktop-32"
CURVES = "#figure-table1-msssim-portraits-desktop-32"
ROWS = ["a", "b", "c", "d", "e*", "e", "f", "g", "h"]


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
    """The report of the runs kept here but for row h, and of one whose texts leave their place."""
    folder = tmp_path_factory.mktemp("site")
    results = folder / "results"
    shutil.copytree(DESKTOP, results, ignore=shutil.ignore_patterns("report", "table1-h-*"))
    data = {"name": LONG, "resolution": 32, "crop": {LONG: ["</script></pre>", SCRIPT, LONG]}}
    config: dict[str, Any] = {"artefact": "table1", "row": SCRIPT, "profile": LONG, "seed": 0}
    config |= {"data": data, "schedule": {"total_kimg": 72.0}}
    run = RunFolder.open(results, SCRIPT, json.loads(json.dumps(config)))
    failed = {"status": "failed", "kimg": 45.0, "total_kimg": 72.0, "wall_sec": 1800.0}
    run.write_status(RunStatus.model_validate(failed | {"error": f"{SCRIPT}</script> {LONG}"}))
    run.environment_path.write_text(json.dumps({"sessions": [{"device": SCRIPT, LONG: LONG}]}))
    for kimg, loss in ((15.0, 3.0), (30.0, 2.0), (45.0, None)):
        run.append_stats({"kimg": kimg, "train_sec": 40 * kimg, "D_loss": loss, "G_loss": 1.0})
    write_report(results, folder / "out")
    return folder / "out"


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
    """The rows of table 1, by their labels."""
    return page.locator(f"{AVERAGES} tbody th").all_inner_texts()


def ours(page: "Page") -> list[float]:
    """Our average SWD from top to bottom, where there is one."""
    cells = page.locator(f"{AVERAGES} tbody tr td:nth-child(7)").all_inner_texts()
    return [float(cell.split(" ± ")[0]) for cell in cells if cell != "—"]


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


def test_every_page_of_the_report_is_reached_from_the_first(
    visit: Callable[..., Visit], site: Path
) -> None:
    here = visit()
    page, waiting, seen = here.page, [INDEX], set[str]()
    while waiting:
        name = waiting.pop()
        here.go(name)
        seen.add(name)
        links = page.evaluate("[...document.links].map(link => link.href.split('#')[0])")
        found = {Path(link.removeprefix(site.as_uri() + "/")).as_posix() for link in links}
        assert all((site / link).is_file() for link in found)
        pages = {link for link in found if link.endswith(".html")}
        waiting += sorted(pages - seen - {*waiting})
    assert seen == {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert here.said == []


def test_pictures_are_shown(visit: Callable[..., Visit]) -> None:
    page = visit().go(TABLE)
    sizes = page.evaluate("[...document.images].map(one => [one.naturalWidth, one.width])")
    assert sizes
    assert all(natural > 0 and shown > 0 for natural, shown in sizes)


def test_a_script_in_a_name_stays_text(visit: Callable[..., Visit]) -> None:
    here = visit()
    page = here.go(HOSTILE_RUN)
    assert page.locator("h1").inner_text() == SCRIPT
    assert page.locator("script").count() == 1
    page.locator("#figure-loss .plot").hover()
    page.locator("details summary").first.click()
    assert here.said == []


def test_a_click_sorts_by_value_with_the_missing_last(visit: Callable[..., Visit]) -> None:
    page = visit().go(TABLE)
    head = page.locator(f"{AVERAGES} thead tr:nth-child(2) th", has_text="ours").first
    states = []
    for wanted in (sorted(ours(page)), sorted(ours(page))[::-1]):
        head.get_by_role("button").click()
        states.append(head.get_attribute("aria-sort"))
        assert ours(page) == wanted
        assert order(page)[-1] == "h"  # was not run
    head.get_by_role("button").click()
    assert [*states, head.get_attribute("aria-sort")] == ["ascending", "descending", "none"]
    assert order(page) == ROWS


def test_keys_sort_too_and_one_column_at_a_time(visit: Callable[..., Visit]) -> None:
    page = visit().go(TABLE)
    heads = page.locator(f"{AVERAGES} thead th[data-sort]")
    heads.nth(0).get_by_role("button").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    assert order(page)[0] == "h"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    states = [heads.nth(i).get_attribute("aria-sort") for i in range(heads.count())]
    assert [state for state in states if state != "none"] == ["ascending"]


def test_a_verdict_leads_to_the_claims(visit: Callable[..., Visit]) -> None:
    page = visit().go(TABLE)
    page.locator(f"{AVERAGES} td.verdict a").first.click()
    assert page.url.endswith("#claims")
    assert page.locator("#claims tbody tr").count() >= 10
    page.locator("#claims summary", has_text="Command").first.click()
    assert page.locator("#claims code").first.inner_text().startswith("pgbench run ablation")


def values(page: "Page", line: int) -> list[tuple[str, str]]:
    """x and y, with its band where it has one, of a curve, from the table beneath the figure."""
    rows = page.locator(f"{CURVES} table.values tbody").nth(line).locator("tr[data-at]")
    cells = [rows.nth(i).locator("td").all_text_contents() for i in range(rows.count())]
    return [(x, " ".join([y, *(f"({band})" for band in bands if band)])) for x, y, *bands in cells]


def test_the_pointer_reads_the_nearest_value(visit: Callable[..., Visit]) -> None:
    page = visit().go(TABLE)
    row = page.locator(f"{CURVES} table.values tbody").nth(1).locator("tr[data-at]").nth(2)
    x, y = map(float, str(row.get_attribute("data-at")).split(","))
    place = page.locator(f"{CURVES} svg[role=img]")
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * x / 640, box["y"] + box["height"] * y / 330)
    shown = page.locator(f"{CURVES} .value")
    kimg, msssim = values(page, 1)[2]
    assert shown.inner_text().splitlines() == [
        *("row b", f"MS-SSIM: {msssim}", f"thousand images shown (kimg): {kimg}")
    ]
    page.mouse.move(0, 0)
    assert shown.is_hidden()


def test_arrow_keys_read_the_values_aloud(visit: Callable[..., Visit]) -> None:
    page = visit(390).go(TABLE)
    page.locator(f"{CURVES} .plot").focus()
    spoken = page.locator(f"{CURVES} [role=status]")
    heard = []
    for key in ("ArrowRight", "ArrowRight", "End", "ArrowDown", "Home"):
        page.keyboard.press(key)
        heard.append(spoken.inner_text())
    first, second = values(page, 0), values(page, 1)
    points = [("a", first[0]), ("a", first[1]), ("a", first[-1]), ("b", second[-1])]
    points.append(("b", second[0]))
    assert heard == [f"row {row}: {y} at {x}" for row, (x, y) in points]
    page.keyboard.press("Escape")
    assert page.locator(f"{CURVES} .value").is_hidden()


def test_a_curve_can_be_taken_away(visit: Callable[..., Visit]) -> None:
    page = visit().go(TABLE)
    button = page.locator(f"{CURVES} .legend button").first
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.locator(f"{CURVES} g.curve").first.is_hidden()
    page.locator(f"{CURVES} .plot").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(f"{CURVES} .value b").inner_text() == "row b"


def background(page: "Page") -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_dark_and_light_follow_the_system_until_chosen(visit: Callable[..., Visit]) -> None:
    here = visit(color_scheme="dark")
    page = here.go(INDEX)
    dark = background(page)
    button = page.get_by_role("button", name="Dark theme")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    light = background(page)
    assert light == "rgb(255, 255, 255)" != dark
    assert background(here.go(TABLE)) == light  # remembered
    assert background(visit(color_scheme="light").go(INDEX)) == light


def test_the_theme_works_where_nothing_may_be_remembered(visit: Callable[..., Visit]) -> None:
    here = visit()
    forbid = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('no'); }})"
    here.page.add_init_script(forbid)
    page = here.go(INDEX)
    page.get_by_role("button", name="Dark theme").click()
    assert background(page) != "rgb(255, 255, 255)"
    assert here.said == []


def test_the_first_tab_skips_to_the_content(visit: Callable[..., Visit]) -> None:
    page = visit().go(INDEX)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_is_complete_without_the_script(visit: Callable[..., Visit]) -> None:
    page = visit(java_script_enabled=False).go(TABLE)
    assert page.locator(f"{CURVES} g.curve").count() == 8
    assert order(page) == ROWS
    assert page.locator("button").count() == 0
    page.locator(f"{CURVES} summary").click()
    assert page.locator(f"{CURVES} table.values").is_visible()


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
