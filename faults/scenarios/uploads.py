"""Bodies that the application does not read, through nginx."""

from collections import Counter

from faults import crowd
from faults.measure import MB
from faults.report import Result, Scenario
from faults.rows import all_met
from faults.site import site
from tools.nginx import Nginx, example

IGNORES = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ignored"]
"""


def ignored_body(count: int = 40, size_bytes: int = 10 * MB) -> list[Result]:
    """Uploads to an application that does not read them, through nginx."""
    results = []
    for kind in ("unix", "TCP"):
        for buffering in ("on", "off"):
            met = _upload(count, size_bytes, "127.0.0.1:0" if kind == "TCP" else "app.sock", buffering)
            results.append(
                all_met(
                    f"{count} of {count} POSTs of {size_bytes:,} bytes answered: {kind}, "
                    f"uwsgi_request_buffering {buffering}",
                    met,
                    count,
                )
            )
    return results


def _upload(count: int, size_bytes: int, socket: str, buffering: str) -> Counter[str]:
    with site(IGNORES, socket=socket) as ignoring:
        (said,) = ignoring.server.wait_for(r"listens on (\S+) with")
        upstream = f"unix:{said[1]}" if socket == "app.sock" else said[1]
        with Nginx(example("flask_nginx.conf", upstream), server=f"uwsgi_request_buffering {buffering};") as nginx:
            head = (
                f"POST / HTTP/1.1\r\nHost: {nginx.host}:{nginx.port}\r\nConnection: close\r\n"
                f"Content-Length: {size_bytes}\r\n\r\n"
            ).encode("ascii")
            data = head + bytes(size_bytes)
            return crowd.run((crowd.upload((nginx.host, nginx.port), data) for _ in range(count)), 8)


SCENARIOS: tuple[Scenario, ...] = (ignored_body,)
