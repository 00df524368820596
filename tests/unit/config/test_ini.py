"""uWSGI's ini, as uWSGI 2.0 reads it. Expectations without a remark were compared with `uwsgi --show-config`."""

import os
import re
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsgid.config import ini, merge
from wsgid.errors import ConfigError

Read = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """read(TEXT, other files...): the keys and values of main.ini, whose section [uwsgi] has this text."""
    monkeypatch.chdir(tmp_path)

    def read_text(
        text: str,
        section: str = "[uwsgi]\n",
        environ: dict[str, str] | None = None,
        restarted: bool = False,
        **others: str,
    ) -> list[tuple[str, str]]:
        for name, content in others.items():
            Path(f"{name}.ini").write_text(content)
        Path("main.ini").write_text(section + text)
        result = ini.read(["main.ini"], environ or {}, (), restarted)
        if result.complaints:
            raise ConfigError("\n".join(result.complaints))
        return [(entry.key, entry.value) for entry in result.entries]

    return read_text


# --- lines ---


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("key = value", ("key", "value")),
        ("\t key=  value \t\r", ("key", "value")),
        ("key", ("key", "")),
        ("key = a = b", ("key", "a = b")),
        ('key = "quoted"', ("key", '"quoted"')),
        ("key =", ("key", "")),
        ("key = value ; no comment", ("key", "value ; no comment")),
        ("key = a \\", ("key", "a \\")),
    ],
)
def test_a_line_is_a_key_and_a_value(read: Read, line: str, entry: tuple[str, str]) -> None:
    assert read(line) == [entry]


def test_comments_and_other_sections_do_not_count(read: Read) -> None:
    assert read("; one\n  # two\n\nb = 2\n[other]\nc = 3\n[uwsgi]\nd = 4", "a = 1\n[uwsgi] ; the one\n") == [
        ("b", "2"),
        ("d", "4"),
    ]


def test_a_byte_order_mark_and_a_missing_last_line_break_are_fine(tmp_path: Path) -> None:
    (tmp_path / "main.ini").write_bytes(b"\xef\xbb\xbf[uwsgi]\r\na = 1\r\nb = 2")
    assert [entry.value for entry in ini.read([str(tmp_path / "main.ini")], {}).entries] == ["1", "2"]


def test_places_are_kept_through_includes(read: Read) -> None:
    read("", other="[uwsgi]\n\nb = 2\n")
    Path("main.ini").write_text("[uwsgi]\na = 1\ninclude = other.ini\nc = 3\n")
    assert [(entry.key, entry.place) for entry in ini.read(["main.ini"], {}).entries] == [
        ("a", "main.ini:2"),
        ("b", "other.ini:3"),
        ("c", "main.ini:4"),
    ]


# --- placeholders ---


def test_keys_stand_for_their_first_value_wherever_they_are_set(read: Read) -> None:
    text = "early = %(late)\nlate = 1\nlate = 2\nchain = %(early)%(late)\nkept = %(pid) %(other)"
    assert dict(read(text)) == {"early": "1", "late": "2", "chain": "11", "kept": "%(pid) %(other)"}


def test_an_option_can_be_extended_by_itself(read: Read) -> None:
    assert read("path = /a\npath = %(path)/b") == [("path", "/a"), ("path", "/a/b")]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("late 3 + 4", "17"),
        ("late ++", "2"),
        ("late --", "0"),
        ("8 3 /", "83"),
        ("8 - 3", "5"),
        ("8 * late", "8"),
        ("8 / 3", "2"),
        ("8 / 0", "0"),
        ("nosuch 3", "3"),
        ("word + 1", "1"),
    ],
)
def test_arithmetic(read: Read, expression: str, value: str) -> None:
    assert read(f"late = 1\nword = x\nv = %({expression})")[-1] == ("v", value)


def test_the_magic_variables(read: Read, tmp_path: Path) -> None:
    parts = [part for part in str(tmp_path).split("/") if part]
    values = dict(read("\n".join(f"x{letter} = %{letter}" for letter in "opsnedcx0179vhkuUgGtTVO%"), environ={}))
    assert values.pop("x9") == (parts[9] if len(parts) > 9 else "")
    assert int(values.pop("xT")) // 1_000_000 - int(values["xt"]) in (0, 1)
    assert abs(int(values.pop("xt")) - time.time()) < 60
    assert values.pop("xV") and values.pop("xU") and values.pop("xG")
    assert values == {
        "xo": "main.ini",
        "xp": f"{tmp_path}/main.ini",
        "xs": "main.ini",
        "xn": "main",
        "xe": "ini",
        "xO": "main.ini",
        "xd": f"{tmp_path}/",
        "xc": tmp_path.name,
        "xx": "",
        "x0": parts[0],
        "x1": parts[1],
        "x7": parts[7] if len(parts) > 7 else "",
        "xv": str(tmp_path),
        "xh": socket.gethostname(),
        "xk": str(len(os.sched_getaffinity(0))),
        "xu": str(os.getuid()),
        "xg": str(os.getgid()),
        "x": "%",  # the key is x% there, and "% " vanishes
    }


