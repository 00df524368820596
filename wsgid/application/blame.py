"""Which place of the code a stack is blamed on: the innermost place, and the place in the application that called it.

Rules
* The application is what lies neither in the standard library, nor in site-packages, nor in wsgid. The package that
  --module names belongs to the application wherever it lies.
* What wsgid itself does for an operator (wsgidctl profile, stacks, memory) is blamed on nobody.
* No frame is kept: a frame keeps all its variables.
"""

import os
from collections.abc import Iterator
from functools import cache
from types import CodeType, FrameType

from wsgid.records import dataclass

_OF_OPERATORS = "wsgid.diagnostics."
_WSGID = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of code."""

    code: CodeType
    number: int

    def __str__(self) -> str:
        return f"{self.code.co_filename}:{self.number} in {self.code.co_qualname}"


@dataclass(frozen=True, slots=True)
class Blamed:
    """A place that is blamed.

    Args:
        inner: the innermost line.
        caller: the innermost line of the application; None if no line of the stack is the application's.
    """

    inner: Line
    caller: Line | None

    @property
    def function(self) -> tuple[str, str]:
        """The function to look into: lines of one function are one place."""
        code = (self.caller or self.inner).code
        return code.co_filename, code.co_qualname

    def __str__(self) -> str:
        if self.caller is None or self.caller == self.inner:
            return str(self.inner)
        return f"{self.inner}, called at {self.caller}"


def blamed(frame: FrameType, package: str) -> Blamed | None:
    """Return the place that this stack is blamed on; None if wsgid works for an operator there.

    Args:
        frame: the innermost one.
        package: the first part of the application's module name.
    """
    caller = None
    for outer in _outwards(frame):
        module = str(outer.f_globals.get("__name__", ""))
        if module.startswith(_OF_OPERATORS):
            return None
        if caller is None and (module.partition(".")[0] == package or not is_library(outer.f_code.co_filename)):
            caller = _line(outer)
    return Blamed(_line(frame), caller)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _line(frame: FrameType) -> Line:
    return Line(frame.f_code, frame.f_lineno or 0)  # None: between two lines


def is_library(path: str) -> bool:
    """Whether this file is the standard library's, an installed package's, or wsgid's."""
    return path.startswith((*_libraries(), _WSGID, "<frozen ")) or any(part in path for part in _PACKAGES)


@cache
def _libraries() -> tuple[str, ...]:
    """Return the directories of the standard library, each with a separator. The directories of installed packages have
    one of the names in _PACKAGES. The module sysconfig knows all of them, but takes 0.4 MB."""
    return tuple({os.path.dirname(path) + os.sep for path in (os.__file__, os.path.realpath(os.__file__))})
