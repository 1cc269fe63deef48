"""The dashboard in a real browser: it works, it keeps to itself, and nothing that it shows can act."""

from __future__ import annotations

import multiprocessing
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import psutil
import pytest
from stores import PAGES, config, finish, hostile, new, running_grid, score, two_groups

from harness.records import Example, Rollout, Trajectory
from harness.report.exports import board_text
from harness.report.leaderboard import leaderboard
from harness.storage.store import Store
from harness.system.printable import printable
from harness.system.processes import this_owner

try:
    import playwright.sync_api as playwright
except ImportError:
    playwright = None  # type: ignore[assignment]
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.prove("dashboard in a browser", seconds=10, alone=True),
    pytest.mark.skipif(playwright is None, reason="playwright is not installed"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the PATH (Debian: apt install chromium)"),
]

COUNT = 300  # hostile texts
PER_TEXT = 30  # of them as the tokens of one rollout
PER_GRID = 60  # of them as names of one grid's runs: as many as a leaderboard shows
CELLS = 150  # that are written while two dashboards look
PATIENCE = 60_000  # ms that a page may take on a busy machine before a test gives up
PROBES = ("/_stcore/health", "/_stcore/host-config")  # Streamlit tries them beside the page's own address first
SETTLED = "() => document.querySelector('.stApp')?.dataset.testScriptState === 'notRunning'"
SHOWN = "document.querySelector('[data-testid=stMain]').textContent"
FLAG = "window.executed = 0; window.alert = () => { window.executed += 1 }"


@dataclass
class Visit:
    """A page in a browser of its own, and the forbidden things that it did."""

    page: Any
    address: str
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def go(self, page: str, **query: Any) -> None:
        """Open a page by its address and wait until it is drawn."""
        self.page.goto(f"{self.address}/{'' if page == 'overview' else page}?{urlencode(query)}")
        self.page.wait_for_selector("h1", timeout=PATIENCE)
        self.page.wait_for_function(SETTLED, timeout=PATIENCE)

    def reads(self, *texts: str) -> None:
        """Wait until the page shows all of these, letter by letter."""
        missing = (
            "texts => texts.filter(text => !document.querySelector('[data-testid=stMain]').textContent.includes(text))"
        )
        try:
            self.page.wait_for_function(f"texts => ({missing})(texts).length === 0", arg=list(texts), timeout=PATIENCE)
        except playwright.TimeoutError:
            pytest.fail(f"not on {self.page.url}: {self.page.evaluate(missing, list(texts))[:5]}")

    def harmless(self) -> bool:
        """Nothing that came out of the store was executed or asked for anything."""
        assert self.page.evaluate("window.executed") == 0
        assert self.outside == []
        return True


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium that finds no other machine."""
    playwright.expect.set_options(timeout=PATIENCE)
    with playwright.sync_playwright() as driver:
        arguments = ["--host-resolver-options=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[[str], Visit]]:
    """`visit(address)`: a fresh browser profile for that dashboard."""
    contexts = []

    def start(address: str) -> Visit:
        context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
        context.add_init_script(FLAG)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        made = Visit(context.new_page(), address)

        def asked(url: str) -> None:
            where = urlsplit(url)
            if where.scheme not in ("data", "blob") and where.netloc != urlsplit(address).netloc:
                made.outside.append(url)

        def logged(message: Any) -> None:
            probe = message.location.get("url", "").endswith(PROBES) and "404" in message.text
            if message.type == "error" and not probe:
                made.errors.append(message.text)

        context.on("request", lambda request: asked(request.url))
        made.page.on("websocket", lambda opened: asked(opened.url))
        made.page.on("console", logged)
        made.page.on("pageerror", lambda error: made.errors.append(str(error)))
        return made

    yield start
    for context in contexts:
        context.close()


@contextmanager
def dashboard(url: str, log: Path) -> Iterator[str]:
    """The address of `harness dashboard` on that store; it listens, and talks, on this machine only."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [sys.executable, "-c", "from harness.cli.app import main; main()"]
    with log.open("wb") as output:
        command = [*program, "dashboard", "--store", url, "--port", str(port)]
        server = subprocess.Popen(command, stdout=output, stderr=output)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/_stcore/health", log)
        yield address
        links = psutil.Process(server.pid).net_connections("inet")
        assert {end.ip for link in links for end in (link.laddr, link.raddr) if end} == {"127.0.0.1"}
        assert "Traceback" not in log.read_text()
        assert "locked" not in log.read_text()
    finally:
        server.terminate()
        server.wait(timeout=30)


