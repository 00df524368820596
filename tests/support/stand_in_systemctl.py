"""systemctl for pages of the documentation: reads a unit of /etc/systemd/system, and starts its ExecStart as its user.

page_runner.py puts this program on the PATH of a page. nginx is started and reloaded by its own command.
"""

import os
import pwd
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

UNITS = Path("/etc/systemd/system")
PATIENCE_S = 60.0


def main() -> None:
    command, *names = [word for word in sys.argv[1:] if not word.startswith("-")]
    for name in names:
        if name == "nginx":
            running = Path("/run/nginx.pid").exists()
            subprocess.run(["nginx", "-s", "reload"] if running else ["nginx"], check=True)
        else:
            follow(command, name.removesuffix(".service"))


def follow(command: str, name: str) -> None:
    unit = read(name)
    pidfile = Path(f"/run/{name}.pid")
    if command in ("start", "enable", "restart"):
        start(unit, pidfile, Path(f"/run/{name}.journal"))
    elif command == "reload":
        subprocess.run(["bash", "-c", unit["ExecReload"].replace("$MAINPID", pidfile.read_text())], check=True)
    elif command == "stop":
        os.kill(int(pidfile.read_text()), signal.SIGTERM)


def read(name: str) -> dict[str, str]:
    """Return the settings of a unit, with its lines joined: systemd.syntax(7)."""
    text = re.sub(r"\\\n\s*", "", (UNITS / f"{name}.service").read_text())
    return dict(re.findall(r"(?m)^(\w+)=(.*)$", text))


def start(unit: dict[str, str], pidfile: Path, journal: Path) -> None:
    user = pwd.getpwnam(unit.get("User", "root"))
    for directory in unit.get("RuntimeDirectory", "").split():
        os.makedirs(f"/run/{directory}", exist_ok=True)
        os.chown(f"/run/{directory}", user.pw_uid, user.pw_gid)
    with journal.open("ab") as log:
        process = subprocess.Popen(
            shlex.split(unit["ExecStart"]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=unit.get("WorkingDirectory", "/"),
            user=user.pw_uid,
            group=unit.get("Group", user.pw_gid),
            extra_groups=[],
            start_new_session=True,
        )
    pidfile.write_text(str(process.pid))
    deadline_s = time.monotonic() + PATIENCE_S
    while "is ready" not in journal.read_text():  # Type=notify
        if process.poll() is not None or time.monotonic() > deadline_s:
            sys.exit(journal.read_text())
        time.sleep(0.01)


if __name__ == "__main__":
    main()
