"""The manual pages and the completions in share/: they are those of the declarations, and the shells take them."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import ROOT
from tools import command_docs
from wsgid import __version__
from wsgid.config.options import declared
from wsgid.ctl.main import SUBCOMMANDS
from wsgid.errors import ExitCode

SHARE = ROOT / "share"
BASH = """
source {file}
COMP_WORDS=({words}) COMP_CWORD={index}
_shtab_{program} {program} "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed_by_bash(line: str) -> set[str]:
    words = line.split(" ")
    script = BASH.format(
        file=SHARE / "bash-completion/completions" / words[0],
        words=" ".join(f'"{word}"' for word in words),
        index=len(words) - 1,
        program=words[0],
    )
    command = ["bash", "--norc", "-c", script]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def completed_by_fish(line: str) -> set[str]:
    program = line.partition(" ")[0]
    script = f"source {SHARE}/fish/vendor_completions.d/{program}.fish; complete -C '{line}'"
    said = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True)
    return {row.partition("\t")[0] for row in said.stdout.splitlines()}


def completed_by_zsh(name: str) -> str:
    """What zsh has for a program. zsh completes only at a terminal, so this shows the lists that it would offer."""
    script = f"autoload -U compinit && compinit -D && source {SHARE}/zsh/site-functions/_{name}; typeset -p; functions"
    said = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, check=True)
    return said.stdout


def test_the_files_are_those_of_the_declarations() -> None:
    documents = command_docs.documents()
    assert len(documents) == 8
    assert {path for path in SHARE.rglob("*") if path.is_file()} == set(documents)
    for path, text in documents.items():
        assert path.read_text() == text, "run python -m tools.command_docs"


def test_the_manual_page_has_each_option_and_each_exit_code() -> None:
    page = (SHARE / "man/man1/wsgid.1").read_text().replace("\\-", "-")
    assert all(flag in page for option in declared() for flag in option.flags)
    assert all(code.meaning in page for code in ExitCode)
    assert f'"wsgid {__version__}"' in page.splitlines()[0]


def test_the_manual_page_of_wsgidctl_has_each_subcommand() -> None:
    page = (SHARE / "man/man1/wsgidctl.1").read_text().replace("\\-", "-")
    assert all(f"wsgidctl {name}" in page for name in SUBCOMMANDS)


@pytest.mark.parametrize("name", ["wsgid", "wsgidctl"])
def test_man_shows_a_page_without_a_warning(name: str) -> None:
    command = ["groff", "-man", "-Tutf8", "-P-cbou", "-ww", str(SHARE / "man/man1" / f"{name}.1")]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stderr == "" and "EXIT STATUS" in said.stdout


@pytest.mark.parametrize("complete", [completed_by_bash, completed_by_fish])
def test_a_shell_completes_options_and_subcommands(complete: Callable[[str], set[str]]) -> None:
    assert {"--workers", "--worker-reload-mercy"} <= complete("wsgid --worker")
    assert {"status", "stacks", "stop"} <= complete("wsgidctl st")
    assert "--seconds" in complete("wsgidctl profile --se")


def test_zsh_has_the_options_and_subcommands() -> None:
    assert "--worker-reload-mercy[" in completed_by_zsh("wsgid")
    assert re.search(r"stacks\b", completed_by_zsh("wsgidctl"))


def test_a_shell_completes_directories_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert completed_by_bash("wsgid --chdir si") == {"site"}
    assert completed_by_bash("wsgid --config si") == {"site", "site.toml"}
    assert completed_by_bash("wsgid si") == {"site", "site.toml"}


def test_the_changelog_has_this_version() -> None:
    assert f"\n## {__version__} - {command_docs.released()}\n" in (ROOT / "CHANGELOG.md").read_text()