def wait_for(address: str, log: Path) -> None:
    """Wait until a server answers there."""
    end = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"no dashboard at {address}: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and store of a dashboard with two groups of seven seeds."""
    folder = tmp_path_factory.mktemp("plain")
    url = two_groups(folder)
    with dashboard(url, folder / "log") as address:
        yield address, url


def test_every_page_loads_without_an_error(plain: tuple[str, str], visit: Callable[[str], Visit]) -> None:
    """By its own address and by a click in the navigation: no console error, nothing asked of another machine."""
    seen = visit(plain[0])
    for page in PAGES:
        seen.go(page)
        assert seen.page.locator("h1").count() == 1
    for name in ("Leaderboard", "Replay", "Overview"):
        seen.page.get_by_role("link", name=name, exact=True).first.click()
        seen.page.get_by_role("heading", name=name, level=1).wait_for()
    assert seen.errors == []
    assert seen.outside == []


def test_a_running_grid_loads_without_an_error(visit: Callable[[str], Visit], tmp_path: Path) -> None:
    """Its overview refreshes by itself every three seconds."""
    with dashboard(running_grid(tmp_path), tmp_path / "log") as address:
        seen = visit(address)
        seen.go("overview")
        seen.reads("Running", "50%")
        time.sleep(4)
        seen.reads("Running", "50%")
        assert seen.errors == []
        assert seen.outside == []


def test_a_copied_address_shows_the_same_view(plain: tuple[str, str], visit: Callable[[str], Visit]) -> None:
    """The leaderboard of bc alone has one row; another browser that opens the address shows that row."""
    mine, theirs = visit(plain[0]), visit(plain[0])
    mine.go("leaderboard")
    table = mine.page.locator("tbody")
    playwright.expect(table.first.locator("tr")).to_have_count(2)
    box = mine.page.get_by_role("textbox", name="Filter")
    box.fill("trainer=bc")
    box.press("Enter")
    playwright.expect(table.first.locator("tr")).to_have_count(1)
    assert "filter=trainer" in mine.page.url
    theirs.page.goto(mine.page.url)
    playwright.expect(theirs.page.locator("tbody").first.locator("tr")).to_have_count(1)
    assert theirs.page.locator("tbody").first.inner_text() == table.first.inner_text()
    playwright.expect(theirs.page.get_by_role("textbox", name="Filter")).to_have_value("trainer=bc")  # drawn later


