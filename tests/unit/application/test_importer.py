"""Finding and importing the application."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsgid.application import importer
from wsgid.config.options import Settings
from wsgid.errors import ApplicationImportError


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def load(**options: object) -> object:
    settings = Settings(**options)  # type: ignore[arg-type]
    importer.prepare_path(settings)
    return importer.load(settings)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("source", "named", "found"),
    [
        ("application = len", "site_app", len),
        ("app = len", "site_app", len),
        ("application = len; app = max", "site_app", len),
        ("my = len", "site_app:my", len),
        ("class a:\n  b = len", "site_app:a.b", len),
        ("def make(): return len", "site_app:make()", len),
    ],
)
def test_the_application_is_found(place: Path, source: str, named: str, found: object) -> None:
    write(place / "site_app.py", source)
    assert load(application=named) is found


def test_the_option_callable_names_the_application_where_the_module_does_not(place: Path) -> None:
    write(place / "site_app.py", "application = len; other = max")
    assert load(application="site_app", callable="other") is max


def test_a_file_is_loaded_by_path_whatever_its_name(place: Path) -> None:
    write(place / "deploy" / "site.wsgi", "from neighbour import app as application")
    write(place / "deploy" / "neighbour.py", "app = len")
    assert load(wsgi_file="deploy/site.wsgi") is len
    assert "site" in sys.modules and sys.modules["site"].__file__ != str(place / "deploy" / "site.wsgi")


@pytest.mark.parametrize(
    ("source", "named", "says"),
    [
        ("", "site_app", "'site_app' has no 'application' or 'app': name the callable"),
        ("", "site_app:my", "'site_app:my' has no 'my'"),
        ("application = 3", "site_app", "'site_app' is not callable but a int"),
        ("", "no_such_module:app", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("1/0", "site_app", "'site_app' cannot be imported: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(7)", "site_app", "cannot be imported: SystemExit: 7"),
        ("def make(): raise KeyError('x')", "site_app:make()", "cannot be imported: KeyError: 'x'"),
        ("", "site app:(", "names no application"),
        ("def f(:", "site_app", "cannot be imported: SyntaxError"),
    ],
)
def test_a_failed_import_is_one_sentence(place: Path, source: str, named: str, says: str) -> None:
    write(place / "site_app.py", source)
    with pytest.raises(ApplicationImportError) as refusal:
        load(application=named)
    assert says in str(refusal.value)


def test_the_applications_own_exception_is_kept_as_the_cause(place: Path) -> None:
    write(place / "site_app.py", "1/0")
    with pytest.raises(ApplicationImportError) as refusal:
        load(application="site_app")
    assert isinstance(refusal.value.__cause__, ZeroDivisionError)


def test_a_missing_file_is_named(place: Path) -> None:
    with pytest.raises(ApplicationImportError, match=r"--wsgi-file 'x.py' is no file"):
        load(wsgi_file="x.py")


def test_the_path_begins_with_pythonpath_then_the_working_directory(place: Path) -> None:
    importer.prepare_path(Settings(pythonpath=("/a", "/b")))
    assert sys.path[:3] == ["/a", "/b", str(place)]


def test_a_virtual_environment_comes_before_wsgids_own_packages(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = place / "venv" / "lib" / version / "site-packages"
    write(packages / "site_app.py", "application = len")
    assert load(application="site_app", virtualenv=str(place / "venv")) is len
    assert os.environ["VIRTUAL_ENV"] == str(place / "venv")


def test_a_virtual_environment_of_another_python_is_refused(place: Path) -> None:
    (place / "venv").mkdir()
    with pytest.raises(ApplicationImportError, match="has no packages for Python 3"):
        load(application="site_app", virtualenv=str(place / "venv"))
