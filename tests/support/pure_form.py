"""The pure Python form in a process of its own, for comparison with the compiled form.

    with PureForm() as pure:
        pure.ask("decode", packet)      # calls `decode` of questions.py in the other process; ask() calls it here

A question is the name of a function of questions.py or socket_questions.py with its arguments. The answer is the
function's return value, or its exception in words.
"""

import os
import pickle
import subprocess
import sys
from types import TracebackType
from typing import Any

from tests.support import ROOT, questions, socket_questions


def ask(name: str, *arguments: Any) -> Any:
    try:
        question = getattr(questions, name, None) or getattr(socket_questions, name)
        return question(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


class PureForm:
    """The process, from `with` to the end of its block."""

    def __enter__(self) -> "PureForm":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.pure_form"],
            cwd=ROOT,
            env={**os.environ, "WSGID_PURE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            assert self._process.stdin
            self._process.stdin.close()

    def ask(self, name: str, *arguments: Any) -> Any:
        assert self._process.stdin and self._process.stdout
        pickle.dump((name, arguments), self._process.stdin)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)


if __name__ == "__main__":
    while True:
        try:
            _name, _arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            break
        pickle.dump(ask(_name, *_arguments), sys.stdout.buffer)
        sys.stdout.buffer.flush()
