"""The code blocks of a page, with the marks above them. A mark is an HTML comment, which no reader sees:

    <!-- test: run -->          the block is a script for bash; it has to succeed
    <!-- test: fails -->        the same; its last command has to fail
    <!-- test: start -->        the block is a server in the foreground; the page goes on when its workers are ready
    <!-- test: stop -->         Ctrl-C for the server that was started last; the block is what the terminal shows
    <!-- test: output -->       what the last script has printed; a line … stands for any lines, and … for any text
    <!-- test: file PATH -->    the block is this file
    <!-- test: options -->      each line is a command line of wsgid, with values that wsgid takes
    <!-- test: nginx -->        locations, with what stands outside of the server in front of them: nginx takes them
    <!-- test: python -->       Python, whose syntax is checked
    <!-- test: sample -->       an output of a certain machine, or a drawing: nothing to run
    <!-- test: elsewhere tests/site/test_x.py --> this test runs it

Rules
* Every block of a page has a mark: tests/site/docs/test_pages.py. So a command without a test cannot get into a page.
* A mark above a sentence holds for the next block, so that a sentence can stand between them.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MARK = re.compile(r"<!-- test: (\w+) ?(.*?) -->")
RUNNING = {"run", "fails", "start", "stop", "output", "file"}  # what page_runner.py follows
KNOWN = RUNNING | {"options", "nginx", "python", "sample", "elsewhere"}


class Block(NamedTuple):
    """A code block. `kind` is empty if the block has no mark."""

    kind: str
    argument: str
    text: str
    line: int


def blocks(path: Path) -> list[Block]:
    return list(_blocks(path.read_text().splitlines()))


def _blocks(lines: list[str]) -> Iterator[Block]:
    kind = argument = ""
    number = 0
    while number < len(lines):
        line = lines[number]
        first = number
        if found := MARK.search(line):
            kind, argument = found[1], found[2]
        if line.lstrip().startswith("```"):
            indent = len(line) - len(line.lstrip())
            number = next(n for n in range(first + 1, len(lines)) if lines[n].strip() == "```")
            text = "".join(f"{inner[indent:]}\n" for inner in lines[first + 1 : number])
        elif _begins_indented(lines, number):
            while number + 1 < len(lines) and (lines[number + 1].startswith("    ") or not lines[number + 1].strip()):
                number += 1
            text = "".join(f"{inner[4:]}\n" for inner in lines[first : number + 1]).rstrip("\n") + "\n"
        else:
            number += 1
            continue
        yield Block(kind, argument, text, first + 1)
        kind = argument = ""
        number += 1


def _begins_indented(lines: list[str], number: int) -> bool:
    """Whether an indented block begins here: after an empty line, and not within a list."""
    if not lines[number].startswith("    ") or not lines[number].strip() or (number and lines[number - 1].strip()):
        return False
    before = next((line for line in reversed(lines[:number]) if line.strip() and not line.startswith(" ")), "")
    return not before.startswith(("* ", "- ", "1. "))
