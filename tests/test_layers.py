"""The floors of docs/architecture.md: imports run strictly downwards."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "wsgid"

FLOORS = {
    "wsgid": 0, "wsgid.forms": 0, "wsgid.errors": 0,
    "wsgid.config": 1, "wsgid.log": 1, "wsgid.limits": 1, "wsgid.slots": 1,
    "wsgid.fleet": 1, "wsgid.protocol": 1, "wsgid.protocol.uwsgi": 1,
    "wsgid.protocol.control": 1, "wsgid.protocol.http": 1, "wsgid.protocol.variables": 1, "wsgid.text": 1,
    "wsgid.process": 2, "wsgid.listener": 2, "wsgid.channel": 2, "wsgid.scoreboard": 2, "wsgid.application": 2,
    "wsgid.watch": 2, "wsgid.retirement": 2, "wsgid.upgrade": 2,
    "wsgid.wsgi": 2, "wsgid.wsgi.environ": 2, "wsgid.wsgi.input": 2, "wsgid.wsgi.response": 2,
    "wsgid.wsgi.filewrapper": 2, "wsgid.wsgi.static": 2,
    "wsgid.syscalls": 3, "wsgid.connection": 3, "wsgid.timeouts": 3,
    "wsgid.exchange": 3, "wsgid.rawsocket": 3, "wsgid.parking": 3, "wsgid.pipeline": 3, "wsgid.worker": 3,
    "wsgid.template": 3,
    "wsgid.questions": 3, "wsgid.shares": 3,
    "wsgid.admin": 3, "wsgid.admin.server": 3, "wsgid.admin.doors": 3, "wsgid.admin.snapshot": 3,
    "wsgid.admin.commands": 3,
    "wsgid.master": 4,
    "wsgid.cli": 5, "wsgid.__main__": 5,
    "wsgid.ctl": 6, "wsgid.ctl.main": 8, "wsgid.ctl.client": 6, "wsgid.ctl.requests": 7,
}
# Within a floor a module may know another of the same subject, in this order only.
SAME_FLOOR = {
    ("wsgid.wsgi.response", "wsgid.wsgi.filewrapper"), ("wsgid.wsgi.static", "wsgid.wsgi.filewrapper"),
    ("wsgid.application", "wsgid.wsgi.static"),
    ("wsgid.worker", "wsgid.connection"),
    ("wsgid.retirement", "wsgid.process"), ("wsgid.template", "wsgid.worker"),
    ("wsgid.fleet", "wsgid.slots"), ("wsgid.worker", "wsgid.timeouts"), ("wsgid.worker", "wsgid.pipeline"),
    ("wsgid.connection", "wsgid.syscalls"), ("wsgid.exchange", "wsgid.connection"),
    ("wsgid.exchange", "wsgid.rawsocket"),
    ("wsgid.parking", "wsgid.connection"), ("wsgid.parking", "wsgid.exchange"), ("wsgid.pipeline", "wsgid.exchange"),
    ("wsgid.pipeline", "wsgid.parking"),
    ("wsgid.pipeline", "wsgid.syscalls"), ("wsgid.pipeline", "wsgid.connection"), ("wsgid.pipeline", "wsgid.timeouts"),
    ("wsgid.protocol.uwsgi", "wsgid.protocol.variables"), ("wsgid.protocol.uwsgi", "wsgid.text"),
    ("wsgid.worker", "wsgid.questions"), ("wsgid.questions", "wsgid.timeouts"),
    ("wsgid.retirement", "wsgid.scoreboard"),
    ("wsgid.admin.doors", "wsgid.admin.server"), ("wsgid.admin.doors", "wsgid.admin.commands"),
    ("wsgid.admin.commands", "wsgid.admin.server"), ("wsgid.admin.commands", "wsgid.admin.snapshot"),
    ("wsgid", "wsgid.forms"), ("wsgid.__main__", "wsgid.cli"),
}


def module_name(path: Path) -> str:
    parts = ["wsgid", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imports(path: Path) -> set[str]:
    """The modules of wsgid that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found & MODULES.keys()


def test_every_module_has_a_floor() -> None:
    assert MODULES.keys() == FLOORS.keys()


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_run_downwards(name: str) -> None:
    for imported in imports(MODULES[name]) - {"wsgid", name}:
        if imported == name.rpartition(".")[0]:
            continue
        below = FLOORS[imported] < FLOORS[name] or (name, imported) in SAME_FLOOR
        assert below, f"{name} imports {imported}"


def test_the_master_never_imports_gevent_nor_what_the_workers_run() -> None:
    code = "import sys, wsgid.cli; print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    forbidden = {"gevent", "greenlet", "wsgid.template", "wsgid.worker", "wsgid.connection", "wsgid.wsgi"}
    assert "wsgid.master" in loaded
    assert not forbidden & set(loaded)


def test_the_package_itself_imports_next_to_nothing_before_the_template_patches() -> None:
    assert imports(PACKAGE / "__init__.py") == {"wsgid", "wsgid.forms"} and not imports(PACKAGE / "forms.py")
    code = "import sys; before = set(sys.modules); import wsgid; print(*sys.modules.keys() - before)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"socket", "select", "threading", "time", "ssl", "subprocess", "signal"} & set(loaded)
    template = ast.parse((PACKAGE / "template.py").read_text()).body
    code = [node for node in template if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    assert ast.unparse(code[0]) == "from gevent import monkey"
    assert ast.unparse(code[1]) == "monkey.patch_all()"
