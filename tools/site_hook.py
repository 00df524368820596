"""A hook of MkDocs: files outside docs/ that a page links to become part of the site, and the index of decisions.

The pages are readable as files, so they link to ../examples/Dockerfile or ../SECURITY.md, which MkDocs does not know.
Here each of these files gets a place in the site: Markdown as a page in project/, other files as text in files/. Links
are rewritten to these places when a page is rendered; the sources stay as they are.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
CODE = re.compile(r"(?ms)(^```.*?^```|^ {4}[^\n]*$|`[^`\n]+`)")
PROJECT = ("CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md", "README.md", "bench/RESULTS.md")


def place(source: str) -> str | None:
    """Return where a file of the checkout is in the site, by its path in the checkout; None if it is nowhere."""
    if source.startswith("docs/"):
        return source.removeprefix("docs/")
    if source in PROJECT:
        return f"project/{source}"
    if (ROOT / source).is_file():
        name = source if posixpath.splitext(source)[1] in (".json", ".svg", ".png") else f"{source}.txt"
        return f"files/{name}"
    if (ROOT / source / "README.md").is_file():
        return f"project/{source}/README.md"
    return None


def source_of(page: str) -> str:
    """Return the path in the checkout of a page of the site."""
    return page.removeprefix("project/") if page.startswith("project/") else f"docs/{page}"


def linked(page: str, text: str) -> set[str]:
    """Return the files outside docs/ that a page links to, by their paths in the checkout."""
    here = posixpath.dirname(source_of(page))
    prose = CODE.sub("", text)
    names = {
        posixpath.normpath(posixpath.join(here, match[2])) for match in LINK.finditer(prose) if "://" not in match[2]
    }
    return {name for name in names if not name.startswith("docs/")}


def rewritten(page: str, text: str) -> str:
    """Return the text of a page with its links to files outside docs/ led to their places in the site."""
    here, there = posixpath.dirname(source_of(page)), posixpath.dirname(page)

    def lead(match: re.Match[str]) -> str:
        if "://" in match[2]:
            return match[0]
        source = posixpath.normpath(posixpath.join(here, match[2]))
        target = place(source)
        if target is None and (ROOT / source).is_dir():  # a directory of tests or modules: only its name is of use
            return match[1] + "#" + match[4]
        if target is None or (source.startswith("docs/") and page == target):
            return match[0]
        return match[1] + posixpath.relpath(target, there or ".") + (match[3] or "") + match[4]

    parts = CODE.split(text)
    return "".join(part if number % 2 else LINK.sub(lead, part) for number, part in enumerate(parts))


# --- called by MkDocs ---


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    waiting = {f"project/{name}" for name in PROJECT}
    found: set[str] = set()
    for file in files.documentation_pages():
        waiting |= {target for name in linked(file.src_uri, file.content_string) if (target := place(name))}
    while waiting:
        target = waiting.pop()
        found.add(target)
        source = (
            source_of(target) if target.startswith("project/") else target.removeprefix("files/").removesuffix(".txt")
        )
        text = (ROOT / source).read_text()
        files.append(File.generated(config, target, content=text))
        if target.startswith("project/"):
            waiting |= {other for name in linked(target, text) if (other := place(name))} - found
    return files


def on_page_markdown(markdown: str, page: Any, **_more: Any) -> str:
    return rewritten(page.file.src_uri, markdown)
