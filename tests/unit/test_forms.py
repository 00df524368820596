"""The two sources of each hot module agree: a .pxd with the .py whose types it declares, and a .pyx with its .py.

If a name is missing in one source, one form raises AttributeError, or a type is declared for a name that no longer
exists.
"""

import re
from pathlib import Path

import pytest

from tests.support import ROOT, forms
from wsgid import compiled

HOT = {name: ROOT.joinpath(*name.split(".")) for name in compiled.hot()}
WRITTEN_TWICE = {name: path for name, path in HOT.items() if path.with_suffix(".pyx").exists()}
TYPED = {name: path for name, path in HOT.items() if path.with_suffix(".pxd").exists() and name not in WRITTEN_TWICE}

# The tests that show that both forms of a module behave alike: a test that asks both, or tests that run on both.
BESIDE_EACH_OTHER = "tests/unit/test_compiled.py"
ALIKE = {
    "wsgid.limits.keys": "tests/unit/limits/test_decisions.py",
    "wsgid.limits.locks": "tests/unit/limits/test_processes.py",
    "wsgid.limits.permit": "tests/unit/limits/test_decisions.py",
    "wsgid.limits.table": "tests/unit/limits/test_decisions.py",
    "wsgid.log.request_record": f"{BESIDE_EACH_OTHER}::test_access_logs_are_written_alike",
    "wsgid.protocol.chunked": f"{BESIDE_EACH_OTHER}::test_chunks_are_decoded_alike",
    "wsgid.protocol.fields": f"{BESIDE_EACH_OTHER}::test_values_are_read_alike",
    "wsgid.protocol.http": f"{BESIDE_EACH_OTHER}::test_http_is_decoded_alike",
    "wsgid.protocol.plain_lines": f"{BESIDE_EACH_OTHER}::test_http_is_decoded_alike",
    "wsgid.protocol.target": f"{BESIDE_EACH_OTHER}::test_targets_are_read_alike",
    "wsgid.protocol.uwsgi": f"{BESIDE_EACH_OTHER}::test_packets_are_decoded_alike",
    "wsgid.protocol.variables": f"{BESIDE_EACH_OTHER}::test_packets_are_decoded_alike",
    "wsgid.serving.acceptor": "tests/site/requests/test_accept.py",
    "wsgid.serving.access_log": f"{BESIDE_EACH_OTHER}::test_access_logs_are_written_alike",
    "wsgid.serving.completion": "tests/site/requests/test_wire.py",
    "wsgid.serving.connection": f"{BESIDE_EACH_OTHER}::test_connections_behave_alike",
    "wsgid.serving.dispatcher": "tests/site/requests/test_wire.py",
    "wsgid.serving.greenlets": "tests/site/requests/test_greenlets.py",
    "wsgid.serving.http_connection": f"{BESIDE_EACH_OTHER}::test_http_connections_behave_alike",
    "wsgid.serving.http_requests": "tests/site/requests/test_http_connection.py",
    "wsgid.serving.keepalive": f"{BESIDE_EACH_OTHER}::test_idle_connections_are_kept_alike",
    "wsgid.serving.syscalls": f"{BESIDE_EACH_OTHER}::test_system_calls_are_made_alike",
    "wsgid.serving.tally": "tests/site/watching/test_stats.py",
    "wsgid.serving.turns": f"{BESIDE_EACH_OTHER}::test_turns_are_taken_alike",
    "wsgid.serving.uwsgi_requests": "tests/site/requests/test_wire.py",
    "wsgid.wsgi.environ": f"{BESIDE_EACH_OTHER}::test_environs_are_made_alike",
    "wsgid.wsgi.head": f"{BESIDE_EACH_OTHER}::test_heads_are_made_alike",
    "wsgid.wsgi.input": f"{BESIDE_EACH_OTHER}::test_bodies_are_read_alike",
    "wsgid.wsgi.response": f"{BESIDE_EACH_OTHER}::test_responses_are_sent_alike",
}


