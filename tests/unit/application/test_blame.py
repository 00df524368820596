"""The line of a stack that is to blame. The stacks come from compiled snippets, under names that the tests choose."""

import sys
import sysconfig
from collections.abc import Callable
from types import FrameType

from wsgid.application import blame
from wsgid.application.blame import Blamed

LIBRARY = sysconfig.get_path("purelib") + "/MySQLdb/cursors.py"


def calls(path: str, name: str, called: Callable[[], object], module: str = "some") -> Callable[[], object]:
    """Return a function at this path that calls another function in its second line."""
    names: dict[str, object] = {"called": called, "__name__": module}
    exec(compile(f"def {name}():\n    return called()", path, "exec"), names)
    return names[name]  # type: ignore[return-value]


def here() -> FrameType:
    return sys._getframe(1)


def blamed(frame: object, package: str = "shop") -> Blamed | None:
    assert isinstance(frame, FrameType)
    return blame.blamed(frame, package)


def test_the_innermost_line_and_its_caller_in_the_application_are_named() -> None:
    query = calls(LIBRARY, "execute", here)
    view = calls("/srv/shop/views.py", "page", calls(LIBRARY, "query", query))
    found = blamed(calls("/srv/shop/wsgi.py", "application", view)())
    assert str(found) == f"{LIBRARY}:2 in execute, called at /srv/shop/views.py:2 in page"
    assert found and found.function == ("/srv/shop/views.py", "page")


def test_a_line_of_the_application_needs_no_caller() -> None:
    assert str(blamed(calls("/srv/shop/views.py", "page", here)())) == "/srv/shop/views.py:2 in page"


def test_an_application_that_is_installed_as_a_package_is_known_by_its_name() -> None:
    installed = LIBRARY.replace("MySQLdb/cursors", "shop/views")
    found = blamed(calls(installed, "page", calls(LIBRARY, "execute", here), module="shop.views")())
    assert str(found) == f"{LIBRARY}:2 in execute, called at {installed}:2 in page"


def test_wsgid_and_the_standard_library_are_not_the_application() -> None:
    found = blamed(calls(sysconfig.get_path("stdlib") + "/re/__init__.py", "match", here)())
    # the frames of pytest are behind this frame
    assert found and found.caller and found.caller.code.co_filename == __file__
    assert blame.is_library(blame.__file__)


def test_work_of_wsgid_for_an_operator_is_not_blamed() -> None:
    assert blamed(calls("/x/heap.py", "report", here, module="wsgid.diagnostics.heap")()) is None