def test_the_hash_of_a_path_is_uwsgis(tmp_path: Path) -> None:
    from wsgid.config import expand

    assert expand.magic_of_file("/tmp/or/main.ini", "")["j"] == "353096AA"


def test_an_included_file_has_magic_variables_of_its_own_and_of_the_first_file_in_upper_case(
    read: Read, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "inc.ini").write_text("[uwsgi]\nv = %n %N %d %D\n")
    assert read("ini = sub/inc.ini") == [("v", f"inc main {tmp_path}/sub/ {tmp_path}/")]


def test_a_percent_sign_has_to_be_doubled_and_an_unknown_variable_is_dropped_with_a_warning(tmp_path: Path) -> None:
    """As in uWSGI 2.0.31: what a site has worked with so far is what it gets, also in a password."""
    (tmp_path / "main.ini").write_text("[uwsgi]\na = %%Y\n; %Z\nb = p%!ss%Y % word 50%")
    result = ini.read([str(tmp_path / "main.ini")], {})
    assert [entry.value for entry in result.entries] == ["%Y", "pss word 50%"]
    (warning,) = result.warnings
    assert warning.startswith(f"{tmp_path}/main.ini:4: %! stands for nothing and is dropped, as in uWSGI: write %%! ")


def test_the_environment(read: Read) -> None:
    text = "v = $(A)-$(NONE)\nenv = B=1\nw = $(B)\nx = $(NONE:-y) $(EMPTY:-y) $(EMPTY-y)"
    assert read(text, environ={"A": "a", "EMPTY": ""}) == [
        ("v", "a-$(NONE)"),
        ("env", "B=1"),
        ("w", "1"),
        ("x", "y y "),
    ]


def test_the_content_of_a_file(read: Read, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("two words\n")
    assert read("where = secret\nv = @(secret)")[-1] == ("v", "two words")


# --- files ---


def test_includes_are_read_in_place_and_inherited_files_at_the_end(read: Read) -> None:
    assert read(
        "inherit = last.ini\nworkers = 1\ninclude = mid.ini\nworkers = 3",
        mid="[uwsgi]\nworkers = 2",
        last="[uwsgi]\nworkers = 4\nv = %(workers)",
    ) == [("workers", "1"), ("workers", "2"), ("workers", "3"), ("workers", "4"), ("v", "1")]


def test_another_section(read: Read) -> None:
    assert read("a = 1\nini = :more\nini = other.ini:x\n[more]\nb = %x", other="[x]\nc = %x") == [
        ("a", "1"),
        ("b", "more"),
        ("c", "x"),
    ]


def test_includes_are_relative_to_the_working_directory(read: Read, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "inc.ini").write_text("[uwsgi]\nini = base.ini\n")
    assert read("ini = sub/inc.ini", base="[uwsgi]\na = 1") == [("a", "1")]


# --- loops and conditions ---


def test_a_loop_repeats_each_line_by_itself(read: Read) -> None:
    assert read("for = a b\nx = %(_)\ny = 1%(_)\nendfor =\nz = 2") == [
        ("x", "a"),
        ("x", "b"),
        ("y", "1a"),
        ("y", "1b"),
        ("z", "2"),
    ]


def test_the_other_loops(read: Read, tmp_path: Path) -> None:
    (tmp_path / "names").write_text("one\ntwo\n")
    assert read(
        "n = 2\nfor-times = %(n)\nt = %(_)\nendfor\nfor-glob = *.ini\ng = %(_)\nend-for\nfor-glob = no*\n"
        "h = %(_)\nendfor\nfor-readline = names\nr = %(_)\nendfor"
    )[1:] == [("t", "1"), ("t", "2"), ("g", "main.ini"), ("h", "no*"), ("r", "one"), ("r", "two")]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("if-env = A", "a"),
        ("if-env = A=a", "a"),
        ("if-env = A=b", None),
        ("if-env = NONE", None),
        ("ifenv = A", "a"),
        ("if-not-env = NONE", ""),
        ("if-not-env = A", None),
        ("if-not-env = A=b", ""),
        ("if-exists = main.ini", "main.ini"),
        ("if-exists = none", None),
        ("if-not-exists = none", ""),
        ("if-file = .", None),
        ("if-file = main.ini", "main.ini"),
        ("if-not-file = .", ""),
        ("if-dir = .", "."),
        ("if-directory = main.ini", None),
        ("if-not-dir = main.ini", ""),
        ("if-opt = before", "1"),
        ("if-opt = before=2", None),
        ("if-not-opt = after", ""),
        ("if-reload =", None),
        ("if-not-reload", ""),
        ("if-hostname = no-such-host", None),
        ("if-not-hostname = no-such-host", ""),
    ],
)
def test_conditions(read: Read, condition: str, holds: str | None) -> None:
    found = dict(read(f"before = 1\n{condition}\nv = <%(_)>\nendif =\nlast = 1", environ={"A": "a"}))
    assert found.get("v") == (None if holds is None else f"<{holds}>") and found["last"] == "1"


