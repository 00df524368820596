"""Write the tables of docs/options.md and docs/migrating-from-uwsgi.md: python -m tools.options_doc

This program writes the text between a line `<!-- NAME: ... -->` and `<!-- end of NAME -->`. All other text is written
by hand. tests/unit/test_docs.py fails if the tables are not what this program would write.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from wsgid.config import uwsgi_options, values
from wsgid.config.options import Group, Option, declared
from wsgid.config.uwsgi_options import Verdict

DOCS = Path(__file__).parent.parent / "docs"


def options_table() -> str:
    """All options, by their groups."""
    lines: list[str] = []
    for group in Group:
        lines += [
            f"\n### {group.value}\n",
            "| option | uWSGI's names | environment | value | default | meaning |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        lines += [
            _row(
                _names(option),
                _codes(option.uwsgi),
                f"`{option.variable}`",
                option.kind.name,
                _default(option),
                option.text,
            )
            for option in declared()
            if option.group is group
        ]
    return "\n".join(lines)


def uwsgi_table() -> str:
    """uWSGI's options: options that wsgid has, options that need nothing, and options that wsgid refuses."""
    lines = ["\n### Options of wsgid\n", "| in uwsgi.ini | here | meaning |", "| --- | --- | --- |"]
    lines += [
        _row(
            _codes(option.uwsgi),
            f"`{option.flag}`" if option.name != "application" else "`MODULE:CALLABLE`",
            option.text,
        )
        for option in declared()
        if option.uwsgi
    ]
    titles = {Verdict.NEEDLESS: "Taken, and needs nothing", Verdict.REFUSED: "Refused, with the remedy"}
    for verdict, title in titles.items():
        column = "why" if verdict is Verdict.NEEDLESS else "instead"
        lines += [f"\n### {title}\n", f"| in uwsgi.ini | {column} |", "| --- | --- |"]
        lines += [
            _row(_codes(row.patterns.split()) + _when(row.when), row.text)
            for row in uwsgi_options.TABLE
            if row.verdict is verdict
        ]
    return "\n".join(lines)


def _names(option: Option) -> str:
    flags = option.flags if option.name == "application" else (option.flag, *option.flags)
    return ("MODULE:CALLABLE " if option.name == "application" else "") + _codes(flags)


def _default(option: Option) -> str:
    if "(default:" in option.text:
        return ""  # the column "meaning" describes this default
    if option.default in ((), "", None, -1, (-1, -1)):
        return ""
    return "" if option.default == 0 and option.kind is not values.FLAG else option.show(option.default)


def _when(pattern: str) -> str:
    return "" if pattern == ".*" else f" = `{re.sub(r'[(]15[^)]*[)]', '15', pattern).replace(chr(92) + 's+', ' ')}`"


def _codes(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


def _row(*cells: str) -> str:
    """A row of a table. A | within a cell is escaped, because it would begin the next cell."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def with_table(text: str, name: str, table: str) -> str:
    """The text of a document with this table in its place.

    Raises:
        ValueError: the document has no place for the table.
    """
    begin, end = f"<!-- {name}: by python -m tools.options_doc -->", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"no {begin} ... {end} in the document")
    return f"{before}{begin}\n{table}\n\n{end}{after}"


def documents() -> dict[Path, str]:
    """The text that each document has to have, with the tables as they are now."""
    tables = (("options.md", "options", options_table()), ("migrating-from-uwsgi.md", "uwsgi", uwsgi_table()))
    return {DOCS / file: with_table((DOCS / file).read_text(), name, table) for file, name, table in tables}


def main() -> None:
    for path, text in documents().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
