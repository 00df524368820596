"""`wsgidctl dashboard`: a page in the browser that shows the running server, and controls it."""

import argparse
import errno
import html
import ipaddress
import json
import os
import secrets
import signal
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from wsgid.ctl.client import CtlError, Server
from wsgid.ctl.dashboard.access import Access
from wsgid.ctl.dashboard.api import Api
from wsgid.ctl.dashboard.pages import PageServer
from wsgid.ctl.dashboard.sampler import Sampler
from wsgid.ctl.tables import complain, show

HELP = "show the running server on a page in the browser, live, with the last hour; Ctrl-C quits"
LISTEN = "127.0.0.1:0"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen",
        type=_address,
        default=LISTEN,
        metavar="HOST:PORT",
        help=f"where to serve the page; port 0 is any free port (default: {LISTEN})",
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="HOST",
        help="a host name under which the page is asked for, beside localhost and IP addresses; may be given again",
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.strip("[]")
    try:
        ipaddress.ip_address(host)
        if colon and port.isdecimal() and int(port) < 1 << 16:
            return host, int(port)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f"{text!r} is no address such as 127.0.0.1:8080, [::1]:8080 or, for all interfaces, 0.0.0.0:8080"
    )


def run(server: Server, given: argparse.Namespace) -> int:
    status = server.ask("status")
    sampler = Sampler(server)
    access = Access(secrets.token_urlsafe(24), given.name)
    try:
        pages = PageServer(given.listen, access, Api(server, sampler))
    except OSError as error:
        raise CtlError(_why(given.listen, error)) from None
    with pages, _signals(pages):
        url = f"http://{_visible(*pages.server_address[:2])}/?token={access.token}"
        sampler.start()
        if sampler.look.sample is None:
            raise CtlError(sampler.look.silence)
        _say(given, url, status["application"])
        opener = threading.Thread(target=_open, args=(url,), daemon=True)
        if not given.no_browser and not given.json and _has_screen():
            opener.start()
        pages.serve_forever(poll_interval=0.2)
        sampler.stop()
    return 0


def _why(address: tuple[str, int], error: OSError) -> str:
    host, port = address
    if error.errno == errno.EADDRINUSE:
        return f"{host}:{port} is in use: choose another port, or 0 for any free one"
    return f"{host}:{port} cannot be served: {error.strerror or error}"


def _visible(host: object, port: object) -> str:
    """Return host and port as a browser on this machine takes them."""
    text = str(host)
    if ipaddress.ip_address(text).is_unspecified:
        text = "127.0.0.1" if "." in text else "::1"
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


def _say(given: argparse.Namespace, url: str, application: str) -> None:
    if given.json:
        print(json.dumps({"url": url}), flush=True)
    else:
        show(f"the dashboard of {application} is at\n\n    {url}\n\nCtrl-C quits; the server itself goes on")
    if not ipaddress.ip_address(given.listen[0]).is_loopback:
        complain(
            "whoever sees this address may stop the server, and nothing encrypts it on the way: an ssh tunnel to "
            "127.0.0.1 is safer"
        )


@contextmanager
def _signals(pages: PageServer) -> Iterator[None]:
    """End with Ctrl-C, TERM or HUP. `shutdown` waits for the loop that the signal has interrupted, so another thread
    calls it."""

    def end(_signo: int, _frame: FrameType | None) -> None:
        threading.Thread(target=pages.shutdown, daemon=True).start()

    before = {signo: signal.signal(signo, end) for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for signo, handler in before.items():
            signal.signal(signo, handler)


def _has_screen() -> bool:
    """Whether there is a graphical browser: one for the terminal would take the terminal."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open(url: str) -> None:
    """Open the browser. Its command line is visible to all users of the machine, so it has the path of a private file
    that leads to the address, and not the token."""
    address = html.escape(url, quote=True)
    with tempfile.TemporaryDirectory(prefix="wsgidctl-") as directory:  # mode 0700
        path = Path(directory) / "dashboard.html"
        path.write_text(
            f'<!doctype html><meta http-equiv="refresh" content="0; url={address}"><a href="{address}">wsgid'
        )
        try:
            webbrowser.open(path.as_uri())
        except webbrowser.Error:
            return
        threading.Event().wait(60)  # until the browser has read the file
