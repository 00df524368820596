"""--migrate: the TOML file of a site of uWSGI, and its unit."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support import ROOT
from wsgid.config import merge
from wsgid.config.options import from_dict

FILES = Path(__file__).parent / "uwsgi_files"


def migrate(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "wsgid", "--migrate", *arguments],
        env={**os.environ, **environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.glob("*.ini")))
def test_the_toml_means_what_the_file_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(ROOT)
    environ = {"INSTALL_DIR": "/tmp", "LOCAL_DIR": "/tmp"}
    done = migrate(str(FILES / name), **environ)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "site.toml").write_text(done.stdout)
    before = merge.read([str(FILES / name)], environ).settings.as_dict()
    after = merge.read(["--config", str(tmp_path / "site.toml")], {}).settings.as_dict()
    before["logto"] = before["logto"] or before["daemonize"]
    none = {"ini": (), "config": "", "daemonize": ""}
    assert from_dict({**after, **none}) == from_dict({**before, **none})


def test_each_line_has_a_comment_and_the_unit_fits(tmp_path: Path) -> None:
    (tmp_path / "shop.ini").write_text(
        "[uwsgi]\nbase = shop\nmodule = %(base).wsgi:application\nmaster = true\nprocesses = 4\n"
        "socket = /run/shop/app.sock\nchmod-socket = 0660\ncron = 0 0 -1 -1 -1 tidy\nvaccum = true\n"
        'env = MOTTO="yes" \\ no\ndaemonize = /var/log/shop.log\nmax-fd = 5000\nlazy-apps = 1\nharakiri = 2.5\n'
        "uid = www-data\nworker-reload-mercy = 90\nmount = /x=y:z\nstatic-expires-uri = ^/a 60\n"
    )
    done = migrate(str(tmp_path / "shop.ini"))
    assert done.returncode == 2 and "shop.ini:8: cron = 0 0 -1 -1 -1 tidy: wsgid does not have this" in done.stderr
    for line in (
        f"# {tmp_path}/shop.ini:8: cron = 0 0 -1 -1 -1 tidy: wsgid does not have this: use a task queue such as "
        "Celery, or a systemd timer",
        f"# {tmp_path}/shop.ini:9: vaccum is no option, of uWSGI neither, and has no effect: did you mean 'vacuum'?",
        f"# {tmp_path}/shop.ini:4: master: there always is one",
        f'application = "shop.wsgi:application"  # {tmp_path}/shop.ini:3, module',
        f"workers = 4  # {tmp_path}/shop.ini:5, processes",
        f'    "/run/shop/app.sock",  # {tmp_path}/shop.ini:6',
        f'chmod-socket = "0660"  # {tmp_path}/shop.ini:7',
        f'    "MOTTO=\\"yes\\" \\\\ no",  # {tmp_path}/shop.ini:10',
        f"lazy-apps = true  # {tmp_path}/shop.ini:13",
        "# daemonize is logto now: systemd keeps wsgid in the background.",
        "#| TimeoutStopSec=105",
        "#| RuntimeDirectory=shop",
        "#| LimitNOFILE=5000",
        "#| Type=notify",
    ):
        assert line in done.stdout.splitlines(), done.stdout
    table = tomllib.loads(done.stdout)
    assert table["uid"] == "www-data" and table["mount"] == ["/x=y:z"] and table["static-expires"] == ["uri:^/a 60"]
    assert "check" not in table and "ini" not in table


def test_a_command_line_can_be_migrated_too_and_variables_of_this_shell_do_not_count() -> None:
    done = migrate(*["--http-socket", ":80", "--module", "app", "-p", "2", "--vacuum", "-T"], WSGID_HARAKIRI="5")
    assert tomllib.loads(done.stdout) == {"http": [":80"], "application": "app", "workers": 2}
    assert "# --enable-threads" in done.stdout or "# -T: --enable-threads: threads always work" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"), [([], "--migrate needs the file"), (["no.ini"], "no.ini cannot be read")]
)
def test_without_a_site_there_is_one_sentence(arguments: list[str], says: str) -> None:
    done = migrate(*arguments)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
