"""The page of wsgidctl dashboard in a browser, with a real server under load.

Each test ends with a look at the browser's console: a message there is a failure.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.conftest import Start
from tests.support import client
from tests.support.browser import chromium
from tests.support.busy_site import send, serve
from tests.support.dashboard import dashboard
from tests.support.server import Server, eventually
from tests.support.snapshots import WORDS, snapshot, worker
from wsgid.admin.status import status
from wsgid.config.options import Settings
from wsgid.ctl.commands.top_sample import Sample
from wsgid.ctl.dashboard.access import Access
from wsgid.ctl.dashboard.api import Api
from wsgid.ctl.dashboard.pages import PageServer
from wsgid.ctl.dashboard.sampler import Look, Sampler
from wsgid.ipc.scoreboard import Word
from wsgid.supervisor.slots import SlotState

WIDE, NARROW = (1400, 1000), (500, 800)  # Chromium's windows are at least 500 pixels wide


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    with chromium(tmp_path_factory.mktemp("chromium") / "profile") as driver:
        yield driver


@pytest.fixture
def browser(chrome: WebDriver) -> Iterator[WebDriver]:
    chrome.set_window_size(*WIDE)
    console(chrome)
    yield chrome


def console(browser: WebDriver) -> list[Any]:
    """What the console has said since the last look."""
    return list(browser.get_log("browser"))  # type: ignore[no-untyped-call]


def leave(browser: WebDriver) -> None:
    """Leave the page before its server ends. The page must not have said anything on the console."""
    said = console(browser)
    browser.get("about:blank")
    assert said == []


@pytest.fixture
def server(start: Start) -> Server:
    return serve(start, workers=2)


@pytest.fixture
def url(server: Server, tmp_path: Path, browser: WebDriver) -> Iterator[str]:
    with dashboard(tmp_path) as running:
        yield running.url
        leave(browser)


@contextmanager
def load(server: Server) -> Iterator[None]:
    """Visitors that come one after the other, all the time."""
    ends = threading.Event()

    def visit() -> None:
        while not ends.is_set():
            for path in ("/", "/fail"):
                client.get(server.directory / "app.sock", path)

    visitor = threading.Thread(target=visit)
    visitor.start()
    try:
        yield
    finally:
        ends.set()
        visitor.join()


def one(browser: WebDriver, selector: str) -> WebElement:
    found = eventually(lambda: browser.find_elements(By.CSS_SELECTOR, selector), selector)
    return found[0]


def text(browser: WebDriver, selector: str) -> str:
    """All text of an element, also what is scrolled away."""
    return str(browser.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector))


def when(browser: WebDriver, selector: str, words: str) -> None:
    eventually(lambda: words in text(browser, selector), f"{words!r} in {selector}")


def data(browser: WebDriver, chart: str, name: str) -> float:
    return float(one(browser, f"#chart-{chart}").get_attribute(f"data-{name}") or 0)


def pixels(browser: WebDriver, chart: str) -> str:
    return str(
        browser.execute_script("return document.querySelector(arguments[0]).toDataURL()", f"#chart-{chart} canvas")
    )


def press(browser: WebDriver, keys: str) -> None:
    ActionChains(browser).send_keys(keys).perform()


def choose(browser: WebDriver, selector: str, label: str) -> None:
    """Click the button with this text."""

    def clicked() -> bool:
        try:
            found = [each for each in browser.find_elements(By.CSS_SELECTOR, selector) if each.text == label]
            found[0].click() if found else None
        except StaleElementReferenceException:  # the page has just drawn this part anew
            return False
        return bool(found)

    eventually(clicked, f"{selector} {label}")


def test_charts_move_under_load(browser: WebDriver, server: Server, url: str) -> None:
    browser.get(url)
    when(browser, "#troubles", "Nothing is wrong.")
    assert text(browser, "#application") == "app:application"
    with load(server):
        eventually(lambda: data(browser, "rate", "points") >= 3, "there are points")
        first_s, drawn = data(browser, "rate", "last"), pixels(browser, "rate")
        eventually(lambda: data(browser, "rate", "last") >= first_s + 2, "the axis moves")
        eventually(lambda: pixels(browser, "rate") != drawn, "the lines move")
        when(browser, "#chart-rate", "5xx")
        for chart in ("duration", "load", "lag", "cpu", "phases", "collector", "memory"):
            assert data(browser, chart, "points") >= 1
        when(browser, "#chart-distribution", " %)")
        eventually(lambda: float(tile(browser, "Requests per second").replace(",", "")) > 0, "the rate")
        assert tile(browser, "Errors per second") != "–"


def tile(browser: WebDriver, name: str) -> str:
    [found] = [
        each.find_element(By.CSS_SELECTOR, "span").text
        for each in browser.find_elements(By.CSS_SELECTOR, "#tiles div")
        if each.find_element(By.TAG_NAME, "dt").text == name
    ]
    return found


def test_a_blocked_worker_shows_first_and_its_stack_has_the_line(browser: WebDriver, server: Server, url: str) -> None:
    browser.get(url)
    when(browser, "#troubles", "Nothing is wrong.")
    with send(server, "/stuck"):
        when(browser, "#troubles", "event loop has not run")
        when(browser, "#workers tr.wrong", "stands still")
        when(browser, "#marks", "✕ unplanned")
        assert "wrong" in str(one(browser, "#troubles").get_attribute("class"))
        choose(browser, "#troubles button", "stacks")
        when(browser, "#details-body", "app.py")
        line = (server.directory / "app.py").read_text().splitlines().index("        lock(mutex), lock(mutex)") + 1
        when(browser, "#details-body", f"line {line}")
    server.send_signal(Signals.SIGQUIT)
    assert server.wait() == 0


def test_a_click_on_a_request_shows_the_line_where_it_waits(browser: WebDriver, server: Server, url: str) -> None:
    with send(server, "/sleep/a"), send(server, "/sleep/b"):
        browser.get(url)
        choose(browser, "#requests button", "/sleep/b")
        when(browser, "#details-title", "GET /sleep/b, worker")
        when(browser, "#details-body", "time.sleep(60)")
        body = text(browser, "#details-body")
        assert "/sleep/b" in body and "/sleep/a" not in body
        choose(browser, "#details-close", "Close")


def test_the_views_of_a_worker(browser: WebDriver, server: Server, url: str) -> None:
    with send(server, "/sleep/a"):
        browser.get(url)
        busy = eventually(lambda: text(browser, "#requests .space .line:not([hidden]) .num:nth-child(2)"), "its worker")
        choose(browser, "#workers button", busy)
        when(browser, "#details-body", "time.sleep(60)")
        choose(browser, "#details-views button", "Memory")
        when(browser, "#details-body", "that the collector knows")
        choose(browser, "#details-views button", "Flame graph with waiting")
        when(browser, "#details-body .flame", "GET /sleep/a")
        boxes = len(browser.find_elements(By.CSS_SELECTOR, ".flame button"))
        choose(browser, ".flame button", "GET /sleep/a")  # zoom
        when(browser, ".flame", "sleep")
        zoomed = [each.text for each in browser.find_elements(By.CSS_SELECTOR, ".flame button.dull")]
        assert zoomed == ["all"] and boxes > 2
        one(browser, "#details-body a[download]")


def test_a_reload_asks_once_and_leaves_a_mark(browser: WebDriver, server: Server, url: str) -> None:
    browser.get(url)
    when(browser, "#troubles", "Nothing is wrong.")
    one(browser, "[data-action=reload]").click()
    when(browser, "#confirm-text", "Load the application anew?")
    choose(browser, "#confirm button", "Cancel")
    assert not browser.find_elements(By.CSS_SELECTOR, "dialog[open]") and text(browser, "#said") == ""
    one(browser, "[data-action=reload]").click()
    choose(browser, "#confirm button", "Reload")
    when(browser, "#said", "generation 1 is on its way")
    server.wait_generation(1, 2)
    when(browser, "#marks", "▲ plannedreload: generation 1")
    eventually(lambda: data(browser, "rate", "marks") >= 1, "the mark is in the chart")
    when(browser, "#about", "generation 1")


def test_the_filter_finds_what_one_types_and_the_keys_work(browser: WebDriver, server: Server, url: str) -> None:
    with ExitStack() as held:
        for path in ("/sleep/apple", "/sleep/pear", "/sleep/apple/pie"):
            held.enter_context(send(server, path))
        browser.get(url)
        when(browser, "#requests-note", "3 requests in flight")
        press(browser, "/")
        press(browser, "apple get")
        eventually(lambda: one(browser, "#requests").get_attribute("data-found") == "2", "two are found")
        assert "/sleep/pear" not in [each.text for each in browser.find_elements(By.CSS_SELECTOR, "#requests button")]
        one(browser, "#charts-title").click()
        press(browser, Keys.TAB)  # out of the filter
        browser.execute_script("document.activeElement.blur()")
        press(browser, "3")
        assert one(browser, "[data-range='3600']").get_attribute("aria-pressed") == "true"
        press(browser, "?")
        when(browser, "#details-body", "filter the requests in flight")
        press(browser, Keys.ESCAPE)
        assert not browser.find_elements(By.CSS_SELECTOR, "dialog[open]")
        press(browser, "t")
        assert one(browser, "html").get_attribute("data-theme") == "light"
        press(browser, "t")
        assert one(browser, "html").get_attribute("data-theme") == "dark"


def test_every_control_can_be_reached_by_the_keyboard_and_has_a_name(
    browser: WebDriver, server: Server, url: str
) -> None:
    browser.get(url)
    when(browser, "#troubles", "Nothing is wrong.")
    reached = set()
    for _ in range(40):
        press(browser, Keys.TAB)
        element: dict[str, Any] = browser.execute_script(
            "const e = document.activeElement; return {name: e.ariaLabel || e.textContent || e.placeholder, id: e.id, "
            "action: e.dataset.action, range: e.dataset.range}"
        )
        assert element["name"]
        reached |= {value for value in element.values() if value}
    assert {"reload", "more", "fewer", "log-reopen", "stop", "300", "900", "3600", "filter", "theme"} <= reached
    assert "worker 0: stacks, flame graph, memory" in reached


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_is_wider_than_the_window(browser: WebDriver, server: Server, url: str, size: tuple[int, int]) -> None:
    browser.set_window_size(*size)
    with send(server, "/sleep/" + "x" * 500):
        browser.get(url)
        when(browser, "#requests", "/sleep/xxx")
        eventually(lambda: data(browser, "memory", "points") >= 1, "all charts are there")
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_markup_of_a_visitor_stays_text(browser: WebDriver, server: Server, url: str) -> None:
    path = "/sleep/<img src=x onerror=alert(1)><script>alert(1)</script>"
    with send(server, path):
        browser.get(url)
        choose(browser, "#requests button", path)
        when(browser, "#details-body", path)
        assert not browser.find_elements(By.CSS_SELECTOR, "main img, main script, dialog img")


def test_tables_of_other_statistics_are_shown(browser: WebDriver) -> None:
    """Sections that this version does not know: they are shown as they are."""
    limits = [{"name": "login", "refused": 3}, {"name": "search", "refused": 0}]
    with simulated(2, 0, limits=limits, caches={"pages": {"hits": 7, "misses": 2}}) as url:
        browser.get(url)
        when(browser, "#more-limits", "login3search0")
        when(browser, "#more-caches", "pages72")
        leave(browser)


# --- a large server, simulated ---


class ManyServer:
    """Answers as a server with many workers and requests would."""

    def __init__(self, workers: int, requests: int, **more: Any) -> None:
        self.each = requests // workers
        self.more = more
        self.looks = 0
        words = [self.each if place == Word.IN_FLIGHT else 1 for place in range(WORDS)]
        self.workers = tuple(worker(slot, SlotState.READY, pid=1000 + slot, words=words) for slot in range(workers))

    def ask(self, command: str, patience_s: float = 0.0, **arguments: Any) -> dict[str, Any]:
        assert command == "status"
        self.looks += 1
        now = snapshot(now_s=float(self.looks), workers=self.workers, wanted=len(self.workers), places=1000)
        return {**status(now, Settings()), **self.more}

    def ask_workers(self, command: str, slots: Any, patience_s: float = 0.0, limit: int = 0) -> dict[int, Any]:
        assert command == "requests"
        shown = range(min(self.each, limit))
        return {slot: {"requests": [_request(slot, n) for n in shown], "total": self.each} for slot in slots}


def _request(slot: int, number: int) -> dict[str, Any]:
    path = f"/articles/{slot}/{number}"
    return {"age_s": number / 10, "started_s": float(number), "method": "GET", "path": path, "peer": "198.51.100.7"}


@contextmanager
def simulated(workers: int, requests: int, **more: Any) -> Iterator[str]:
    server: Any = ManyServer(workers, requests, **more)
    sampler = Sampler(server)
    access = Access("secret")
    with PageServer(("127.0.0.1", 0), access, Api(server, sampler)) as pages:
        serving = threading.Thread(target=pages.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        _an_hour_ago(sampler)
        sampler.start()
        try:
            yield f"http://127.0.0.1:{pages.server_port}/?token=secret"
        finally:
            sampler.stop()
            pages.shutdown()
            serving.join()


def _an_hour_ago(sampler: Sampler) -> None:
    """Fill the history: an hour of looks."""
    sampler.sample()
    assert sampler.look.sample
    template: Sample = sampler.look.sample
    now_s = time.time()
    for second in range(3600, 0, -1):
        sampler.history.add(template, now_s - second)
    sampler.look = Look(template)


def test_64_workers_and_10000_requests_stay_quick(browser: WebDriver) -> None:
    """No task of the page holds the browser for long."""
    with simulated(64, 10_000) as url:
        browser.get(url)
        eventually(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#workers tbody tr")) == 64, "all workers")
        when(browser, "#requests-note", "9,984 requests in flight")
        one(browser, "[data-range='3600']").click()
        eventually(lambda: data(browser, "rate", "points") >= 3500, "an hour is drawn")
        one(browser, "#filter").send_keys("articles/63/15")
        eventually(lambda: one(browser, "#requests").get_attribute("data-found") == "7", "15 and 150 to 155")
        one(browser, "#filter").clear()
        press(browser, "x")
        lines = len(browser.find_elements(By.CSS_SELECTOR, "#requests .line"))
        assert lines < 60  # of ten thousand: only those that can be seen are there
        browser.execute_script("document.querySelector('#requests').scrollTop = 2000")
        before_s = data(browser, "rate", "last")
        eventually(lambda: data(browser, "rate", "last") > before_s + 2, "the page still follows each second")
        leave(browser)
