"""Formats of the access log: the value of each variable. A request is one line, whatever the client sends."""

import json
import re
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import DOCS
from wsgid.log import request_format
from wsgid.log.request_format import Moment, compiled
from wsgid.log.request_record import RequestRecord
from wsgid.wsgi.response import Outcome, Served

LOGGING = DOCS / "logging.md"

ENVIRON = {
    "REQUEST_METHOD": "GET",
    "REQUEST_URI": "/a?b=1",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "192.0.2.7",
    "REMOTE_USER": "ada",
    "HTTP_HOST": "example.org",
    "HTTP_USER_AGENT": "curl/8.5",
    "HTTP_REFERER": "http://x/",
    "SERVER_NAME": "server",
    "HTTP_X_FORWARDED_FOR": "198.51.100.9, 192.0.2.7",
}
STARTED_S = 1795312795.25  # 2026-11-22 01:59:55.25 UTC
MEMORY = SimpleNamespace(vsz_bytes=300 << 20, rss_bytes=50 << 20)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def line(
    text: str, environ: dict[str, Any] | None = None, served: Served | None = None, date: str = "", **options: bool
) -> str:
    """The line of a request that took 1.25 ms, the 17th of worker 1, pid 28."""
    served = served or Served(Outcome.COMPLETE, 200, 12, 79, 2, False)
    environ = ENVIRON if environ is None else environ
    record = RequestRecord(environ, served, STARTED_S, 0.00125, 7, 411, b"\x1e\x9b\x01\x05", 16)
    record.moment, record.memory, record.request = Moment(int(STARTED_S), date), MEMORY, 17
    return compiled(text, 28, 1, **options)(record)


# --- the presets ---


def test_the_uwsgi_preset_is_uwsgis_own_line() -> None:
    # As uWSGI 2.0 writes the line: "[pid: P|app: N|req: appreq/totalreq] ADDR (USER) {V vars in B bytes} [ctime] METHOD
    # URI => generated R bytes in M msecs (PROTO STATUS) H headers in HB bytes (S switches on core C)"; blanks stay
    # blank.
    assert line("uwsgi", {**ENVIRON, "REMOTE_USER": ""}) == (
        "[pid: 28|app: 0|req: 17/17] 192.0.2.7 () {32 vars in 411 bytes} [Sun Nov 22 01:59:55 2026] GET /a?b=1 => "
        "generated 12 bytes in 1 msecs (HTTP/1.1 200) 2 headers in 79 bytes (0 switches on core 0)"
    )


def test_a_memory_report_goes_before_the_uwsgi_preset_and_no_other() -> None:
    report = "{address space usage: 314572800 bytes/300MB} {rss usage: 52428800 bytes/50MB} [pid: 28|"
    assert line("uwsgi", memory_report=True).startswith(report)
    assert line("json", memory_report=True) == line("json")
    assert line("uwsgi", {**ENVIRON, "REQUEST_URI": '"'}, memory_report=True).count(r"GET \x22 =>") == 1


def test_the_combined_preset_is_what_log_analysers_expect() -> None:
    text = '192.0.2.7 - ada [22/Nov/2026:01:59:55 +0000] "GET /a?b=1 HTTP/1.1" 200 12 "http://x/" "curl/8.5"'
    assert line("combined") == text
    assert line("combined", {}) == '- - - [22/Nov/2026:01:59:55 +0000] "- - -" 200 12 "-" "-"'


def test_the_json_preset_has_numbers_as_numbers_and_text_as_text() -> None:
    assert json.loads(line("json", {**ENVIRON, "REQUEST_URI": '/caf\u00c3\u00a9\x7f"\n\xff'[:-1]})) == {
        "time": "2026-11-22T01:59:55+00:00",
        "addr": "192.0.2.7",
        "user": "ada",
        "method": "GET",
        "uri": '/caf\u00e9\x7f"\n',
        "proto": "HTTP/1.1",
        "host": "example.org",
        "status": 200,
        "rsize": 12,
        "hsize": 79,
        "cl": 7,
        "micros": 1250,
        "referer": "http://x/",
        "uagent": "curl/8.5",
        "pid": 28,
        "wid": 1,
    }
    # bytes that are no UTF-8 are kept one by one
    assert json.loads(line("json", {"REQUEST_URI": "/\xff"}))["uri"] == "/\xff"


# --- the variables ---

VALUES = {
    "uri": "/a?b=1",
    "method": "GET",
    "user": "ada",
    "addr": "192.0.2.7",
    "host": "example.org",
    "proto": "HTTP/1.1",
    "uagent": "curl/8.5",
    "referer": "http://x/",
    "status": "200",
    "rsize": "12",
    "hsize": "79",
    "size": "91",
    "cl": "7",
    "micros": "1250",
    "msecs": "1",
    "secs": "0.001250",
    "tmsecs": "1795312795250",
    "tmicros": "1795312795250000",
    "time": "1795312795",
    "ltime": "22/Nov/2026:01:59:55 +0000",
    "ftime": "22/Nov/2026:01:59:55 +0000",
    "ctime": "Sun Nov 22 01:59:55 2026",
    "epoch": "1795312795",
    "pid": "28",
    "wid": "1",
    "switches": "0",
    "vars": "32",
    "core": "0",
    "vsz": "314572800",
    "rss": "52428800",
    "vszM": "300",
    "rssM": "50",
    "pktsize": "411",
    "modifier1": "30",
    "modifier2": "5",
    "headers": "2",
    "werr": "0",
    "rerr": "0",
    "ioerr": "0",
    "var.HTTP_HOST": "example.org",
    "rfc3339": "2026-11-22T01:59:55+00:00",
    "request": "17",
}