def test_a_condition_is_answered_once(read: Read) -> None:  # uWSGI asks again at each line, and would skip b
    assert read("if-not-opt = a\na = 1\nb = 2\nendif") == [("a", "1"), ("b", "2")]


def test_if_reload_holds_after_an_upgrade(read: Read) -> None:
    assert read("if-reload\nv = 1\nelse\nv = 2\nendif", restarted=True) == [("v", "1")]
    assert read("if-reload\nv = 1\nelse\nv = 2\nendif") == [("v", "2")]


def test_prints_are_kept(tmp_path: Path) -> None:
    (tmp_path / "main.ini").write_text("[uwsgi]\na = 1\nprint = a is %(a)\n")
    assert ini.read([str(tmp_path / "main.ini")], {}).prints == [f"{tmp_path}/main.ini:3: a is 1"]


# --- errors ---


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = %(a)", "main.ini:2: a: %(a) refers to itself: a -> a"),
        ("a = %(b)\nb = %(a)", "refers to itself: b -> a -> b"),
        ("ini = main.ini", "main.ini:2: ini = 'main.ini' includes itself: main.ini -> main.ini"),
        ("ini = none.ini", "main.ini:2: none.ini cannot be read: No such file or directory"),
        ("ini =", "main.ini:2: ini = '' names no file"),
        ("ini = x.yaml", "x.yaml is no ini: write the options into an ini"),
        ("a = @(none)", "main.ini:2: a: none cannot be read: No such file"),
        ("a = @(http://host/x)", "http://host/x is no file of this machine"),
        ("if-env = A\nif-env = B", "main.ini:3: if-env within if-env (line 2): close that one first, with endif"),
        ("for-times = x", "main.ini:2: for-times = 'x': expected how many times"),
        ("for-times = 9999\na = 1\nb = 2", "more than 10000 options: a loop is too long"),
        ("set-ph = x", "main.ini:2: set-ph = 'x' sets nothing: expected KEY=VALUE"),
        ("else", "else without an if"),
        ("ini = main.ini:none", "main.ini has no section [none]"),
        (
            "\n".join(["a0 = " + "x" * 1000, *(f"a{n} = {f'%(a{n - 1})' * 9}" for n in range(1, 9))]),
            "the expanded value is longer than 1 MiB",
        ),
    ],
)
def test_a_mistake_names_file_and_line(read: Read, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        read(text)
    assert says in str(refusal.value)


def test_a_missing_section_is_an_error(read: Read) -> None:  # uWSGI warns
    says = "main.ini has no section [uwsgi]; it has [usgi], [more]: write --ini main.ini:usgi for another section"
    with pytest.raises(ConfigError, match=re.escape(says)):
        read("a = 1\n[more]\n", "[usgi]\n")
    with pytest.raises(ConfigError, match=re.escape("main.ini has no section [uwsgi], and no other section: begin it")):
        read("a = 1", "")
    assert read("", "") == []


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"[uwsgi]\na = \xff\n", "is not UTF-8 at byte 12"),
        (b"a\0b", "NUL bytes"),
        (b"x" * 2_000_000, "longer than 1 MiB"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "main.ini").write_bytes(data)
    with pytest.raises(ConfigError, match=says):
        ini.read([str(tmp_path / "main.ini")], {})


WORDS = st.sampled_from(
    [
        "a",
        "b",
        "socket",
        "workers",
        "for",
        "for-times",
        "endfor",
        "if-env",
        "if-opt",
        "else",
        "endif",
        "set",
        "env",
        "ini",
        ":x",
        "[x]",
        "[uwsgi]",
        "%(a)",
        "%(b 1 +)",
        "%d",
        "%%",
        "$(A)",
        "@(a)",
        "=",
        "\n",
        " ",
        ";",
        "#",
        "true",
        "9",
        "print",
        "harakiri",
    ]
)


@given(st.one_of(st.lists(WORDS, max_size=40).map("".join), st.text(max_size=200)))
@example("a=%(b)\nb=%(c)\nc=%(a)")
def test_any_file_gives_settings_or_one_sentence(text: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "main.ini")
        path.write_text("[uwsgi]\n" + text, encoding="utf-8", errors="surrogatepass")
        try:
            merge.read(["--ini", str(path), "app:app"], {"A": "a"})
        except ConfigError as error:
            assert str(error)
