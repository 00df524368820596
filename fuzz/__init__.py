"""`make fuzz`: bytes that nobody would send, for every decoder of what comes from outside.

    __main__.py       builds, runs the targets side by side, and prints how often each was called
    targets.py        the decoders, and what is asked of each
    run.py            one target: Atheris makes the bytes, and asks the pure form
    compiled_form.py  the compiled form in a process of its own, with the address sanitizer
    build.py          makes that form, in a directory of its own

Rules
* Atheris (libFuzzer for Python) sees which lines of the pure form an input reaches, and looks for inputs
  that reach more.
* The compiled form gets each input too.  It has to give the same answer; the address sanitizer ends the process at the
  first byte that is read or written where none is.
* A finding is any exception but a WsgidError, a difference between the forms, a sanitizer's report, or an input that
  takes longer than TIMEOUT_S.  Its bytes go into tests/corpus/TARGET/, where `make test` replays them.
"""
