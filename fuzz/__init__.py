"""`make fuzz`: malformed and random bytes for every decoder of what comes from outside.

    __main__.py       builds, runs the targets side by side, and prints how often each was called
    targets.py        the decoders, and what is asked of each
    run.py            one target: Atheris makes the bytes, and asks the pure form
    compiled_form.py  the compiled form in a process of its own, with the address sanitizer
    build.py          compiles that form, in a directory of its own

Rules
* Atheris (libFuzzer for Python) sees which lines of the pure form an input reaches, and looks for inputs that reach
  more lines.
* The compiled form gets each input, too, and has to give the same answer. The address sanitizer ends the process at the
  first read or write outside of allocated memory.
* A finding is any exception except a WsgidError, a difference between the forms, a report of the sanitizer, or an input
  that takes longer than TIMEOUT_S. The bytes of a finding go into tests/corpus/TARGET/, and `make test` tries them
  again.
"""
