"""The floors of docs/architecture.md: imports run strictly downwards."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "wsgid"

# A module knows only those that stand before it: on the floors below, or earlier on its own.
FLOORS = (
    (
        "wsgid.errors",
        "wsgid.forms",
        "wsgid",
        "wsgid.logs",
        "wsgid.logs.destination",
        "wsgid.safefiles",
        "wsgid.logs.stream",
        "wsgid.stdio",
        "wsgid.text",
    ),
    (
        "wsgid.config",
        "wsgid.config.expand",
        "wsgid.config.ini",
        "wsgid.config.uwsgi_options",
        "wsgid.forwarded",
        "wsgid.limits",
        "wsgid.logs.logformat",
        "wsgid.config.values",
        "wsgid.config.options",
        "wsgid.config.commandline",
        "wsgid.config.sources",
        "wsgid.config.merge",
        "wsgid.logs.syslogger",
        "wsgid.log",
        "wsgid.protocol",
        "wsgid.protocol.control",
        "wsgid.protocol.chunked",
        "wsgid.protocol.target",
        "wsgid.protocol.http",
        "wsgid.protocol.proxy",
        "wsgid.protocol.variables",
        "wsgid.protocol.uwsgi",
        "wsgid.slots",
        "wsgid.fleet",
        "wsgid.spoken",
    ),
    (
        "wsgid.refusals",
        "wsgid.backlog",
        "wsgid.certificates",
        "wsgid.channel",
        "wsgid.inbox",
        "wsgid.child",
        "wsgid.daemon",
        "wsgid.interpreter",
        "wsgid.hints",
        "wsgid.listener",
        "wsgid.logs.logfiles",
        "wsgid.pidfile",
        "wsgid.privileges",
        "wsgid.process",
        "wsgid.dump",
        "wsgid.launch",
        "wsgid.scoreboard",
        "wsgid.retirement",
        "wsgid.systemd",
        "wsgid.upgrade",
        "wsgid.watch",
        "wsgid.wsgi",
        "wsgid.wsgi.environ",
        "wsgid.wsgi.filewrapper",
        "wsgid.wsgi.input",
        "wsgid.wsgi.response",
        "wsgid.wsgi.postbuffer",
        "wsgid.wsgi.static",
        "wsgid.application",
        "wsgid.admin",
        "wsgid.admin.failures",
        "wsgid.admin.server",
        "wsgid.admin.http",
        "wsgid.admin.snapshot",
        "wsgid.admin.stats",
        "wsgid.admin.metrics",
        "wsgid.admin.health",
        "wsgid.admin.status",
        "wsgid.admin.commands",
        "wsgid.admin.fifo",
        "wsgid.admin.doors",
        "wsgid.forks",
        "wsgid.heap",
        "wsgid.lateimport",
        "wsgid.shares",
        "wsgid.syscalls",
        "wsgid.clock",
        "wsgid.turns",
        "wsgid.connection",
        "wsgid.logs.outlet",
        "wsgid.logs.accesslog",
        "wsgid.proxied",
        "wsgid.rawsocket",
        "wsgid.exchange",
        "wsgid.parking",
        "wsgid.timeouts",
        "wsgid.cleanup",
        "wsgid.whereabouts",
        "wsgid.importwatch",
        "wsgid.leftovers",
        "wsgid.profiler",
        "wsgid.stacks",
        "wsgid.questions",
        "wsgid.tls",
        "wsgid.pipeline",
        "wsgid.worker",
        "wsgid.template",
        "wsgid.trial",
    ),
    ("wsgid.check", "wsgid.master"),
    ("wsgid.cli", "wsgid.__main__"),
    (
        "wsgid.ctl",
        "wsgid.ctl.client",
        "wsgid.ctl.answers",
        "wsgid.ctl.samples",
        "wsgid.ctl.flamegraph",
        "wsgid.ctl.text",
        "wsgid.ctl.profile",
        "wsgid.ctl.log_reopen",
        "wsgid.ctl.memory",
        "wsgid.ctl.reload",
        "wsgid.ctl.requests",
        "wsgid.ctl.settings",
        "wsgid.ctl.stacks",
        "wsgid.ctl.stop",
        "wsgid.ctl.troubles",
        "wsgid.ctl.sample",
        "wsgid.ctl.status",
        "wsgid.ctl.frame",
        "wsgid.ctl.top",
        "wsgid.ctl.workers",
        "wsgid.ctl.main",
    ),
)
ORDER = [name for floor in FLOORS for name in floor]


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
    assert sorted(MODULES) == sorted(ORDER)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_run_downwards(name: str) -> None:
    for imported in imports(MODULES[name]) - {"wsgid", name}:
        if imported == name.rpartition(".")[0]:
            continue
        assert ORDER.index(imported) < ORDER.index(name), f"{name} imports {imported}"


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
    statements = [
        node for node in template if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]
    assert ast.unparse(statements[0]) == "from gevent import monkey"
    assert ast.unparse(statements[1]) == "monkey.patch_all()"
