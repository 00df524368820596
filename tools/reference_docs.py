"""Write the pages of reference that follow from declarations: python -m tools.reference_docs

| page | from |
| --- | --- |
| docs/signals.md | SIGNAL_ORDERS in wsgid/master.py |
| docs/exit-codes.md | ExitCode in wsgid/errors.py |
| docs/api.md | the docstrings of what applications use (API below) |
| docs/wsgidctl.md | the parsers of wsgidctl's subcommands |
| docs/log-messages.md | the calls of `log.error` and others, and the errors that end the start |
| docs/decisions/index.md | the titles of the decisions |
| README.md | the figures: bench/RESULTS.md |

This program writes the text between a line `<!-- NAME: by python -m tools.reference_docs -->` and
`<!-- end of NAME -->`. All other text is written by hand. tests/unit/test_reference_docs.py fails if a page is not what
this program would write.
"""

import argparse
import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from wsgid.ctl import main as ctl
from wsgid.errors import ExitCode
from wsgid.master import SIGNAL_ORDERS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
COMMAND = "python -m tools.reference_docs"

# What an application may import from wsgid, and nothing else. A module stands for the names in its __all__.
API = (
    "wsgid.__version__",
    "wsgid.offload",
    "wsgid.hooks",
    "wsgid.cache",
    "wsgid.limits",
    "wsgid.errors.CacheError",
    "wsgid.errors.NoSuchCache",
    "wsgid.errors.NoSuchKey",
    "wsgid.errors.NotANumber",
    "wsgid.errors.ValueTooLarge",
    "wsgid.errors.CacheFull",
    "wsgid.errors.CacheUnavailable",
    "wsgid.errors.LockNotAcquired",
    "wsgid.errors.RequestTimeout",
    "wsgid.errors.OffloadTimeout",
    "wsgid.errors.ClientDisconnected",
)
COMMON = ("help", "json", "control", "pidfile", "user")  # each subcommand of wsgidctl has them
LEVELS = ("error", "warning", "info", "debug")
SECTION = re.compile(r"(?m)^(Args|Returns|Raises|Yields):$")


# --- signals and exit codes ---


def signals_table() -> str:
    rows = [(f"`{signo.name.removeprefix('SIG')}`", order.effect) for signo, order in SIGNAL_ORDERS.items()]
    return table(("signal", "effect"), rows)


def exit_codes_table() -> str:
    return table(("code", "meaning"), ((str(int(code)), code.meaning) for code in ExitCode))


# --- the Python API ---


def api() -> str:
    return "\n\n".join(_described(name, item) for name, item in _items())


def _items() -> Iterator[tuple[str, Any]]:
    """Yield each public name with what it stands for. A module that this version does not have is left out."""
    for name in API:
        module, _, attribute = name.rpartition(".")
        if importlib.util.find_spec(module) and hasattr(importlib.import_module(module), attribute):
            item = getattr(importlib.import_module(module), attribute)
        elif importlib.util.find_spec(name):
            item = importlib.import_module(name)
        else:
            continue
        yield name, item
        if inspect.ismodule(item):
            yield from ((f"{name}.{public}", getattr(item, public)) for public in getattr(item, "__all__", ()))


def _described(name: str, item: Any) -> str:
    if inspect.ismodule(item):
        first = inspect.getdoc(item) or ""
        return f"## `{name}`\n\n{_markdown(re.split('(?m)^(?:Modules|Rules)$', first)[0].strip())}"
    if isinstance(item, str):
        return f"## `{name}`\n\nThe version, as text."
    level = "###" if name.count(".") > 1 and not inspect.isclass(item) else "##"
    signature = "" if inspect.isclass(item) else _signature(item)
    methods = _methods(item) if inspect.isclass(item) else ""
    return f"{level} `{name}`\n\n{signature}{_markdown(inspect.getdoc(item) or '')}{methods}"


def _methods(item: type) -> str:
    """Return the public methods and properties of a class, each with the first paragraph of its docstring.

    They are read from the source, because a compiled class does not tell the signatures of its methods.
    """
    lines: dict[str, str] = {}
    for kind in item.__mro__:
        path = ROOT / f"{kind.__module__.replace('.', '/')}.py"
        for node in _class(path, kind.__name__).body if path.exists() else ():
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and ast.get_docstring(node):
                first = str(ast.get_docstring(node)).partition("\n\n")[0]
                lines.setdefault(node.name, f"* `{_called(node)}`: {' '.join(first.split())}")
    return "\n\n**Methods and properties**\n\n" + "\n".join(lines.values()) if lines else ""