@pytest.mark.parametrize("name", VALUES)
def test_each_variable_has_its_value(name: str) -> None:
    assert line(f"%({name})") == VALUES[name]
    assert line(f"<%({name})|\u20ac>") == f"<{VALUES[name]}|\u20ac>"  # formats beyond ASCII are rendered in another way


def test_the_list_of_variables_is_complete() -> None:
    assert {*request_format.TEXTS, *request_format.NUMBERS, "pid", "wid", "switches", "core"} == VALUES.keys() - {
        "var.HTTP_HOST"
    }


def test_a_missing_value_is_a_dash() -> None:
    assert line("%(nobody) %(metric.x) %(var.NONE) %(user) %(uri)", {"REMOTE_USER": ""}) == "- - - - -"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("100%% %(uri", "100% %(uri"),
        ("%d %s %(", "%d %s %("),
        ("{%(pid)}%(wid)", "{28}1"),
        ("'%(pid)'\\", "'28'\\"),
        ('%(var.it"s)', "-"),
        ("%(var.a\\)", "-"),
        ("%%(uri)", "%(uri)"),
        ("\t%(pid)", "\t28"),
    ],
)
def test_other_text_of_a_format_stays_unchanged(text: str, expected: str) -> None:
    assert line(text, {}) == expected


def test_the_host_is_the_servers_name_where_the_client_sends_none() -> None:
    assert line("%(host)", {"SERVER_NAME": "server"}) == "server"


def test_the_client_may_come_from_x_forwarded_for() -> None:
    assert line("%(addr)", forwarded=True) == "198.51.100.9"
    assert line("%(addr)", {"REMOTE_ADDR": "192.0.2.7"}, forwarded=True) == "192.0.2.7"
    assert line("%(addr)", {"HTTP_X_FORWARDED_FOR": b"x", "REMOTE_ADDR": "192.0.2.7"}, forwarded=True) == "192.0.2.7"


def test_a_format_can_have_a_date_format_of_its_own() -> None:
    assert line("%(ftime)", date="%Y-%m-%d %H:%M") == "2026-11-22 01:59"
    assert line("%(ftime)", date="%Y%n%d") == r"2026\x0A22"


@pytest.mark.parametrize("status, rerr, werr", [(0, "1", "0"), (200, "0", "1")])
def test_a_client_that_left_is_an_error_of_reading_or_of_writing(status: int, rerr: str, werr: str) -> None:
    served = Served(Outcome.DISCONNECTED, status, 0, 0, 0, False)
    assert line("%(rerr) %(werr) %(ioerr)", served=served) == f"{rerr} {werr} 1"


@pytest.mark.parametrize(
    "outcome, head_bytes, seen",
    [
        (Outcome.DISCONNECTED, 0, "499"),
        (Outcome.DISCONNECTED, 70, "200"),  # the client has left during the response
        (Outcome.COMPLETE, 0, "200"),
        (Outcome.TORN, 0, "200"),
    ],
)
def test_a_client_that_left_before_the_response_has_seen_no_status(
    outcome: Outcome, head_bytes: int, seen: str
) -> None:
    assert line("%(status)", served=Served(outcome, 200, 0, head_bytes, 0, False)) == seen


# --- any request ---

FORMATS = [
    *request_format.PRESETS,
    '%(uri) "%(var.X)" \\ %(uagent)',
    "%(uri)\u20ac%(addr)",
    '{"x": "%(uri)", "y": "%(var.X)", "z": "%(addr)"}',
]


class Rude:
    def __str__(self) -> str:
        raise ValueError("no text of me")


ANYTHING = st.one_of(
    st.text(st.characters(max_codepoint=255)),
    st.text(),
    st.binary(),
    st.integers(),
    st.none(),
    st.builds(Rude),
    st.sampled_from(['"', "\\", "\n", "\x7f", "%s", "\\x22", "\u2028", "\ud800"]),
)
NAMES = st.sampled_from([*ENVIRON, "X"])


@pytest.mark.parametrize("forwarded", [False, True])
@pytest.mark.parametrize("text", FORMATS)
@given(environ=st.dictionaries(NAMES, ANYTHING))
def test_any_request_gives_one_line(text: str, forwarded: bool, environ: dict[str, Any]) -> None:
    made = line(text, environ, forwarded=forwarded)
    assert made.replace("\u20ac", "").isascii() and made.isprintable()
    quiet = line(text, {}, forwarded=forwarded)
    if text.startswith("{") or text == "json":
        json.loads(made)
    else:
        assert made.count('"') == quiet.count('"')  # a quote from the client ends no field


@given(st.text(st.characters(max_codepoint=255)))
def test_what_is_escaped_can_be_read_back(value: str) -> None:
    escaped = line("%(uri)", {"REQUEST_URI": f"x{value}"})
    assert re.sub(r"\\x([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), escaped) == f"x{value}"


def test_a_date_does_not_depend_on_the_locale_of_the_application() -> None:
    moment = Moment(1767225600)
    assert moment.ctime == "Thu Jan  1 00:00:00 2026" and moment.ltime == "01/Jan/2026:00:00:00 +0000"


# --- the documentation ---


@pytest.mark.parametrize("preset", request_format.PRESETS)
def test_the_examples_of_the_documentation_are_what_is_written(preset: str) -> None:
    assert line(preset) in LOGGING.read_text().splitlines()


def test_the_documentation_has_all_variables() -> None:
    documented = set(re.findall(r"`%\((\w+)\)`", LOGGING.read_text()))
    assert documented == {*request_format.TEXTS, *request_format.NUMBERS, "pid", "wid", "switches", "core"}