@pytest.mark.parametrize("name", HOT)
def test_each_hot_module_has_two_sources(name: str) -> None:
    assert HOT[name].with_suffix(".py").exists() and (name in TYPED) is not (name in WRITTEN_TWICE)


@pytest.mark.parametrize("name", TYPED)
def test_each_attribute_is_declared_and_each_declared_attribute_is_assigned(name: str) -> None:
    declared, written = _sources(TYPED[name])
    for class_name, found in declared.classes.items():
        assert class_name in written.classes, f"{class_name} is declared, and nowhere else"
        assert found.attributes == written.classes[class_name].attributes, class_name


@pytest.mark.parametrize("name", TYPED)
def test_each_declared_function_is_there_with_these_arguments(name: str) -> None:
    declared, written = _sources(TYPED[name])
    for class_name, found in declared.classes.items():
        methods = written.classes[class_name].methods
        assert found.methods == {method: methods.get(method) for method in found.methods}, class_name
    assert declared.functions == {function: written.functions.get(function) for function in declared.functions}
    assert declared.names <= written.names


@pytest.mark.parametrize("name", TYPED)
def test_each_local_that_has_a_type_is_used(name: str) -> None:
    declared, written = _sources(TYPED[name])
    unused = {where: names - written.locals[where] for where, names in declared.locals.items()}
    assert not any(unused.values()), unused


@pytest.mark.parametrize("name", WRITTEN_TWICE)
def test_what_is_written_twice_has_the_same_names_and_arguments(name: str) -> None:
    compiled_source = forms.defined(WRITTEN_TWICE[name].with_suffix(".pyx")).public()
    python_source = forms.written(WRITTEN_TWICE[name].with_suffix(".py")).public()
    assert compiled_source.classes.keys() == python_source.classes.keys()
    for class_name, found in compiled_source.classes.items():
        same = python_source.classes[class_name]
        assert (found.attributes, found.methods) == (same.attributes, same.methods)
    assert compiled_source.functions == python_source.functions
    assert compiled_source.names == python_source.names


def test_each_hot_module_has_a_test_that_its_forms_behave_alike() -> None:
    assert sorted(ALIKE) == compiled.hot()
    for where in set(ALIKE.values()):
        path, _, function = where.partition("::")
        text = (ROOT / path).read_text()
        assert f"\ndef {function}(" in text if function else re.search(r"(?m)^pytestmark = .*\bmark\.hot\b", text), (
            where
        )


def test_the_sources_are_read_as_they_are(tmp_path: Path) -> None:
    """If the readers overlooked an error in a file, the tests above would find nothing."""
    (tmp_path / "x.pxd").write_text("""
# A comment.
cimport cython
from a cimport b

cdef double _ends_s
cdef Py_ssize_t _ONE, _TWO

cdef class Thing:
    cdef readonly object first
    cdef unsigned long long[::1] line  # said
    cdef Py_ssize_t size, left

    cpdef bytes take(self, size_bytes=*)
    @cython.locals(at=Py_ssize_t, line="unsigned long long[::1]",
                   head=bytes)
    cdef Py_ssize_t _read(self, bytes data,
                          Py_ssize_t at) except -1

@cython.locals(known=dict)
cpdef Thing make(str text, dict base=*)
""")
    found = forms.declared(tmp_path / "x.pxd")
    thing = found.classes["Thing"]
    assert found.names == {"_ends_s", "_ONE", "_TWO"} and thing.attributes == {"first", "line", "size", "left"}
    assert thing.methods == {"take": ("size_bytes=",), "_read": ("data", "at")}
    assert found.functions == {"make": ("text", "base=")}
    assert found.locals == {"Thing._read": {"at", "line", "head"}, "make": {"known"}}


def _sources(path: Path) -> tuple[forms.Source, forms.Source]:
    return forms.declared(path.with_suffix(".pxd")), forms.written(path.with_suffix(".py"))