def test_a_replay_plays(plain: tuple[str, str], visit: Callable[[str], Visit]) -> None:
    """a, x, <backspace>, b, end: from the first step on, x appears, is struck through, and the text ends as ab."""
    seen = visit(plain[0])
    seen.go("replay")
    stage, struck = seen.page.locator(".stage"), seen.page.locator(".stage del.deleted")
    playwright.expect(struck).to_have_text("x")
    for step in (2, 1):
        seen.page.get_by_role("button", name="Back", exact=True).click()
        playwright.expect(seen.page.get_by_text(f"Step {step} of 5")).to_be_visible()
    playwright.expect(struck).to_have_count(0)
    seen.page.get_by_role("button", name="Play", exact=True).click()
    playwright.expect(struck).to_have_text("x")
    assert "line-through" in struck.evaluate("one => getComputedStyle(one).textDecorationLine")
    playwright.expect(seen.page.get_by_text("Step 5 of 5")).to_be_visible()
    playwright.expect(seen.page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    assert re.sub(r"\s", "", stage.inner_text()) == "onceax⌫b■"
    assert seen.errors == []


def test_the_downloaded_csv_is_the_harness_own(plain: tuple[str, str], visit: Callable[[str], Visit]) -> None:
    seen = visit(plain[0])
    seen.go("leaderboard", grid="g")
    with Store.open(plain[1], read_only=True) as store:
        expected = board_text(leaderboard(store, grid="g"), "csv")
    assert expected.count("\n") > 2
    with seen.page.expect_download() as saving:
        seen.page.get_by_role("button", name="Download CSV").first.click()
    assert Path(saving.value.path()).read_bytes().decode() == expected


def spoken(text: str, pieces: list[str]) -> Rollout:
    """A rollout that wrote these pieces and ended."""
    actions = (*range(10, len(pieces) + 10), 0)  # none is 9, the `<backspace>` of these stores
    shown = (*pieces, "<end>") if pieces else ()
    return Rollout(Trajectory((5,), actions), (-0.5,) * len(actions), "ended", text, actions[:-1], shown)


def named(text: str) -> str:
    """The text as a name may be: configurations refuse what UTF-8 cannot carry."""
    return text.replace("\ud800", "").replace("\x00", "") or "empty"


def attacked(folder: Path) -> tuple[str, list[str], list[str]]:
    """A store where texts, pieces, metrics and the names of runs and grids are attacks; the texts, and the names."""
    texts = hostile(COUNT)
    names = list(dict.fromkeys(map(named, hostile(2 * COUNT))))[:COUNT]
    pieces = [[*texts[start : start + PER_TEXT], "last"] for start in range(0, COUNT, PER_TEXT)]
    with Store(new(folder)) as store:
        for number in range(2):
            run = config(model={"name": names[number], "context": 9})
            finish(
                store,
                run,
                grid=names[0],
                prompts=[Example(text, texts[i - 1]) for i, text in enumerate(texts)],
                rollouts=[spoken(text, pieces[i] if i < len(pieces) else []) for i, text in enumerate(texts)],
                scores=[score("perplexity", 1.5), *(score(name, 0.5 + number) for name in names)],
            )
        for number, name in enumerate(names):
            run = config(model={"name": name, "context": 12})
            first = [score("mauve", number / COUNT, "higher")]
            finish(store, run, grid=names[1 + number // PER_GRID], prompts=[], rollouts=[], scores=first, profiles=[])
        for name in names[COUNT // PER_GRID + 1 :]:
            store.enqueue(name, [config(model={"name": names[0], "context": 9})])
    return new(folder), texts, names


@pytest.mark.prove("hostile texts and names in a browser", cases=COUNT, seconds=60, alone=True)
def test_hostile_texts_and_names_are_text(visit: Callable[[str], Visit], tmp_path: Path) -> None:
    """300 of them as texts, prompts, tokens, scores, runs and grids: each can be read, none does anything."""
    url, texts, names = attacked(tmp_path)
    grid = printable(names[0])
    with dashboard(url, tmp_path / "log") as address:
        seen = visit(address)
        seen.go("samples", grid=grid)
        for page in range(1, COUNT // 10 + 1):
            fill(seen, "Page", page)
            seen.reads(f"page {page} of", *map(lines, texts[10 * page - 10 : 10 * page]))
        assert seen.harmless()
        seen.go("replay", grid=grid, sample=0)
        for number in range(COUNT // PER_TEXT):
            fill(seen, "Text", number)
            seen.reads("last■", *map(lines, texts[PER_TEXT * number : PER_TEXT * (number + 1)]))
        assert seen.harmless()
        seen.go("compare", grid=grid, all="true")
        seen.reads(*map(lines, names))
        assert seen.harmless()
        for number in range(COUNT // PER_GRID):
            seen.go("leaderboard", grid=printable(names[1 + number]))
            seen.reads(*map(lines, names[PER_GRID * number : PER_GRID * (number + 1)]))
        assert seen.harmless()
        assert set(map(printable, names)) <= set(options(seen.page))
        for page in PAGES:
            seen.go(page, grid=grid)
            assert seen.harmless()
        assert seen.errors == []


def lines(text: str) -> str:
    """As a page shows a text: line breaks stay, blank lines are empty, what must not be seen is written out."""
    return "\n".join(printable(line) if line.strip() else "" for line in text.split("\n"))


def fill(seen: Visit, label: str, number: int) -> None:
    box = seen.page.get_by_label(label, exact=True)
    box.fill(str(number))
    box.press("Enter")


def options(page: Any) -> list[str]:
    """Every grid that the list at the left offers; the browser has only those in sight."""
    page.get_by_role("combobox", name="Grid").click()
    page.get_by_role("option").first.wait_for()
    found: dict[str, None] = {}
    left = True
    while left:
        found |= dict.fromkeys(page.get_by_role("option").all_text_contents())
        left = page.get_by_role("listbox").evaluate(
            "list => (list.scrollTop += 200) + list.clientHeight < list.scrollHeight"
        )
        page.wait_for_timeout(50)
    return [*found, *page.get_by_role("option").all_text_contents()]


def write(url: str) -> None:
    """One cell after the other, as a worker does it; perplexity is out_of_support + 10 in each."""
    with Store.open(url) as store:
        for seed in range(2, CELLS):
            finish(store, config(seed), seed / 100)
            time.sleep(0.05)


@pytest.mark.prove("readers while a grid is written", cases=2, seconds=20, alone=True)
def test_two_dashboards_look_while_a_grid_writes(visit: Callable[[str], Visit], tmp_path: Path) -> None:
    """Each draws itself anew every second: no lock error, and every look is at one moment of the store.

    In one moment the cells' states sum to all cells; every finished run has both scores, so that no cell of the table
    has an n of its own, and mean perplexity minus mean out_of_support is 10.
    """
    url = new(tmp_path)
    with Store(url) as store:
        store.enqueue("g", [config(seed) for seed in range(CELLS)])
        finish(store, config(0), 0.0)
        assert store.claim(config(1).run_id, this_owner())  # and nobody finishes it: something is at work throughout
    writer = multiprocessing.get_context("spawn").Process(target=write, args=(url,))
    with dashboard(url, tmp_path / "first") as one, dashboard(url, tmp_path / "second") as two:
        both = visit(one), visit(two)
        for seen in both:
            seen.go("overview", grid="g")
        writer.start()
        looks: list[tuple[int, ...]] = []
        while writer.is_alive():
            began = time.monotonic()
            for seen in both:
                seen.page.keyboard.press("r")  # Streamlit's key: run the page again
            time.sleep(max(0.0, 1 - (time.monotonic() - began)))
            looks.append(tuple(look(seen.page) for seen in both))
        writer.join()
        assert writer.exitcode == 0
        assert min(len(set(one)) for one in zip(*looks, strict=True)) >= 5  # they did look while it wrote
        for seen in both:
            playwright.expect(seen.page.locator(".tiles")).to_contain_text(f"Done{CELLS - 1}")
            assert seen.errors == []


def look(page: Any) -> int:
    """Number of runs that are done, on a page whose numbers agree."""
    tiles, row, everything = page.evaluate(
        """() => [
            [...document.querySelectorAll('.tiles dd')].map(one => Number(one.textContent)),
            [...document.querySelectorAll('[aria-label^="Mean"] tbody tr:first-child td')].map(one => one.textContent),
            document.querySelector('[data-testid=stMain]').textContent,
        ]"""
    )
    assert "locked" not in everything
    assert sum(tiles) == CELLS
    assert "(n=" not in " ".join(row)
    means = [float(found[1]) for one in row if (found := re.match(r"([\d.]+) ± ", one))]
    assert any(abs(b - a - 10) < 0.02 for a in means for b in means) or len(means) < 2, row
    return int(tiles[0])
