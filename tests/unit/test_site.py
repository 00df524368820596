"""The site of the documentation, as far as it can be seen without MkDocs: `make docs` builds it, and is strict."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import DOCS, ROOT
from tools import site_hook
from wsgid.admin.metrics import METRICS

SITE: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("**/*.md"))]
HISTOGRAMS = ("_bucket", "_count", "_sum")


def entries(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for item in (nav.values() if isinstance(nav, dict) else nav) for page in entries(item)]


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    text = re.sub(r"(?ms)^```.*?^```", "", path.read_text())
    titles = [re.sub(r"`|\*|\[|\]\([^)]*\)", "", title) for title in re.findall(r"(?m)^#+ (.*)$", text)]
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page() -> None:
    found = entries(SITE["nav"])
    assert len(found) == len(set(found))
    outside = {page for page in found if page.startswith("project/")}
    assert set(found) - outside == {page.name for page in DOCS.glob("*.md")} | {"decisions/index.md"}
    assert all((ROOT / site_hook.source_of(page)).is_file() for page in outside)


def test_the_index_of_decisions_has_every_decision() -> None:
    index = (DOCS / "decisions" / "index.md").read_text()
    assert all(f"({path.name})" in index for path in (DOCS / "decisions").glob("0*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_link_to_a_heading_leads_to_one(page: Path) -> None:
    prose = site_hook.CODE.sub("", page.read_text())
    for target, anchor in re.findall(r"\]\(([^)\s#]*)#([^)\s]+)\)", prose):
        if "://" not in target:
            assert anchor in anchors((page.parent / target) if target else page), f"{target}#{anchor}"


def test_links_that_leave_the_pages_are_led_to_places_of_the_site() -> None:
    text = "[a](../examples/wsgid.service), [b](../SECURITY.md#x), [c](options.md), `[d](../setup.py)`, [e](https://x/)"
    assert site_hook.rewritten("index.md", text) == (
        "[a](files/examples/wsgid.service.txt), [b](project/SECURITY.md#x), [c](options.md), `[d](../setup.py)`, [e](https://x/)"
    )
    assert site_hook.rewritten("project/SECURITY.md", "[a](docs/threats.md)") == "[a](../threats.md)"
    assert site_hook.linked("index.md", text) == {"examples/wsgid.service", "SECURITY.md"}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 90


def test_pages_and_examples_name_only_metrics_that_are_there() -> None:
    known = {metric.name for metric in METRICS}
    known |= {f"{name}{suffix}" for name in known for suffix in HISTOGRAMS}
    texts = [*DOCS.glob("*.md"), *(ROOT / "examples" / "monitoring").iterdir()]
    for path in texts:
        named = set(re.findall(r"\bwsgid_[a-z_]+[a-z](?![\w(*…-])", path.read_text()))
        assert named - {"wsgid_params"} <= known, path.name
