"""Names code of the application that imports `uwsgi` or `uwsgidecorators`, where these modules are not.

    import uwsgi -> no finder finds it -> _Finder: which line asks? -> a sentence, once

Rules
* An import within try ... except ImportError fails in silence, and the code for uWSGI (@postfork) is left out. Without
  a sentence nobody would know.
* Libraries ask for `uwsgi` to see where they run. They are not named. The package that --module names is no library.
* Other imports pay nothing: the finder is the last one.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType

from wsgid import log
from wsgid.application import blame

_NAMES = ("uwsgi", "uwsgidecorators")
_BETWEEN = ("importlib", "uwsgidecorators", __name__)  # uWSGI's package installs the second one


class UwsgiWatch:
    """A finder of modules that finds nothing."""

    def __init__(self) -> None:
        self._package = ""
        self._said = False
        self._say: Callable[[str, str], None] = lambda _key, text: log.warning("%s", text)

    def start(self, package: str) -> None:
        """Watch from now on.

        Args:
            package: the first part of the application's module name.
        """
        self._package = package
        sys.meta_path.append(self)

    def say_through(self, say: Callable[[str, str], None]) -> None:
        """Say the sentence through this function from now on."""
        self._say = say

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find nothing, but see who asks."""
        if name in _NAMES and not self._said:
            place = self._place(sys._getframe())
            if place:
                self._said = True
                self._say(
                    "import uwsgi",
                    f"{place} imports {name}, which is not here, so code for uWSGI is left out: use wsgid.hooks, "
                    "or --uwsgi-module, which has what sites use (docs/hooks.md)",
                )
        return None

    def _place(self, frame: FrameType | None) -> str:
        """Return the line of the application that imports; empty if a library does."""
        while frame is not None:
            module = str(frame.f_globals.get("__name__", ""))
            if not module.startswith(_BETWEEN):
                is_own = module.partition(".")[0] == self._package or not blame.is_library(frame.f_code.co_filename)
                return f"{frame.f_code.co_filename}:{frame.f_lineno}" if is_own else ""
            frame = frame.f_back
        return ""


UWSGI_WATCH = UwsgiWatch()  # one for each process, as sys.meta_path
