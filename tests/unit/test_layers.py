"""The floors of docs/architecture.md: a package imports only packages above it in the table, and none below it."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGE = ROOT / "wsgid"

# A package, or a module at the root, imports only what stands before it here.
FLOORS = (
    "errors",
    "counted",
    "records",
    "compiled",
    "linux",
    "protocol",
    "log",
    "ipc",
    "cache",
    "limits",
    "config",
    "sockets",
    "wsgi",
    "hooks",
    "application",
    "serving",
    "diagnostics",
    "worker",
    "warm_up",
    "template",
    "supervisor",
    "admin",
    "master",
    "command",
    "cli",
    "__main__",
    "ctl",
)
GEVENT = {"application", "diagnostics", "serving", "template", "worker"}  # may import gevent and greenlet


def module_name(path: Path) -> str:
    parts = ["wsgid", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imported(path: Path) -> set[str]:
    """The modules that a file imports, by their full names; `from package import name` counts as both."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def floor(module: str) -> str:
    """The package at the root that contains a module, or the module itself if it is at the root."""
    return module.split(".")[1]


def test_every_module_has_a_floor() -> None:
    found = {floor(name) for name in MODULES if name != "wsgid"}
    remedy = "put it into FLOORS in this file and into the table of docs/architecture.md, above all that import it"
    assert found <= set(FLOORS), f"{found - set(FLOORS)} has no floor: {remedy}"
    assert set(FLOORS) <= found, f"{set(FLOORS) - found} is no package or module any more: take it out of FLOORS"


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"wsgid"}))
def test_a_module_imports_only_from_floors_below(name: str) -> None:
    assert floor(name) in FLOORS, f"{name} has no floor: put {floor(name)!r} into FLOORS in this file"
    below = FLOORS[: FLOORS.index(floor(name)) + 1]
    for other in imported(MODULES[name]) & MODULES.keys() - {"wsgid"}:
        assert floor(other) in below, f"{name} imports {other}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Also within a package: a module can be read when the modules that it imports are known."""
    TopologicalSorter(
        {
            name: {other for other in imported(path) & MODULES.keys() if not name.startswith(other)}
            for name, path in MODULES.items()
        }
    ).prepare()


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"wsgid"}))
def test_gevent_is_known_where_requests_run_and_nowhere_else(name: str) -> None:
    used = {module.split(".")[0] for module in imported(MODULES[name])} & {"gevent", "greenlet"}
    assert not used or floor(name) in GEVENT


def test_the_architecture_shows_the_same_table() -> None:
    _, _, behind = (ROOT / "docs" / "architecture.md").read_text().partition("## The floors")
    rows = re.findall(r"^\| `(\w+)[/.]", behind.partition("\n## ")[0], re.MULTILINE)
    assert tuple(rows) == FLOORS


def run_alone(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def loaded_by(modules: str) -> set[str]:
    return set(run_alone(f"import sys, {modules}; print(*sys.modules)").split())


def test_the_master_never_imports_gevent_nor_what_the_workers_run() -> None:
    loaded = loaded_by("wsgid.command, wsgid.master")
    forbidden = {"gevent", "greenlet"} | {f"wsgid.{name}" for name in GEVENT | {"wsgi"}}
    assert "wsgid.master" in loaded
    assert not forbidden & loaded
    assert not {"argparse", "ast", "asyncio", "dataclasses", "email", "http", "inspect", "ssl", "subprocess"} & loaded


def test_a_worker_has_neither_the_table_of_limits_nor_random_unless_the_application_loads_them() -> None:
    loaded = loaded_by("wsgid.template")
    assert "wsgid.limits.home" in loaded
    assert (
        not {"hashlib", "random", "tempfile", "wsgid.limits.limiters", "wsgid.limits.permit", "wsgid.limits.table"}
        & loaded
    )
    assert "wsgid.limits.table" in loaded_by("wsgid.limits.limiters") & loaded_by("wsgid.limits.counters")


def test_dataclasses_are_made_by_records_alone() -> None:
    users = {name for name, path in MODULES.items() if "dataclasses" in imported(path)}
    assert users == {"wsgid.records"}


def test_the_version_alone_imports_nothing_of_the_server() -> None:
    code = "import sys; sys.argv[1:] = ['--version']; import wsgid.cli; wsgid.cli.main(); print(*sys.modules)"
    said, _, loaded = run_alone(code).partition("\n")
    assert said.startswith("wsgid 0.")
    assert {name for name in loaded.split() if name.startswith("wsgid")} == {"wsgid", "wsgid.cli", "wsgid.compiled"}
    assert "typing" not in loaded.split()


def test_a_feature_is_imported_with_its_option_only() -> None:
    """The most that the master of a small site imports."""
    features = {"metrics", "stats", "http", "health", "fifo", "caches"}
    assert not {f"wsgid.admin.{name}" for name in features} & loaded_by("wsgid.command, wsgid.master")
    assert not {"wsgid.cache.files", "wsgid.cache.board"} & loaded_by("wsgid.command, wsgid.master")
    assert not {"wsgid.config.check", "wsgid.config.uwsgi_options", "wsgid.sockets.certificates"} & loaded_by(
        "wsgid.command"
    )


def test_the_package_itself_imports_next_to_nothing_before_the_template_patches() -> None:
    for_mypy = {"wsgid.application.offloading", "wsgid.hooks", "wsgid.limits"}  # and imported when they are used
    assert imported(PACKAGE / "__init__.py") & MODULES.keys() - for_mypy == {"wsgid", "wsgid.compiled"}
    assert not imported(PACKAGE / "compiled.py") & MODULES.keys()
    code = "import sys; before = set(sys.modules); import wsgid; print(*sys.modules.keys() - before)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"socket", "select", "threading", "time", "ssl", "subprocess", "signal"} & set(loaded)


@pytest.mark.parametrize("name", ["template.py", "application/check_child.py"])
def test_a_program_that_imports_the_application_patches_first(name: str) -> None:
    statements = ast.parse((PACKAGE / name).read_text()).body
    code = [node for node in statements if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    assert ast.unparse(code[0]) == "from wsgid.application import gevent_patch"
    assert ast.unparse(code[1]) == "gevent_patch.patch()"
    in_every_python = {"gc", "os", "sys", "importlib.machinery", "importlib.machinery.PathFinder"}
    later = {"pprint", "pprint.saferepr"}  # when a greenlet has failed
    assert {
        name for name in imported(PACKAGE / "application" / "gevent_patch.py") if "gevent" not in name
    } == in_every_python | later
    assert not imported(PACKAGE / "application" / "__init__.py")
