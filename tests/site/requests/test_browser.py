"""A browser that visits the example site, directly over HTTP and through nginx."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.conftest import Start
from tests.support.browser import chromium
from tools.nginx import EXAMPLES, Nginx, example

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    with chromium(tmp_path_factory.mktemp("chromium") / "profile") as driver:
        yield driver


@pytest.fixture(params=["straight", "nginx"])
def url(request: pytest.FixtureRequest, start: Start, tmp_path: Path) -> Iterator[str]:
    server = start(
        "--socket",
        "app.sock",
        "--http",
        "127.0.0.1:0",
        "--workers",
        "2",
        "--pythonpath",
        str(EXAMPLES),
        "flask_app:application",
    ).wait_ready(2)
    with ExitStack() as running:
        if request.param == "nginx":
            yield running.enter_context(Nginx(example("flask_nginx.conf", f"unix:{tmp_path / 'app.sock'}"))).url
        else:
            yield "http://{}:{}".format(*server.tcp_addresses()[0])


def text(browser: WebDriver) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


def connections(port: int) -> set[str]:
    """The clients' ends of all connections to a port of the loopback, also of connections that have just ended
    (proc(5))."""
    listed = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    here = f"0100007F:{port:04X}"
    return {
        client_end
        for own, peer, _ in listed
        for server_end, client_end in ((own, peer), (peer, own))
        if server_end == here and not client_end.endswith(":0000")
    }


def wait_for(browser: WebDriver, condition: Callable[[WebDriver], object]) -> None:
    """While one page is replaced by the next page, a search for its elements may fail in many ways."""
    WebDriverWait(browser, PATIENCE_S, ignored_exceptions=[WebDriverException]).until(condition)


def test_the_page_its_links_and_its_form(browser: WebDriver, url: str, tmp_path: Path) -> None:
    browser.get(f"{url}/")
    assert browser.title == "wsgid" and browser.find_element(By.TAG_NAME, "h1").text == "Hello from wsgid"
    assert re.search(r"Worker \d+ served this, its request number \d+\.", text(browser))
    assert f"curl -T some-file {url}/upload" in text(browser)
    assert browser.save_screenshot(str(tmp_path / "page.png")) and (tmp_path / "page.png").stat().st_size > 1000

    browser.find_element(By.LINK_TEXT, "/form").click()
    wait_for(browser, lambda page: page.find_element(By.NAME, "name").is_displayed())
    browser.find_element(By.NAME, "name").send_keys("Zo\u00eb")
    browser.find_element(By.TAG_NAME, "button").click()
    wait_for(browser, lambda page: "Hello, Zo\u00eb!" in text(page))

    browser.get(f"{url}/stream?n=3&s=0.1")
    assert text(browser) == "line 0\nline 1\nline 2"


def test_a_script_uploads_and_downloads(browser: WebDriver, url: str) -> None:
    browser.get(f"{url}/")
    said = browser.execute_async_script("""
        const done = arguments[0];
        fetch("/upload", {method: "PUT", body: new Uint8Array(3000000)}).then(answer => answer.json()).then(done);
    """)
    assert said["size"] == 3_000_000
    source = browser.execute_async_script("fetch('/download').then(answer => answer.text()).then(arguments[0])")
    assert source == (EXAMPLES / "flask_app.py").read_text()


def test_requests_share_a_connection(browser: WebDriver, url: str) -> None:
    port = int(url.rpartition(":")[2])
    before = connections(port)  # an earlier test may have had this port
    browser.get(f"{url}/")
    asked = browser.execute_async_script("""
        const done = arguments[0];
        (async () => {
            let answered = 0;
            for (; answered < 20; answered++) await (await fetch("/?" + answered)).text();
            done(answered);
        })();
    """)
    assert asked == 20
    # One connection, and connections that a browser opens in advance, in case it needs them.
    assert 1 <= len(connections(port) - before) <= 3
