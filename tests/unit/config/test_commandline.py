"""uWSGI's command lines, as Dockerfiles and units have them. The order and the spelling of flags are those of uWSGI."""

import re
import shlex
from pathlib import Path

import pytest

from wsgid.config import merge, uwsgi_options, uwsgi_words
from wsgid.config.merge import Configuration, Settings
from wsgid.config.options import by_key
from wsgid.errors import ConfigError


def read(line: str) -> Configuration:
    return merge.read(shlex.split(line), {})


def test_a_command_line_for_uwsgi_means_what_the_ini_with_these_lines_means(tmp_path: Path) -> None:
    line = read("--master --vacuum --plugin python3 --http-socket :8000 --module app -p 4 --enable-threads")
    (tmp_path / "u.ini").write_text(
        "[uwsgi]\nmaster = true\nvacuum = true\nplugin = python3\nhttp-socket = :8000\nmodule = app\n"
        "processes = 4\nenable-threads = true\n"
    )
    assert line.settings == Settings(application="app", http=(":8000",), workers=4)
    file = read(f"--ini {tmp_path}/u.ini")
    assert {name: file.given[name][-1].texts for name in line.given} == {
        name: given[-1].texts for name, given in line.given.items()
    }
    assert [note.partition(": ")[2] for note in file.notes] == [note.removeprefix("--") for note in line.notes]
    assert line.notes[0] == "--master: there always is one"


@pytest.mark.parametrize(
    "line",
    [
        "-M -T -i -p 2 -w app:app -s /tmp/a.sock",
        "-MTi -p2 -wapp:app -s/tmp/a.sock",
        "-MTip 2 -w=app:app --socket=/tmp/a.sock",
        "--master=true --enable-threads=1 --processes=2 --module=app:app --uwsgi-socket /tmp/a.sock",
        "--need-app -b 32768 --buffer-size=8192 --workers 2 --wsgi app:app -s /tmp/a.sock --cheaper-algo spare",
    ],
)
def test_a_value_follows_a_blank_or_an_equals_sign_and_letters_share_a_dash(line: str) -> None:
    assert read(line).settings == Settings(application="app:app", workers=2, socket=("/tmp/a.sock",))


def test_each_of_uwsgis_names_that_a_file_may_have_is_a_flag() -> None:
    for name in by_key():
        arity = uwsgi_words.arity(name)
        if arity and name not in ("ini", "config"):
            alone = f"--{name}" if arity is uwsgi_words.Arity.NONE else f"--{name}=impossible\0"
            try:
                merge.read([alone, "--wsgi-file", "a.py"], {})
            except ConfigError as error:
                assert re.search("cannot be used|takes no value but", str(error)), name


def test_each_of_uwsgis_options_has_a_verdict() -> None:
    own = ("set", "set-ph", "set-placeholder", "include", "ini")  # ini.py and commandline.py know these
    names = [name for name in uwsgi_words.names() if name not in by_key() and name not in own]
    assert [name for name in names if uwsgi_options.find(name, "") is None] == []


def test_an_option_that_needs_no_value_here_takes_the_number_that_it_has_there() -> None:
    assert read("--py-autoreload 1 app:app").settings == Settings(application="app:app", py_autoreload=True)
    assert read("--py-autoreload app:app").settings == Settings(application="app:app", py_autoreload=True)
    assert read("--py-auto-reload=0 app:app").settings == Settings(application="app:app")


def test_a_flag_that_may_stand_alone_does_not_take_a_file(tmp_path: Path) -> None:
    (tmp_path / "u.ini").write_text("[uwsgi]\nmodule = a:b\n")
    settings = read(f"--chmod-socket {tmp_path}/u.ini").settings
    assert (settings.chmod_socket, settings.application) == (0o666, "a:b")


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("app.py", Settings(wsgi_file="app.py")),
        ("--callable app site.wsgi", Settings(wsgi_file="site.wsgi", callable="app")),
        ("site.app:create", Settings(application="site.app:create")),
    ],
)
def test_an_argument_without_a_flag_names_the_application_or_its_file(line: str, settings: Settings) -> None:
    assert read(line).settings == settings


def test_a_python_file_may_name_its_callable(tmp_path: Path) -> None:
    (tmp_path / "app.py").touch()
    assert read(f"{tmp_path}/app.py:site").settings == Settings(wsgi_file=f"{tmp_path}/app.py", callable="site")


def test_config_also_takes_an_ini_as_in_uwsgi(tmp_path: Path) -> None:
    (tmp_path / "u.ini").write_text("[uwsgi]\nmodule = a:b\n")
    assert read(f"--config {tmp_path}/u.ini").settings.application == "a:b"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--mastr app:app", "unknown option --mastr: did you mean '--master'?"),
        ("-k app:app", "unknown option -k"),
        ("--emperor /etc/vassals", "--emperor = /etc/vassals: wsgid does not have this: use a systemd template unit"),
        ("-Q /tmp/spool app:app", "--spooler = /tmp/spool: wsgid does not have this: use a task queue"),
        ("--if-env X app:app", "it belongs into an ini file"),
        ("--plugins", "--plugins needs a value"),
        ("--rack config.ru", "name a WSGI callable"),
        ("--jvm-class x", "not for Python"),
    ],
)
def test_an_error_names_the_flag_and_the_remedy(line: str, says: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        read(line)
    assert says in str(refusal.value)


def test_relative_paths_start_from_chdir_as_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "venv").mkdir()
    settings = read("--pythonpath lib --chdir site --touch-reload stamp --virtualenv venv a:b").settings
    assert settings.virtualenv == f"{tmp_path}/site/venv"
    (tmp_path / "u.ini").write_text("[uwsgi]\nmodule = a:b\nhome = venv\nchdir = site\n")
    assert read("u.ini").settings.virtualenv == settings.virtualenv
    assert settings.pythonpath == (f"{tmp_path}/site/lib",) and settings.touch_reload == (f"{tmp_path}/site/stamp",)
