"""python -m fuzz.run TARGET BUILD DIRECTORY [libFuzzer's options]: give one target bytes until the time is over.

The pure form is in this process, where Atheris sees which lines run. The compiled form gets each question, too.
"""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import atheris

import wsgid  # This import chooses the form. It comes before Atheris finds modules, so that Atheris is asked first.

with atheris.instrument_imports(include=["wsgid"]):
    from tests.support import questions

from fuzz import compiled_form
from fuzz.targets import TARGETS
from tests.support import ROOT

TIMEOUT_S = 20
MAX_BYTES = 1024


def main(name: str, build: Path, directory: Path, *options: str) -> None:
    """Does not return: libFuzzer ends the process."""
    assert questions.form() == "pure Python", wsgid
    target = TARGETS[name]
    with compiled_form.CompiledForm(build) if target.compiled else nullcontext() as compiled:

        def try_out(data: bytes) -> None:
            for question in target.ask(data):
                here = compiled_form.ask(*question)
                if compiled is not None:
                    there = compiled.ask(*question)
                    assert here == there, f"{question[0]}: the pure form says {here!r}, the compiled one {there!r}"

        atheris.Setup(_arguments(name, directory, options), try_out)
        atheris.Fuzz()


def _arguments(name: str, directory: Path, options: tuple[str, ...]) -> list[Any]:
    """libFuzzer's arguments (https://llvm.org/docs/LibFuzzer.html): where its corpus grows, and where it looks for
    seeds."""
    corpus, words = directory / "corpus", directory / "words"
    corpus.mkdir(parents=True, exist_ok=True)
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in TARGETS[name].words)
    words.write_text("".join(f'"{word}"\n' for word in escaped))
    seeds = ROOT / "tests" / "corpus" / name
    return [
        sys.argv[0],
        str(corpus),
        *([str(seeds)] if seeds.is_dir() else []),
        f"-artifact_prefix={directory}/finding-",
        f"-dict={words}",
        f"-timeout={TIMEOUT_S}",
        f"-max_len={MAX_BYTES}",
        "-print_final_stats=1",
        "-verbosity=1",
        *options,
    ]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
