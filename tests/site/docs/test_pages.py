"""Every command and every configuration of the pages is tried. page_blocks.py has the marks, page_runner.py follows.

A page with commands gets a directory, a network and the usual paths (/run, /srv, /etc/nginx) for itself, with a real
nginx. So its commands are run as they stand there.
"""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import DOCS, ROOT, another_user
from tests.support.page_blocks import KNOWN, RUNNING, blocks
from tests.support.server import open_to_all
from tools.nginx import Nginx
from wsgid.config import merge

PAGES = sorted([ROOT / "README.md", *DOCS.glob("*.md")])
FOLLOWED = [page for page in PAGES if any(block.kind in RUNNING for block in blocks(page))]
NAMESPACES = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")


@another_user.as_root
@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    open_to_all(tmp_path)
    command = [
        *another_user.prefix(),
        *NAMESPACES,
        sys.executable,
        "-m",
        "tests.support.page_runner",
        str(page),
        str(tmp_path),
    ]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_page_has_a_test(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        assert block.kind in KNOWN, f"{where}: a block without a mark such as <!-- test: run -->"
        if block.kind == "options":
            for line in filter(None, re.sub(r"\\\n\s*", " ", block.text).splitlines()):
                program, *arguments = shlex.split(line, comments=True)
                assert program == "wsgid", where
                merge.read(arguments, {})
        elif block.kind == "nginx":
            outside, location, inside = block.text.partition("location")
            with Nginx(f"{outside}\nserver {{\n    listen 80;\n{location}{inside}\n}}\n") as nginx:
                assert nginx.error_log() == "", where
        elif block.kind == "python":
            ast.parse(block.text)
        elif block.kind == "elsewhere":
            assert block.argument, where
            assert all((ROOT / name).is_file() for name in block.argument.split()), f"{where}: {block.argument}"
