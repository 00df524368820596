"""Run the real `wsgidctl`, as an operator does."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = str(Path(sys.executable).with_name("wsgidctl"))
PATIENCE_S = 60


def wsgidctl(directory: Path, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run wsgidctl in the server's directory. The test fails if wsgidctl prints a traceback."""
    done = subprocess.run(
        [PROGRAM, *arguments], cwd=directory, capture_output=True, text=True, timeout=PATIENCE_S, **options
    )
    assert "Traceback" not in done.stderr and "a bug" not in done.stderr, done.stderr
    return done


def said(directory: Path, *arguments: str, code: int = 0) -> Any:
    """The object that `--json` prints."""
    done = wsgidctl(directory, *arguments, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def refusal(directory: Path, *arguments: str, code: int = 1) -> str:
    """The error of a wsgidctl command that fails: one sentence."""
    done = wsgidctl(directory, *arguments)
    assert done.returncode == code and not done.stdout, done
    [line] = done.stderr.splitlines() if code == 1 else [done.stderr]
    assert line.startswith("wsgidctl: ") or code == 2
    return line.removeprefix("wsgidctl: ")
