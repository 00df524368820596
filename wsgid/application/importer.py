"""Find and import the operator's application, or the several applications of --mount.

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

from wsgid import log
from wsgid.application import naming
from wsgid.config.options import Settings
from wsgid.errors import ApplicationImportError
from wsgid.wsgi.types import Application

_DEFAULT_NAMES = ("application", "app")


class _NoCallable(ApplicationImportError):
    """The module exists, and has no such name."""


def load(settings: Settings) -> Application:
    """Import the application that the settings name. sys.path must be ready (see prepare_path).

    Args:
        settings: of the server.

    Raises:
        ApplicationImportError: the application does not exist, raises during the import, or is not callable.
    """
    found = _mounted(settings) if settings.mount else _alone(settings)
    for name in settings.import_module:
        _run_module(name)
    return _wrapped(found, settings)


def _mounted(settings: Settings) -> Application:
    """Load the applications of --mount, after one that is named without a prefix. The first application also gets what
    no prefix fits, as in uWSGI."""
    first = _alone(settings) if settings.application_name != settings.mount[0][1] else None
    mounted = {prefix: _named(text, settings.callable) for prefix, text in settings.mount}
    if first is None:
        first = next(iter(mounted.values()))
    first = mounted.pop("", first)
    if not mounted:
        return first
    from wsgid.wsgi.mounts import Mounts

    return Mounts(first, mounted, settings.manage_script_name)


def _alone(settings: Settings) -> Application:
    """Load the application of --module, --wsgi-file or --paste. If module and file are named, the file counts where the
    module has no callable, or is missing: uWSGI loads them one after the other."""
    if settings.paste:
        from wsgid.application import paste

        return _checked(_run(settings.paste, lambda: paste.load(settings.paste, settings.paste_logger)), settings.paste)
    if settings.application:
        try:
            return _module(settings.application, settings.callable)
        except ApplicationImportError as error:
            if not settings.wsgi_file or not (isinstance(error, _NoCallable) or _is_missing(settings, error)):
                raise
            log.warning("%s; --wsgi-file %s is used instead", error, settings.wsgi_file)
    return _file(settings.wsgi_file, settings.callable)


def _is_missing(settings: Settings, error: ApplicationImportError) -> bool:
    """Whether the module itself does not exist."""
    module = settings.application.partition(":")[0]
    cause = error.__cause__
    return isinstance(cause, ModuleNotFoundError) and f"{module}.".startswith(f"{cause.name}.")


def _named(text: str, default: str) -> Application:
    """Load what a --mount names: a module or a file."""
    file = naming.split_file(text)
    if file is None:
        return _module(text, default)
    return _load(text, lambda: _import_file(file[0]), file[1] or _default(default))


def _module(text: str, default: str) -> Application:
    module, found = naming.split(text)
    return _load(text, lambda: importlib.import_module(module), found or _default(default))


def _file(path: str, default: str) -> Application:
    return _load(path, lambda: _import_file(path), _default(default))


def _default(text: str) -> naming.Callable | None:
    return naming.callable_of(text, text) if text else None


def _load(called: str, importing: Callable[[], ModuleType], found: naming.Callable | None) -> Application:
    module = _run(called, importing)
    application = _attribute(module, found.path if found else "", called)
    if found and found.factory:
        application = _run(called, lambda: found.factory.call(application))  # type: ignore[union-attr]
    return _checked(application, called)


def _checked(application: Any, called: str) -> Application:
    if not callable(application):
        raise ApplicationImportError(
            f"{called!r} is not callable but a {type(application).__name__}: name the application"
        )
    checked: Application = application
    return checked


def _wrapped(application: Application, settings: Settings) -> Application:
    """Put the layers that the options ask for around the application. Each is imported with its option only: together
    they take 1.5 MB."""
    if settings.static_map or settings.check_static or settings.check_static_docroot:
        application = _with_files(application, settings)
    if settings.post_buffering:
        from wsgid.wsgi.postbuffer import PostBuffer

        application = PostBuffer(application, settings.post_buffering, settings.harakiri)
    if settings.limit_post:
        from wsgid.wsgi.bodylimit import BodyLimit

        application = BodyLimit(application, settings.limit_post)
    return application


def _with_files(application: Application, settings: Settings) -> Application:
    from wsgid.wsgi.static import StaticMaps
    from wsgid.wsgi.static_rules import StaticRules

    everything = (".*",) if settings.static_gzip_all else ()
    try:
        rules = StaticRules(
            settings.static_expires,
            (*everything, *settings.static_gzip),
            settings.mimefile,
            settings.static_index,
            settings.static_skip_ext,
            settings.static_charset,
        )
    except OSError as error:
        raise ApplicationImportError(f"--mimefile {error.filename}: {error.strerror}; correct the path") from None
    # uWSGI looks into the directories of check-static first.
    maps = [*(("/", directory) for directory in settings.check_static), *settings.static_map]
    docroot = settings.check_static_docroot
    return StaticMaps(application, maps, settings.static_safe, settings.static_hidden, rules, docroot)


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


def _import_file(text: str) -> ModuleType:
    path = Path(text).absolute()
    if not path.is_file():
        raise ApplicationImportError(f"--wsgi-file {text!r} is no file: correct the path")
    # A name and a loader of its own: the file may be called wsgi.wsgi, or site.py like a module of the standard
    # library. Several files may have the same name, in different directories.
    stem = re.sub(r"\W", "_", path.stem)
    taken = [name for name in sys.modules if re.fullmatch(f"wsgid_file_{stem}(_[0-9]+)?", name)]
    for name in taken:
        if sys.modules[name].__file__ == os.fspath(path):
            return sys.modules[name]
    loader = importlib.machinery.SourceFileLoader(
        f"wsgid_file_{stem}" + (f"_{len(taken) + 1}" if taken else ""), os.fspath(path)
    )
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[loader.name]
        raise
    return module


def _attribute(module: ModuleType, name: str, called: str) -> Any:
    for path in [name] if name else _DEFAULT_NAMES:
        found: Any = module
        for part in path.split("."):
            found = getattr(found, part, None)
        if found is not None:
            return found
    wanted = repr(name) if name else " or ".join(map(repr, _DEFAULT_NAMES))
    raise _NoCallable(f"{called!r} has no {wanted}: name the callable, as in MODULE:CALLABLE")


def prepare_path(settings: Settings) -> None:
    """Set up sys.path for the application: first --pythonpath, then the working directory, then the packages of the
    virtual environment, then the entries that wsgid started with, and last the directory of --wsgi-file.

    That directory is the last one, because it may be the application's own package. Its modules must hide
    no others.

    Args:
        settings: of the server.

    Raises:
        ApplicationImportError: the virtual environment belongs to another Python.
    """
    if settings.virtualenv:
        _activate(Path(settings.virtualenv))
    for entry in (os.fspath(Path.cwd()), *reversed(settings.pythonpath)):
        if entry in sys.path:
            sys.path.remove(entry)
        sys.path.insert(0, entry)
    if settings.wsgi_file:
        beside = os.fspath(Path(settings.wsgi_file).absolute().parent)
        if beside not in sys.path:
            sys.path.append(beside)


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
