"""The compiled form, with the address sanitizer, in a process of its own.

    with CompiledForm(build.make()) as compiled:
        compiled.ask("decode", packet, 20, None)

The process is `python -m fuzz.compiled_form`: it reads questions from standard input, and writes answers, by pickle.
"""

import os
import pickle
import subprocess
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support import ROOT
from wsgid.errors import WsgidError


class Finding(Exception):
    """The compiled form did something that it must not do."""


def ask(name: str, *arguments: Any) -> Any:
    """The answer of the form of this process.

    Raises:
        Exception: any exception except a WsgidError, which is an answer. Each such exception is a finding.
    """
    from tests.support import questions  # not at the top: run.py imports wsgid in a way of its own

    try:
        return getattr(questions, name)(*arguments)
    except WsgidError as error:
        return f"{type(error).__name__}: {error}"


class CompiledForm:
    """The process, from `with` to the end of its block.

    Args:
        build: the directory with wsgid, compiled with the sanitizer.
    """

    def __init__(self, build: Path) -> None:
        self._build = build

    def __enter__(self) -> "CompiledForm":
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "fuzz.compiled_form"],
            env=environ(self._build),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        form, file = self.ask("form"), self.ask("file")
        assert form == "compiled" and Path(file).is_relative_to(self._build), (form, file)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            assert self._process.stdin
            self._process.stdin.close()

    def ask(self, name: str, *arguments: Any) -> Any:
        """The answer of the compiled form.

        Raises:
            Finding: the compiled form raised an exception that is no answer, or has ended. The sanitizer's report is on
                standard error.
        """
        assert self._process.stdin and self._process.stdout
        pickle.dump((name, arguments), self._process.stdin)
        self._process.stdin.flush()
        try:
            is_answer, said = pickle.load(self._process.stdout)
        except EOFError:
            raise Finding(f"the compiled form has ended with code {self._process.wait()}") from None
        if not is_answer:
            raise Finding(f"the compiled form raised:\n{said}")
        return said


def environ(build: Path) -> dict[str, str]:
    """The environment of a process that runs code compiled with gcc's address sanitizer."""
    library = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    return {
        **os.environ,
        "WSGID_PURE": "",
        "LD_PRELOAD": library.stdout.strip(),
        # Python itself never frees some of its memory: that is no leak of wsgid.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "PYTHONMALLOC": "malloc",  # Python's own allocator would hide an access behind the end of an object
        "PYTHONPATH": f"{build}:{ROOT}",
    }


def _answer(name: str, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    try:
        return True, ask(name, *arguments)
    except Exception:
        return False, traceback.format_exc()


if __name__ == "__main__":
    while True:
        try:
            _name, _arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            break
        pickle.dump(_answer(_name, _arguments), sys.stdout.buffer)
        sys.stdout.buffer.flush()