def _class(path: Path, name: str) -> ast.ClassDef:
    found = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef) and node.name == name)
    return next(found)


def _called(node: ast.FunctionDef) -> str:
    """Return how a method is called, without annotations. A property has no brackets."""
    if any(ast.unparse(each) == "property" for each in node.decorator_list):
        return node.name
    arguments = node.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if argument:
            argument.annotation = None
    arguments.args = arguments.args[1:]  # without self
    return f"{node.name}({ast.unparse(arguments)})"


def _signature(item: Any) -> str:
    text = str(inspect.signature(item)).replace("~", "").replace("typing.", "").replace("collections.abc.", "")
    return f"`{item.__name__}{text}`\n\n"


def _markdown(docstring: str) -> str:
    """Render a docstring: its sections become lists, and its indented examples stay as they are."""
    text, *sections = SECTION.split(docstring)
    parts = [re.sub(r"\n\n((?: {4}.*\n|\n(?= {4}))+)", _marked, f"{text.strip()}\n").strip()]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        parts.append(f"**{title}**\n\n{_list(inspect.cleandoc(body))}")
    return "\n\n".join(parts)


def _marked(example: re.Match[str]) -> str:
    """Put the mark of tests/support/page_blocks.py above an example: its syntax is checked if it is Python."""
    try:
        ast.parse(inspect.cleandoc(example[1]))
    except SyntaxError:
        return f"\n\n<!-- test: sample -->\n\n{example[1]}"
    return f"\n\n<!-- test: python -->\n\n{example[1]}"


def _list(body: str) -> str:
    entries = re.split(r"\n(?=\S)", body.strip())
    return "\n".join(f"* {_entry(' '.join(entry.split()))}" for entry in entries)


def _entry(text: str) -> str:
    return re.sub(r"^([\w, *`]+): ", lambda match: f"`{match[1].strip('`')}`: ", text)


# --- wsgidctl ---


