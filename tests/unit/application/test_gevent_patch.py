"""The patch for gevent: gevent asks for plugins only if there may be one, and imports late what it rarely needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wsgid.application import gevent_patch

PROGRAM = """
import sys
sys.path.append(sys.argv[1])
from wsgid.application import gevent_patch
gevent_patch.patch()
from gevent import monkey
print("importlib.metadata" in sys.modules, monkey.is_module_patched("socket"), monkey.is_module_patched("threading"))
"""
PLUGIN = "import pathlib\ndef note(event):\n    pathlib.Path('called').touch()\n"
ENTRY = "[gevent.plugins.monkey.did_patch_all]\nnote = plugin:note\n"


def install(directory: Path, entry_points: str, name: str = "plugin-1.dist-info") -> None:
    (directory / name).mkdir()
    (directory / name / "METADATA").write_text("Name: plugin\nVersion: 1\n")
    (directory / name / "entry_points.txt").write_text(entry_points)
    (directory / "plugin.py").write_text(PLUGIN)


def patched(directory: Path) -> str:
    command = [sys.executable, "-c", PROGRAM, str(directory)]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout.strip()


def test_without_a_plugin_the_packages_are_not_read(tmp_path: Path) -> None:
    install(tmp_path, "[console_scripts]\nnote = plugin:note\n")
    assert patched(tmp_path) == "False True True"
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("name", ["plugin-1.dist-info", "Plugin.EGG-INFO"])
def test_a_plugin_is_called(tmp_path: Path, name: str) -> None:
    install(tmp_path, ENTRY, name)
    assert patched(tmp_path) == "True True True"
    assert (tmp_path / "called").exists()


@pytest.mark.parametrize(
    ("entry_points", "has"),
    [
        (b"", False),
        (b"[console_scripts]\nx = gevent.plugins.x:y\n", False),
        (b"[gevent.plugins.monkey.will_patch_all]\nsignal_os_incompat = gevent.monkey:_subscribe_signal_os\n", False),
        (b"[gevent.plugins.monkey.will_patch_all]\n\n[console_scripts]\nx = y:z\n", False),
        (b"[console_scripts]\nx = y:z\n[gevent.plugins.monkey.will_patch_all]\nx = y:z\n", True),
        (b"[gevent.plugins.hub.memory_usage]\r\nx=y:z\r\n", True),
    ],
)
def test_what_is_a_plugin(entry_points: bytes, has: bool) -> None:
    assert gevent_patch._has_plugin(entry_points) is has


def test_in_doubt_gevent_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not gevent_patch._may_have_plugins()
    archive = tmp_path / "packages.zip"
    archive.write_bytes(b"PK")
    monkeypatch.syspath_prepend(str(archive))
    assert gevent_patch._may_have_plugins()


def test_another_finder_may_know_more_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        """As an importer of a frozen program has it."""

        @staticmethod
        def find_spec(*_: object) -> None:
            """Find nothing."""

        @staticmethod
        def find_distributions(*_: object) -> list[object]:
            return []

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert gevent_patch._may_have_plugins()


def test_a_module_that_patches_while_it_is_imported_can_be_imported(tmp_path: Path) -> None:
    """gevent then has to find the lock of this import, which knows the number of the thread."""
    (tmp_path / "early.py").write_text("from wsgid.application import gevent_patch\ngevent_patch.patch()\n")
    command = [sys.executable, "-c", f"import sys; sys.path.append({str(tmp_path)!r}); import early; print('fine')"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "fine\n"


def test_the_collector_rests_until_the_program_enables_it() -> None:
    code = "import gc; from wsgid.application import gevent_patch; gevent_patch.patch(); print(gc.isenabled())"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


FAILING = """
import sys
from wsgid.application import gevent_patch
gevent_patch.patch()
import gevent
from gevent.hub import get_hub
get_hub()
print(*{"pprint", "inspect", "dataclasses"} & set(sys.modules))
gevent.spawn(lambda: 1 / 0).join()
print("pprint" in sys.modules, gevent.config.format_context.__module__)
"""


@pytest.mark.parametrize(
    ("environ", "loaded", "function"),
    [
        ({}, set(), "wsgid.application.gevent_patch"),
        ({"GEVENT_FORMAT_CONTEXT": "pprint.pformat"}, {"pprint"}, "pprint"),
    ],
)
def test_a_hub_imports_what_describes_failed_greenlets_when_one_fails(
    environ: dict[str, str], loaded: set[str], function: str
) -> None:
    command = [sys.executable, "-c", FAILING]
    run = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=True)
    first, last = run.stdout.splitlines()
    assert set(first.split()) & {"pprint"} == loaded
    assert bool(first) is bool(loaded)
    assert last == f"True {function}"
    assert "ZeroDivisionError" in run.stderr and "failed with ZeroDivisionError" in run.stderr
