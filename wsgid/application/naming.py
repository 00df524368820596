"""The names of applications: MODULE:CALLABLE, MODULE:FACTORY("argument"), PATH:CALLABLE.

Rules
* Arguments of a factory are literals, as in gunicorn. Nothing else is evaluated.
* `ast` is imported only for a name that is more than words and dots: it would take 2 ms and 1 MB of each start.
"""

import re
from keyword import iskeyword
from typing import Any

from wsgid.errors import ApplicationImportError
from wsgid.records import dataclass

_NAME = re.compile(r"(?P<module>[^:()]+)(:(?P<expression>.+))?", re.DOTALL)
_FILE = re.compile(r"(?P<file>.+\.(?:py|wsgi))(:(?P<expression>.+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Factory:
    """How to call what makes the application."""

    positional: tuple[Any, ...] = ()
    named: tuple[tuple[str, Any], ...] = ()

    def call(self, function: Any) -> Any:
        """Call the factory. Raises whatever it raises."""
        return function(*self.positional, **dict(self.named))


@dataclass(frozen=True, slots=True)
class Callable:
    """A name within a module.

    Args:
        path: attributes, joined by dots.
        factory: None if the name is the application itself.
    """

    path: str
    factory: Factory | None = None


def split(text: str) -> tuple[str, Callable | None]:
    """Split MODULE:CALLABLE into its parts.

    Args:
        text: as the operator has written it.

    Raises:
        ApplicationImportError: the text names no application.
    """
    match = _NAME.fullmatch(text)
    if match is None:
        raise _unnamed(text)
    return match["module"], callable_of(match["expression"], text) if match["expression"] else None


def split_file(text: str) -> tuple[str, Callable | None] | None:
    """Split PATH:CALLABLE into its parts; :CALLABLE may be missing. None if the text names no Python file."""
    match = _FILE.fullmatch(text)
    if match is None:
        return None
    return match["file"], callable_of(match["expression"], text) if match["expression"] else None


def callable_of(expression: str, text: str) -> Callable:
    """Return what an expression such as `app`, `site.app` or `make("x", debug=True)` names.

    Args:
        expression: the part after the colon.
        text: the whole name, for the error.

    Raises:
        ApplicationImportError: the expression is something else.
    """
    if _is_dotted(expression):
        return Callable(expression)
    try:
        return _called(expression)
    except (SyntaxError, ValueError):
        raise _unnamed(text) from None


def _called(expression: str) -> Callable:
    import ast

    node = ast.parse(expression, mode="eval").body
    if not isinstance(node, ast.Call) or any(keyword.arg is None for keyword in node.keywords):
        raise ValueError
    factory = Factory(
        tuple(map(ast.literal_eval, node.args)),
        tuple((str(keyword.arg), ast.literal_eval(keyword.value)) for keyword in node.keywords),
    )
    path = ast.unparse(node.func)
    if not _is_dotted(path):
        raise ValueError
    return Callable(path, factory)


def _is_dotted(text: str) -> bool:
    """Whether a text is a name, or names joined by dots."""
    return all(word.isidentifier() and not iskeyword(word) for word in text.split("."))


def _unnamed(text: str) -> ApplicationImportError:
    return ApplicationImportError(
        f"{text!r} names no application: write MODULE:CALLABLE, such as app:application, or MODULE:FACTORY() with "
        'literal arguments, such as app:create("production")'
    )
