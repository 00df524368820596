"""A headless Chromium, for the tests that look at a page as visitors do.

Chromium and its driver are Debian's: nothing is downloaded at run time.  Root gets what is missing installed, as with
nginx; anybody else is told what to install.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tools import apt

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--window-size=900,700",
)


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser with a profile of its own, a directory that it makes.

    Raises:
        MissingPackage: it is not here, and cannot be installed from here.
    """
    options = Options()
    options.binary_location = apt.ensure("chromium", "chromium")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, Service(apt.ensure("chromedriver", "chromium-driver")))
    try:
        driver.set_page_load_timeout(60)
        yield driver
    finally:
        driver.quit()
