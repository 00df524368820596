"""The files that wsgidctl makes of a profile's stacks. With any names in the stacks, the files are valid and
complete."""

import json
import re
from collections import defaultdict
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgid.ctl import flamegraph, profile_data
from wsgid.ctl.flamegraph import Flame
from wsgid.ctl.profile_data import Frame, StackCounts

SVG = "{http://www.w3.org/2000/svg}"
TEXT = st.text(st.characters(), max_size=12)  # surrogates and control characters, too
FRAMES = st.sampled_from([Frame("f", "/app.py", 1), Frame("g", "/app.py", 9)]) | st.builds(
    Frame, TEXT, TEXT, st.integers(0, 9999)
)
STACKS = st.builds(
    StackCounts,
    st.dictionaries(st.lists(FRAMES, min_size=1, max_size=5).map(tuple), st.integers(1, 10**9), max_size=12),
    st.integers(0, 99),
)


def stacks(**weights_us: int) -> StackCounts:
    """Stacks whose functions have names of one letter: stacks(GET_abc=5)."""
    return StackCounts(
        {
            (Frame(root), *(Frame(letter, "/app.py", 1) for letter in letters)): weight_us
            for name, weight_us in weights_us.items()
            for root, _, letters in [name.partition("_")]
        },
        1,
    )


# --- the flame graph ---


@given(STACKS, TEXT)
def test_any_stacks_make_valid_xml_whose_widths_add_up(found: StackCounts, title: str) -> None:
    root = ElementTree.fromstring(flamegraph.svg(found, title, min_width=0))
    boxes = root.findall(f".//{SVG}g[@class='box']")
    assert len(boxes) == 1 + len({stack[:depth] for stack in found.weights_us for depth in range(1, len(stack) + 1)})
    rows: dict[float, list[tuple[float, float]]] = defaultdict(list)
    for box in boxes:
        rect = box.find(f"{SVG}rect")
        assert rect is not None and box.find(f"{SVG}title") is not None
        rows[float(rect.attrib["y"])].append((float(rect.attrib["x"]), float(rect.attrib["width"])))
    whole = flamegraph.WIDTH - 2 * flamegraph.SIDE
    for row, depth in zip(sorted(rows), range(6)):
        reaching = sum(us for stack, us in found.weights_us.items() if len(stack) >= depth)
        assert sum(width for _, width in rows[row]) == pytest.approx(
            whole * reaching / found.total_us if found.total_us else whole, abs=0.01 * len(rows[row])
        )
        ends = flamegraph.SIDE
        for x, width in sorted(rows[row]):
            assert x >= ends - 0.01  # no two rectangles overlap
            ends = x + width
        assert ends <= flamegraph.WIDTH - flamegraph.SIDE + 0.01


def test_a_function_is_drawn_below_its_caller() -> None:
    top = flamegraph.tree(stacks(GET_ab=6, GET_ac=2, POST_a=2))
    boxes = {(box.depth, box.node.frame.name): box for box in flamegraph.layout(top)}
    assert boxes[1, "GET"].width == pytest.approx(0.8 * boxes[0, "all"].width)
    assert boxes[3, "b"].x == boxes[1, "GET"].x and boxes[3, "b"].width == pytest.approx(0.6 * boxes[0, "all"].width)
    assert boxes[3, "c"].x == pytest.approx(boxes[3, "b"].x + boxes[3, "b"].width)


def test_names_of_the_application_become_no_markup_and_no_script() -> None:
    name = "</script><script>alert(1)]]>&\"'\x00"
    text = flamegraph.svg(StackCounts({(Frame(name), Frame(name, name, 1)): 5}, 1), name)
    root = ElementTree.fromstring(text)
    assert len(root.findall(f"{SVG}script")) == 1 == text.count("<script")
    shown = root.findall(f".//{SVG}title")[-1].text
    assert shown and shown.startswith("</script><script>alert(1)]]>&\"'\ufffd (")


def test_the_flame_graph_needs_no_other_file_and_no_script() -> None:
    text = flamegraph.svg(stacks(GET_a=5), "a title")
    assert re.findall(r"https?://[^\"']*", text) == ["http://www.w3.org/2000/svg"] and "href" not in text
    root = ElementTree.fromstring(text)
    assert [element.text for element in root.findall(f".//{SVG}g[@class='box']/{SVG}text")] == ["all", "GET", "a"]
    assert root.findall(f".//{SVG}title")[-1].text == "a (/app.py:1)\n0.000 s of CPU, 100.00%"
    assert root.findall(f"{SVG}text")[0].text == "a title"


def test_a_function_that_is_too_narrow_is_left_out() -> None:
    text = flamegraph.svg(stacks(GET_a=1_000_000, GET_b=1), "")
    assert "a (/app.py:1)" in text and "b (/app.py:1)" not in text


@pytest.mark.parametrize("width, shown", [(500, "a_function"), (80, "a_funct.."), (40, "a_.."), (30, ""), (0, "")])
def test_names_are_cut_to_their_boxes(width: float, shown: str) -> None:
    assert flamegraph.cut("a_function", width) == shown


