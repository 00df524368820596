"""The pictures of `wsgidctl dashboard`, for tools/pictures.py: a real page of a running server, in headless Chromium.

Rules
* Nothing is invented. The server is the one of tools/pictures.py, under its load, with a reload in the middle.
* A worker that is held up is the last picture: the page says it first.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from signal import SIGTERM

from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.browser import chromium
from wsgid.ctl.client import Server

LOAD_S = 100.0
RELOAD_AFTER_S = 60.0
PATIENCE_S = 60.0
# The directories belong to this run. They mean nothing to the reader.
_RENAME = """
const walker = document.createTreeWalker(document.getElementById("details-body"), NodeFilter.SHOW_TEXT);
while (walker.nextNode()) walker.currentNode.data = walker.currentNode.data.replaceAll(arguments[0], arguments[1]);
"""
PAGE, DIALOG = (1500, 1420), (1280, 760)


def take(server: Server, target: Path, block: Callable[[], None]) -> None:
    """Take all pictures.

    Args:
        server: under load.
        target: the directory for the pictures.
        block: sends a request that holds up a worker.
    """
    command = [sys.executable, "-m", "wsgid.ctl.main", "--control", str(server.path), "dashboard", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        url = json.loads(running.stdout.readline())["url"]
        time.sleep(RELOAD_AFTER_S)
        server.ask("reload")
        time.sleep(LOAD_S - RELOAD_AFTER_S)
        try:
            with chromium(server.path.parent / "chromium") as browser:
                browser.get(url)
                _flame_graph(browser, target)
                block()
                _page(browser, target)
                _stacks(browser, target, server.path.parent)
                browser.get("about:blank")
        finally:
            running.send_signal(SIGTERM)


def _wait(browser: WebDriver, selector: str, words: str) -> None:
    WebDriverWait(browser, PATIENCE_S).until(
        lambda _: any(words in found.text for found in browser.find_elements(By.CSS_SELECTOR, selector)),
        f"{words} in {selector}",
    )


def _click(browser: WebDriver, selector: str, words: str) -> None:
    _wait(browser, selector, words)
    next(each for each in browser.find_elements(By.CSS_SELECTOR, selector) if words in each.text).click()


def _page(browser: WebDriver, target: Path) -> None:
    browser.set_window_size(*PAGE)
    _wait(browser, "#troubles", "has not run")
    time.sleep(3)  # the charts show it, too
    browser.execute_script("scrollTo(0, 0)")
    browser.save_screenshot(str(target / "dashboard.png"))


def _stacks(browser: WebDriver, target: Path, directory: Path) -> None:
    browser.set_window_size(*DIALOG)
    _theme(browser, "dark")
    _click(browser, "#troubles button", "stacks")
    _wait(browser, "#details-body", "holds the event loop")
    for ours, shown in ((str(directory), "/srv/shop"), (sys.prefix, "/srv/shop/.venv")):
        browser.execute_script(_RENAME, ours, shown)
    browser.save_screenshot(str(target / "dashboard-stacks.png"))
    _theme(browser, "automatic")


def _flame_graph(browser: WebDriver, target: Path) -> None:
    browser.set_window_size(*DIALOG)
    _click(browser, "#workers button", "")  # the first one
    _click(browser, "#details-views button", "Flame graph")
    _wait(browser, ".flame", "application")
    browser.save_screenshot(str(target / "dashboard-flamegraph.png"))
    browser.find_element(By.ID, "details-close").click()


def _theme(browser: WebDriver, name: str) -> None:
    while name not in browser.find_element(By.ID, "theme").text:
        browser.execute_script("document.getElementById('theme').click()")
