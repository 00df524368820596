"""Finding and importing the application."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
        ("def make(root, *, debug): return {('x', True): len}[root, debug]", "site_app:make('x', debug=True)", len),
        ("class a:\n  @staticmethod\n  def make(n): return n and len", "site_app:a.make([{'k': -1}])", len),
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
        ("", "site_app:class", "names no application"),
        ("def make(): return len", "site_app:[make][0]()", "names no application"),
        ("def make(x): return len", "site_app:make(open('/etc/passwd'))", "MODULE:FACTORY() with literal arguments"),
        ("def make(**x): return len", "site_app:make(**{'a': 1})", "names no application"),
        (
            "def make(): return len",
            "site_app:make(1)",
            "TypeError: make() takes 0 positional arguments but 1 was given",
        ),
        ("def f(:", "site_app", "cannot be imported: SyntaxError"),
    ],
)
def test_a_failed_import_is_one_sentence(place: Path, source: str, named: str, says: str) -> None:
    write(place / "site_app.py", source)
    with pytest.raises(ApplicationImportError) as refusal:
        load(application=named)
    assert says in str(refusal.value)


def test_the_working_directory_comes_before_the_directory_of_the_file(place: Path) -> None:
    """As in uWSGI, where `wsgi-file = mysite/wsgi.py` imports mysite. Modules beside the file hide no others."""
    write(place / "mysite" / "__init__.py", "")
    write(place / "mysite" / "colorsys.py", "1/0")
    write(place / "mysite" / "beside.py", "")
    write(place / "mysite" / "wsgi.py", "import colorsys, beside, mysite\napplication = len")
    assert load(wsgi_file="mysite/wsgi.py") is len
    assert sys.path[0] == str(place) and sys.path[-1] == str(place / "mysite")


@pytest.mark.parametrize(
    ("source", "callable_name", "expected"),
    [("application = len", "", len), ("x = 1", "", max), ("", "site", max), ("site = len", "site", len)],
)
def test_if_module_and_file_are_named_the_file_counts_where_the_module_has_no_callable(
    place: Path, source: str, callable_name: str, expected: object
) -> None:
    """Compared with uWSGI 2.0.31."""
    write(place / "site_app.py", source)
    write(place / "wsgi.py", "application = site = max")
    assert load(application="site_app", wsgi_file="wsgi.py", callable=callable_name) is expected


def test_the_file_also_counts_if_the_module_is_missing_but_not_if_it_fails(place: Path) -> None:
    write(place / "wsgi.py", "application = max")
    assert load(application="no_such_module", wsgi_file="wsgi.py") is max
    write(place / "site_app.py", "import no_such_module")
    with pytest.raises(ApplicationImportError, match="No module named 'no_such_module'"):
        load(application="site_app", wsgi_file="wsgi.py")


def test_mounted_applications_are_modules_and_files_and_each_file_is_its_own_module(place: Path) -> None:
    for name in ("a", "b"):
        write(place / name / "wsgi.py", f"def application(*_): return ['{name}']\ndef other(*_): return ['other']")
    mount = (("/a", "a/wsgi.py"), ("/b", "b/wsgi.py"), ("/c", "b/wsgi.py:other"))
    loaded: Any = load(mount=mount, manage_script_name=True)
    asked = [loaded({"PATH_INFO": path}, None) for path in ("/a", "/b/x", "/c/", "/", "/bb")]
    assert asked == [["a"], ["b"], ["other"], ["a"], ["a"]]


def test_an_application_that_is_mounted_at_the_root_needs_no_layer(place: Path) -> None:
    write(place / "site_app.py", "application = len")
    assert load(mount=(("", "site_app:application"),)) is len


def test_paste_deploy_loads_the_application_of_an_ini(place: Path) -> None:
    write(place / "site_app.py", "def factory(global_config, **local):\n    return {'x': len}[local['key']]")
    write(place / "site.ini", "[app:main]\npaste.app_factory = site_app:factory\nkey = x\n")
    assert load(paste="config:site.ini") is len
    assert load(paste=str(place / "site.ini")) is len


def test_a_missing_paste_deploy_is_one_sentence(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paste.deploy", None)
    with pytest.raises(ApplicationImportError, match=r"needs paste.deploy: pip install PasteDeploy"):
        load(paste="config:site.ini")


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