@pytest.mark.parametrize(
    "path, kind",
    [
        ("/srv/site/app.py", Flame.APPLICATION),
        ("<template>", Flame.APPLICATION),
        ("/srv/venv/lib/python3.11/site-packages/flask/app.py", Flame.PACKAGE),
        ("/usr/lib/python3/dist-packages/django/urls.py", Flame.PACKAGE),
        ("/usr/lib/python3.11/json/decoder.py", Flame.STANDARD),
        ("<frozen importlib._bootstrap>", Flame.STANDARD),
        ("/srv/venv/lib/python3.11/site-packages/gevent/hub.py", Flame.SERVER),
        ("/srv/venv/lib/python3.11/site-packages/wsgid/worker.py", Flame.SERVER),
        ("", Flame.SERVER),
    ],
)
def test_the_colour_shows_the_owner_of_the_code(path: str, kind: Flame) -> None:
    assert flamegraph.kind_of(Frame("f", path, 1)) is kind


# --- for other tools ---


@given(STACKS)
def test_folded_stacks_contain_everything(found: StackCounts) -> None:
    said: dict[tuple[str, ...], int] = {}
    for line in profile_data.folded(found).splitlines():
        stack, _, weight = line.rpartition(" ")
        key = tuple(part.encode("ascii").decode("unicode_escape") for part in stack.split(";"))
        said[key] = said.get(key, 0) + int(weight)
    wanted: dict[tuple[str, ...], int] = {}
    for stack_of_frames, weight_us in found.weights_us.items():
        key = tuple(map(str, stack_of_frames))
        wanted[key] = wanted.get(key, 0) + weight_us
    assert said == wanted


@given(STACKS)
def test_the_speedscope_file_follows_its_specification(found: StackCounts) -> None:
    file = json.loads(profile_data.speedscope(found, "a title"))
    check_speedscope(file)
    [profile] = file["profiles"]
    frames = [Frame(**frame) for frame in file["shared"]["frames"]]
    named = {
        tuple(frames[index] for index in indexes): weight
        for indexes, weight in zip(profile["samples"], profile["weights"])
    }
    assert named == {
        tuple(Frame(frame.name, *(frame[1:] if frame.file else ())) for frame in stack): weight_us
        for stack, weight_us in found.weights_us.items()
    }


def check_speedscope(file: Any) -> None:
    """Check the fields of speedscope's file-format-spec.ts for sampled profiles: only these fields, with the right
    types."""
    check_fields(
        file,
        {"$schema": str, "shared": dict, "profiles": list},
        {"name": str, "activeProfileIndex": int, "exporter": str},
    )
    assert file["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    check_fields(file["shared"], {"frames": list}, {})
    for frame in file["shared"]["frames"]:
        check_fields(frame, {"name": str}, {"file": str, "line": int, "col": int})
    assert 0 <= file["activeProfileIndex"] < len(file["profiles"])
    for profile in file["profiles"]:
        check_fields(
            profile,
            {
                "type": str,
                "name": str,
                "unit": str,
                "startValue": int,
                "endValue": int,
                "samples": list,
                "weights": list,
            },
            {},
        )
        assert profile["type"] == "sampled"
        assert profile["unit"] in ("none", "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes")
        assert len(profile["samples"]) == len(profile["weights"])
        assert profile["startValue"] + sum(profile["weights"]) == profile["endValue"]
        for stack in profile["samples"]:
            assert stack and all(type(index) is int and 0 <= index < len(file["shared"]["frames"]) for index in stack)


def check_fields(found: dict[str, Any], needed: dict[str, type], possible: dict[str, type]) -> None:
    assert needed.keys() <= found.keys() <= needed.keys() | possible.keys()
    for name, value in found.items():
        assert type(value) is {**needed, **possible}[name], name


# --- sums ---


def test_workers_are_added_up() -> None:
    answers = [
        {"frames": [["GET /", "", 0], ["f", "/app.py", 3]], "stacks": [[[0, 1], 500, 2]]},
        {"frames": [["f", "/app.py", 3], ["GET /", "", 0]], "stacks": [[[1, 0], 250, 1], [[1], 5, 1]]},
    ]
    found = profile_data.from_answers(answers)
    assert found == StackCounts({(Frame("GET /"), Frame("f", "/app.py", 3)): 750, (Frame("GET /"),): 5}, 4)


def test_a_recursive_function_counts_once() -> None:
    found = profile_data.usage(stacks(GET_aab=6, GET_a=2, POST=1))
    assert [(usage.frame.name, usage.self_us, usage.total_us) for usage in found] == [
        ("b", 6, 6),
        ("a", 2, 8),
        ("POST", 1, 1),
    ]


def test_the_table_has_shares_of_the_whole() -> None:
    found = stacks(GET_ab=750_000, GET_a=250_000)
    [_, first, second] = profile_data.table(profile_data.usage(found), found.total_us).splitlines()
    assert first.split() == ["0.750", "s", "75%", "0.750", "s", "75%", "b", "(/app.py:1)"]
    assert second.split() == ["0.250", "s", "25%", "1.000", "s", "100%", "a", "(/app.py:1)"]


def test_the_table_has_place_for_paths_of_packages() -> None:
    assert Frame("f", "/srv/venv/lib/python3.11/site-packages/flask/app.py", 7).short() == "f (flask/app.py:7)"
    assert Frame("f", "/srv/app.py", 7).short() == "f (/srv/app.py:7)" and Frame("GET /").short() == "GET /"
