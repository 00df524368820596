"""python3 -m tools.scrape_cost [SCRAPES]: the master's CPU time for a scrape of /metrics, and of --stats."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORKERS = 4
SCRAPES = 2000  # enough for a clock that ticks a hundred times a second
APP = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"


def main(scrapes: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "app.py").write_text(APP)
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "wsgid",
                "--socket",
                "app.sock",
                "--workers",
                str(WORKERS),
                "--stats",
                "stats.sock",
                "--metrics",
                "metrics.sock",
                "app:application",
            ],
            cwd=directory,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": f"{Path.cwd()}:{directory}"},
        )
        try:
            request = b"GET /%s HTTP/1.0\r\n\r\n"
            while b" 200 OK" not in _ask(directory / "metrics.sock", request % b"readyz"):
                time.sleep(0.1)
            for label, path, said in (
                ("/metrics", "metrics.sock", request % b"metrics"),
                ("/readyz", "metrics.sock", request % b"readyz"),
                ("--stats", "stats.sock", b""),
            ):
                _show(label, server.pid, directory / path, said, scrapes)
        finally:
            server.terminate()
            server.wait()
    return 0


def _show(label: str, pid: int, path: Path, said: bytes, scrapes: int) -> None:
    before_s = _cpu_s(pid)
    for _ in range(scrapes):
        answer = _ask(path, said)
    spent_s = _cpu_s(pid) - before_s
    print(
        f"{label}: {spent_s / scrapes * 1e6:.0f} us of the master's CPU time a scrape, {len(answer)} bytes, "
        f"{WORKERS} workers"
    )


def _ask(path: Path, said: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as asker:
        try:
            asker.connect(str(path))
        except OSError:  # the socket does not exist yet
            return b""
        if said:
            asker.sendall(said)
        return b"".join(iter(lambda: asker.recv(65536), b""))


def _cpu_s(pid: int) -> float:
    """User and system time of a process (proc(5), stat: fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else SCRAPES))