def subcommands_table() -> str:
    parser = ctl.build_parser()
    choices = next(action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    rows = [(f"`{name}`", str(choices[name].description), " ".join(_flags(choices[name]))) for name in ctl.SUBCOMMANDS]
    return table(("subcommand", "what it does", "arguments"), rows)


def _flags(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.dest in COMMON or action.help == argparse.SUPPRESS:
            continue
        value = "" if action.nargs == 0 else f" {action.metavar or '|'.join(action.choices or [action.dest.upper()])}"
        yield f"`{'|'.join(action.option_strings)}{value}`" if action.option_strings else f"`{action.metavar}`"


# --- messages of the log ---


def log_lists() -> str:
    """Return the sentences without the modules that have them: modules are renamed more often than sentences."""
    said = {*_log_calls(), *(("errors that end the start", text) for text in _boot_errors())}
    titles = {**{level: level.upper() for level in LEVELS}, "errors that end the start": "Errors that end the start"}
    parts = []
    for kind, title in titles.items():
        parts.append(f"## {title}\n\n" + "\n".join(f"* {text}" for found, text in sorted(said) if found == kind))
    return "\n\n".join(parts)


def _log_calls() -> Iterator[tuple[str, str]]:
    for node in _calls():
        function = node.func
        is_log = isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)
        if is_log and function.value.id == "log" and function.attr in LEVELS and node.args:  # type: ignore[attr-defined]
            text = _text(node.args[0], node.args[1:])
            if _is_sentence(text):
                yield function.attr, text  # type: ignore[attr-defined]


def _boot_errors() -> Iterator[str]:
    """Yield the sentences of ConfigError, ListenerError and their like, which `wsgid` prints before it exits."""
    names = ("BootError", "ConfigError", "ListenerError", "ApplicationImportError")
    for node in _calls():
        if isinstance(node.func, ast.Name) and node.func.id in names and node.args:
            text = _text(node.args[0])
            if _is_sentence(text):
                yield text


def _is_sentence(text: str) -> bool:
    """Whether a text has words of its own. Otherwise the whole sentence is an argument."""
    return len(re.findall("[a-z]+", text)) > 1


def _calls() -> Iterator[ast.Call]:
    for path in sorted((ROOT / "wsgid").rglob("*.py")):
        yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def _text(node: ast.expr, values: Iterable[ast.expr] = ()) -> str:
    """Return a text with … for each value in it. A call of `counted` is … with its noun.

    Args:
        node: the text.
        values: of the conversions in the text, such as %s.
    """
    if isinstance(node, ast.Constant):
        said = map(_value, values)
        text = re.sub(r"%[-+ 0-9.]*[a-zA-Z]", lambda _: next(said, "…"), str(node.value)).replace("%%", "%")
    elif isinstance(node, ast.JoinedStr):
        text = "".join(_text(part) if isinstance(part, ast.Constant) else _value(part) for part in node.values)
    elif isinstance(node, ast.BinOp):
        text = _text(node.left) + _text(node.right)
    else:
        text = "…"
    return re.sub(r"\s*\n\s*", " ", text).replace("<", "&lt;").replace("*", r"\*")


def _value(node: ast.expr) -> str:
    call = node.value if isinstance(node, ast.FormattedValue) else node
    is_counted = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "counted"
    return f"… {ast.literal_eval(call.args[1])}s" if is_counted else "…"  # type: ignore[attr-defined]


# --- decisions ---


def decisions_list() -> str:
    pages = sorted(path for path in (DOCS / "decisions").glob("*.md") if path.name != "index.md")
    return "\n".join(f"* [{_title(path)}]({path.name})" for path in pages)


def _title(path: Path) -> str:
    return path.read_text().partition("\n")[0].removeprefix("# ")


# --- figures of README.md ---

# Shapes of bench/RESULTS.md, with their names for readers; and its columns.
SHAPES = {"flask": "Flask's hello, 1 worker", "wait": "10 ms of waiting, 500 connections, 2 workers"}
PEERS = {"wsgid": "wsgid", "uwsgi-gevent": "uWSGI with gevent", "gunicorn-http": "gunicorn with gevent"}
COLUMNS = {"req/s": "requests a second", "CPU µs/req": "processor time of a request, µs", "p99 ms": "p99, ms"}


def figures() -> str:
    text = (ROOT / "bench" / "RESULTS.md").read_text()
    rows = []
    for shape, title in SHAPES.items():
        measured = _measured(text.partition(f"(`{shape}`)")[2].partition("\n## ")[0])
        rows += [(f"{title}: {COLUMNS[column]}", *(measured[peer][column] for peer in PEERS)) for column in COLUMNS]
    day = re.search(r"on (\d{4}-\d\d-\d\d)", text)
    assert day
    said = f"Measured on {day[1]}, behind the same nginx; [all shapes](bench/RESULTS.md), [how](docs/bench.md)."
    return f"{table(('', *PEERS.values()), rows)}\n\n{said}"


def _measured(section: str) -> dict[str, dict[str, str]]:
    """Return the medians of a section, by server and column."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    head, _, *rows = lines
    return {row[0]: {name: cell.partition(" (")[0] for name, cell in zip(head, row)} for row in rows}


# --- pages ---


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [tuple(head), *(tuple(cell.replace("|", r"\|") for cell in row) for row in rows)]
    lines.insert(1, tuple("---" for _ in lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def with_text(document: str, name: str, text: str) -> str:
    """Return the document with this text in its place.

    Raises:
        ValueError: the document has no place for the text.
    """
    begin, end = f"<!-- {name}: by {COMMAND} -->", f"<!-- end of {name} -->"
    before, found, rest = document.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"no {begin} ... {end} in the document")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def documents() -> dict[Path, str]:
    """Return the text that each page has to have."""
    texts = {
        "signals.md": ("signals", signals_table()),
        "exit-codes.md": ("exit codes", exit_codes_table()),
        "api.md": ("api", api()),
        "wsgidctl.md": ("subcommands", subcommands_table()),
        "log-messages.md": ("messages", log_lists()),
        "decisions/index.md": ("decisions", decisions_list()),
        "../README.md": ("figures", figures()),
    }
    pages = {(DOCS / page).resolve(): written for page, written in texts.items()}
    return {page: with_text(page.read_text(), name, text) for page, (name, text) in pages.items()}


def main() -> None:
    for path, text in documents().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
