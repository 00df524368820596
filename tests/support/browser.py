"""A headless Chromium, for the tests that look at a page as visitors do.

Chromium and its driver come from Debian: nothing is downloaded at run time. If a package is missing, it is installed
for root, as nginx is. Any other user gets a message that names the package.
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
    """A browser with a new profile in this directory.

    Raises:
        MissingPackage: Chromium or its driver is missing, and this user cannot install it.
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
