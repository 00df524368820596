"""Find and import the operator's application.

Rules
* If the option names no callable, `application` and then `app` are tried, as the usage says.
* A failed import is an ApplicationImportError with one sentence. If the application's own code has raised, its
  exception is the __cause__.
"""

import importlib
import importlib.machinery
import importlib.util
import os
import re
import site
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from wsgid.config.options import Settings
from wsgid.errors import ApplicationImportError
from wsgid.wsgi.types import Application

_NAME = re.compile(r"(?P<module>[^:()]+)(:(?P<name>[\w.]+)(?P<call>\(\))?)?")
_DEFAULT_NAMES = ("application", "app")


def load(settings: Settings) -> Application:
    """Import the application that the settings name. sys.path must be ready (see prepare_path).

    Args:
        settings: of the server.

    Raises:
        ApplicationImportError: the application does not exist, raises during the import, or is not callable.
    """
    match = _NAME.fullmatch(settings.application)
    if settings.application and match is None:
        raise ApplicationImportError(
            f"{settings.application!r} names no application: write MODULE:CALLABLE, such as app:application"
        )
    called = settings.application or settings.wsgi_file
    module = _run(called, lambda: _import(settings, match))
    name = (match["name"] if match else None) or settings.callable
    found = _attribute(module, name, called)
    if match and match["call"]:
        found = _run(called, found)
    if not callable(found):
        raise ApplicationImportError(f"{called!r} is not callable but a {type(found).__name__}: name the application")
    for name in settings.import_module:
        _run_module(name)
    return _wrapped(found, settings)


def _wrapped(application: Application, settings: Settings) -> Application:
    """Put the layers that the options ask for around the application. Each is imported with its option only: together
    they take 1.5 MB."""
    if settings.static_map:
        from wsgid.wsgi.static import StaticMaps

        application = StaticMaps(application, settings.static_map, settings.static_safe, settings.static_hidden)
    if settings.post_buffering:
        from wsgid.wsgi.postbuffer import PostBuffer

        application = PostBuffer(application, settings.post_buffering, settings.harakiri)
    return application


def _run_module(name: str) -> None:
    """Import a module of --import."""
    try:
        importlib.import_module(name)
    # SystemExit too: see _run.
    except (Exception, SystemExit) as error:
        raise ApplicationImportError(
            f"--import {name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _run(called: str, function: Callable[[], Any]) -> Any:
    """Run code of the application."""
    try:
        return function()
    except ApplicationImportError:
        raise
    # SystemExit too: if the application calls sys.exit() during its import, the import has failed.
    except (Exception, SystemExit) as error:
        raise ApplicationImportError(
            f"the application {called!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _import(settings: Settings, match: re.Match[str] | None) -> ModuleType:
    if match is not None:
        return importlib.import_module(match["module"])
    path = Path(settings.wsgi_file).absolute()
    if not path.is_file():
        raise ApplicationImportError(f"--wsgi-file {settings.wsgi_file!r} is no file: correct the path")
    name = re.sub(r"\W", "_", path.stem)
    # A loader of its own: the file may be called wsgi.wsgi, or site.py like a module of the standard library.
    loader = importlib.machinery.SourceFileLoader(f"wsgid_file_{name}", os.fspath(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


def _attribute(module: ModuleType, name: str, called: str) -> Any:
    for path in [name] if name else _DEFAULT_NAMES:
        found: Any = module
        for part in path.split("."):
            found = getattr(found, part, None)
        if found is not None:
            return found
    wanted = repr(name) if name else " or ".join(map(repr, _DEFAULT_NAMES))
    raise ApplicationImportError(f"{called!r} has no {wanted}: name the callable, as in MODULE:CALLABLE")


def prepare_path(settings: Settings) -> None:
    """Set up sys.path for the application: first --pythonpath, then the working directory (or that of --wsgi-file),
    then the packages of the virtual environment, then the entries that wsgid started with.

    Args:
        settings: of the server.

    Raises:
        ApplicationImportError: the virtual environment belongs to another Python.
    """
    if settings.virtualenv:
        _activate(Path(settings.virtualenv))
    own = Path(settings.wsgi_file).absolute().parent if settings.wsgi_file else Path.cwd()
    for entry in (os.fspath(own), *reversed(settings.pythonpath)):
        if entry in sys.path:
            sys.path.remove(entry)
        sys.path.insert(0, entry)


def _activate(virtualenv: Path) -> None:
    packages = virtualenv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    if not packages.is_dir():
        raise ApplicationImportError(
            f"--virtualenv {virtualenv} has no packages for Python {sys.version_info.major}.{sys.version_info.minor}: "
            "install wsgid into that environment and start it from there"
        )
    before = list(sys.path)
    site.addsitedir(os.fspath(packages))  # also reads the .pth files there, as the environment's own interpreter does
    added = [entry for entry in sys.path if entry not in before]
    sys.path[:] = added + before
    os.environ["VIRTUAL_ENV"] = os.fspath(virtualenv)
