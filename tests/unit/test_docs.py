"""The documents agree with the program about the options, and the program accepts their examples."""

import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

from faults.__main__ import SCENARIOS
from tests.support import DOCS
from tools import options_doc
from wsgid.config import merge, values
from wsgid.config.options import declared


@pytest.mark.parametrize("name", ["options.md", "migrating-from-uwsgi.md"])
def test_the_tables_are_those_of_the_declarations(name: str) -> None:
    written = options_doc.documents()[DOCS / name]
    assert (DOCS / name).read_text() == written, "run python -m tools.options_doc"


def test_the_table_has_every_option_and_each_of_its_spellings() -> None:
    text = (DOCS / "options.md").read_text()
    for option in declared():
        (row,) = [line for line in text.splitlines() if f"`{option.variable}`" in line and line.startswith("|")]
        assert all(f"`{spelling}`" in row for spelling in (*option.flags, *option.uwsgi)) and option.text in row


def test_a_document_without_a_place_for_its_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="no <!-- options"):
        options_doc.with_table("text", "options", "table")


@pytest.mark.parametrize("name", ["options.md", "migrating-from-uwsgi.md", "migrating-from-gunicorn.md"])
def test_the_examples_of_configurations_are_accepted(name: str, tmp_path: Path) -> None:
    found = re.findall(r"```(ini|toml)\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)
    assert found
    for kind, text in found:
        (tmp_path / f"site.{kind}").write_text(text)
        assert merge.read([str(tmp_path / f"site.{kind}")], {}).warnings == []


def test_the_two_files_of_the_uwsgi_example_mean_the_same(tmp_path: Path) -> None:
    read = []
    for kind, text in re.findall(r"```(ini|toml)\n(.*?)```", (DOCS / "migrating-from-uwsgi.md").read_text(), re.DOTALL):
        (tmp_path / f"site.{kind}").write_text(text)
        read.append({**merge.read([str(tmp_path / f"site.{kind}")], {}).settings.as_dict(), "ini": (), "config": ""})
    assert len(read) == 2 and read[0] == read[1]


@pytest.mark.parametrize("name", ["migrating-from-uwsgi.md", "migrating-from-gunicorn.md", "options.md"])
def test_the_options_that_a_document_names_are_there(name: str) -> None:
    text = re.sub(r"gunicorn -k.*", "", (DOCS / name).read_text())  # options of gunicorn
    flags = {flag for option in declared() for flag in (option.flag, *option.flags)}
    denials = {option.flag.replace("--", "--no-") for option in declared() if option.kind is values.FLAG}
    known = {*flags, *denials, "--help", "--help-all"}
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text)) - known <= {"--show-config"}


def test_each_promise_of_security_md_names_tests_that_are_there() -> None:
    promises = re.split(r"^\d\. ", (DOCS.parent / "SECURITY.md").read_text(), flags=re.MULTILINE)[1:]
    assert len(promises) == 6
    for promise in promises:
        comments = " ".join(re.findall(r"<!--(.*?)-->", promise, re.DOTALL))
        names = re.findall(r"tests/[\w/]+\.py", comments)
        assert names
        texts = [(DOCS.parent / name).read_text() for name in names]
        for function in re.findall(r"\btest_\w+(?!\w|\.py)", re.sub(r"tests/[\w/]+\.py", "", comments)):
            assert any(f"def {function}(" in text for text in texts), function
    for scenario in re.findall(r"faults ONLY=([\w-]+)", "".join(promises)):
        assert scenario in SCENARIOS


def test_the_threats_name_modules_that_are_there() -> None:
    for name in re.findall(r"`([\w/]+\.py)`", (DOCS / "threats.md").read_text()):
        assert (DOCS.parent / "wsgid" / name).exists(), name


# --- files that are named in text ---

ROOT = DOCS.parent
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("**/*.md"))]
MODULES = sorted(path for ending in ("py", "pxd", "pyx") for path in (ROOT / "wsgid").glob(f"**/*.{ending}"))
SOURCE = re.compile(r"(?<![\w./-])(?:[\w-]+/)*[\w-]+\.(?:pyx|pxd|py)\b(?!\()")
FOREIGN = (
    "jinja2/",
    "mysite/",
    "n/app.py",
    "site.py",
    "wsgi.py",
    "manage.py",
    "shop.py",
    "app.py",
)  # examples, and files of other programs


def is_there(name: str, near: Path) -> bool:
    """Whether a file of the project has this name: as a path, or anywhere as a bare name. Tests are named by bare
    names."""
    bare = name.rpartition("/")[2]
    if "/" in name and not name.startswith("tests/"):
        return any((place / name).exists() for place in (near, ROOT, ROOT / "wsgid"))
    return bare in {
        path.name for folder in ("wsgid", "tests", "tools", "bench", "faults", "apps", ".") for path in files(folder)
    }


@cache
def files(folder: str) -> list[Path]:
    found = (ROOT / folder).glob("*" if folder == "." else "**/*")
    return [path for path in found if path.suffix in (".py", ".pyx", ".pxd")]


def prose_of(path: Path) -> str:
    """The comments and docstrings of a module. Of Cython's sources, the whole text."""
    if path.suffix != ".py":
        return path.read_text()
    with path.open("rb") as source:
        tokens = list(tokenize.tokenize(source.readline))
    kinds = (tokenize.COMMENT, tokenize.STRING)
    return "\n".join(token.string for token in tokens if token.type in kinds and token.string[0] in "#\"'")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_files_that_are_there(page: Path) -> None:
    text = page.read_text()
    names = [name for name in SOURCE.findall(text) if not name.startswith(FOREIGN)]
    assert [name for name in names if not is_there(name, page.parent)] == []
    prose = re.sub(r"```.*?```|`[^`\n]*`|^ {4}[^\n]*$", "", text, flags=re.DOTALL | re.MULTILINE)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(ROOT)))
def test_comments_and_docstrings_name_only_files_that_are_there(module: Path) -> None:
    text = prose_of(module)
    names = [name for name in SOURCE.findall(text) if not name.startswith(FOREIGN)]
    assert [name for name in names if not is_there(name, module.parent)] == []
    assert [name for name in re.findall(r"docs/[\w/-]+\.md", text) if not (ROOT / name).exists()] == []


def test_the_page_of_the_environ_has_the_keys_that_the_server_sets_and_no_others() -> None:
    key = re.compile(r"[\"`]((?:wsgi|wsgid|werkzeug)\.[a-z_]+)[\"`]")
    source = "".join(path.read_text() for path in (*ROOT.glob("wsgid/wsgi/*.py"), *ROOT.glob("wsgid/serving/*.py")))
    assert set(key.findall((DOCS / "environ.md").read_text())) == set(key.findall(source))
