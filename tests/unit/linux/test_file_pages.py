"""The pages of program files that only the start has read are given back, and changed pages are kept."""

import builtins
import subprocess
import sys
from collections.abc import Iterator

import pytest

from wsgid.linux import file_pages

PROGRAM = """
import re, ssl, decimal
from wsgid.linux import file_pages

def resident():
    "Return how many KiB of the files' program text are in this process, and how many KiB are its own changed copies."
    text, changed = 0, 0
    for mapping in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", open("/proc/self/smaps").read(), flags=re.MULTILINE)[1:]:
        if " r-xp " in mapping and "/" in mapping.partition("\\n")[0]:
            text += int(re.search(r"^Rss: +(\\d+)", mapping, re.MULTILINE)[1])
        changed += int(re.search(r"^Anonymous: +(\\d+)", mapping, re.MULTILINE)[1])
    return text, changed

before = resident()
file_pages.release()
after = resident()
ssl.create_default_context()
assert decimal.Decimal(2).sqrt() > 1
print(*before, *after)
"""
SMAPS = b"""\
55d0a000-55d0b000 r--p 00000000 fe:00 10     /usr/bin/python3
Rss:                    4 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
55d0b000-55d0e000 r-xp 00001000 fe:00 10     /usr/bin/python3
Rss:                    8 kB
Anonymous:             4 kB
VmFlags: rd mr mw me
55d0e000-55d0f000 r--p 00004000 fe:00 10     /usr/bin/python3
Rss:                    4 kB
Anonymous:             4 kB
VmFlags: rd mr mw me
55d0f000-55d10000 rw-p 00005000 fe:00 10     /usr/bin/python3
Rss:                    4 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
7f000000-7f010000 r-xp 00000000 fe:00 11     /usr/lib/libc.so.6
Rss:                   64 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
7f010000-7f020000 r--p 00000000 00:00 0
Rss:                    0 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
7f020000-7f030000 r--s 00000000 fe:00 12     /run/shared
Rss:                   64 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
7ffc0000-7ffc2000 r-xp 00000000 00:00 0      [vdso]
Rss:                    4 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
"""


def test_pages_of_program_text_are_given_back_and_changed_pages_stay() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    text_before, changed_before, text_after, changed_after = map(int, run.stdout.split())
    assert text_after < text_before / 2
    assert changed_after >= changed_before


def test_only_private_mappings_of_files_without_changes_are_given_back() -> None:
    assert list(file_pages._unchanged(SMAPS)) == [(0x55D0A000, 0x55D0B000), (0x7F000000, 0x7F010000)]
    assert list(file_pages._unchanged(b"")) == []


@pytest.fixture
def no_proc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: object, **__: object) -> object:
        raise FileNotFoundError(2, "No such file or directory")

    with monkeypatch.context() as patched:
        patched.setattr(builtins, "open", refuse)
        yield


@pytest.mark.usefixtures("no_proc")
def test_without_proc_nothing_happens() -> None:
    file_pages.release()
