"""A flame graph: one SVG file that needs no other files. A browser lets the reader zoom and search.

    y   depth of the stack: roots (requests, greenlets) at the top, called functions below
    x   only the width has a meaning: the share of the time; siblings are in the order of their names

Rules
* No I/O.
* The file is readable without its script: labels are cut to their boxes here, and each box has its title.
* Text from the application is escaped, characters that XML forbids are replaced, and the script contains none of it.
"""

import re
import zlib
from collections.abc import Iterator
from enum import Enum
from importlib.resources import files
from string import Template
from xml.sax.saxutils import escape

from wsgid.ctl.profile_data import Frame, StackCounts
from wsgid.records import dataclass, field

WIDTH = 1200.0
SIDE = 12.0
TOP = 64.0
BOTTOM = 40.0
ROW = 18.0
CHAR_WIDTH = 7.23  # of a monospaced font with 12 pixels
MIN_WIDTH = 0.1  # in pixels; narrower boxes are not drawn
_OURS = (
    r"/(wsgid|gevent|greenlet)/[^/]+\.pyx?$|/gevent/"
    r"|/wsgid/(application|diagnostics|ipc|linux|log|protocol|serving|sockets|wsgi)/[^/]+\.py$"
)
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Flame(Enum):
    """The owner of a function's code: hue, saturation and lightness of the colour, and the text of the legend."""

    ROOT = (212, 30, 80, "requests and greenlets")
    APPLICATION = (22, 90, 68, "application")
    PACKAGE = (45, 85, 70, "installed packages")
    STANDARD = (90, 35, 74, "standard library")
    SERVER = (190, 35, 74, "wsgid and gevent")

    def colour(self, name: str) -> str:
        """Return the colour. It differs a little between neighbours, and is always the same for a function."""
        hue, saturation, lightness, _ = self.value
        shade = zlib.crc32(name.encode("utf-8", "replace")) % 9 - 4
        return f"hsl({hue + shade * 1.5:g},{saturation}%,{lightness + shade}%)"


@dataclass
class Node:
    """A frame at one position of the graph."""

    frame: Frame
    weight_us: int = 0
    children: dict[Frame, "Node"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Box:
    """A node in the picture; sizes in pixels."""

    node: Node
    depth: int
    x: float
    width: float


def tree(stacks: StackCounts) -> Node:
    """Return the tree of all stacks, with common beginnings merged."""
    top = Node(Frame("all"))
    for stack, weight_us in stacks.weights_us.items():
        top.weight_us += weight_us
        node = top
        for frame in stack:
            node = node.children.setdefault(frame, Node(frame))
            node.weight_us += weight_us
    return top


def layout(top: Node, min_width: float = MIN_WIDTH) -> Iterator[Box]:
    """Yield boxes from left to right and from top to bottom, beginning with the top node. Not recursive: stacks are
    deep."""
    scale = (WIDTH - 2 * SIDE) / (top.weight_us or 1)
    waiting = [Box(top, 0, SIDE, WIDTH - 2 * SIDE)]
    while waiting:
        box = waiting.pop()
        yield box
        x, below = box.x, []
        for frame in sorted(box.node.children):
            child = box.node.children[frame]
            width = child.weight_us * scale
            if width >= min_width:
                below.append(Box(child, box.depth + 1, x, width))
            x += width
        waiting += reversed(below)


def svg(stacks: StackCounts, title: str, unit: str = "of CPU", min_width: float = MIN_WIDTH) -> str:
    """Return the whole file.

    Args:
        stacks: the data.
        title: the heading.
        unit: what the weights are seconds of.
        min_width: narrower boxes are left out; in pixels.
    """
    top = tree(stacks)
    boxes = list(layout(top, min_width))
    height = TOP + BOTTOM + ROW * (1 + max(box.depth for box in boxes))
    page = Template(files(__package__).joinpath("flamegraph.svg").read_text())
    return page.substitute(
        width=f"{WIDTH:g}",
        height=f"{height:g}",
        side=f"{SIDE:g}",
        right=f"{WIDTH - SIDE:g}",
        foot=f"{height - 14:g}",
        title=_text(title),
        char_width=CHAR_WIDTH,
        legend=_legend(height - 24),
        boxes="\n".join(_drawn(box, top.weight_us, unit) for box in boxes),
    )


def _drawn(box: Box, total_us: int, unit: str) -> str:
    frame = box.node.frame
    kind = Flame.ROOT if box.depth < 2 else kind_of(frame)
    share = box.node.weight_us / total_us if total_us else 0.0
    said = f"{frame}\n{box.node.weight_us / 1e6:.3f} s {unit}, {share:.2%}"
    y = TOP + ROW * box.depth
    return (
        f'<g class="box"><title>{_text(said)}</title>'
        f'<rect x="{box.x:.3f}" y="{y:g}" width="{box.width:.3f}" height="{ROW - 1:g}" rx="2" '
        f'fill="{kind.colour(frame.name)}"/>'
        f'<text x="{box.x + 4:.3f}" y="{y + 12.5:g}">{_text(cut(frame.name, box.width))}</text></g>'
    )


def kind_of(frame: Frame) -> Flame:
    """Return the owner of a function, by the path of its file."""
    path = frame.file
    if not path or re.search(_OURS, path):
        return Flame.SERVER
    if "/site-packages/" in path or "/dist-packages/" in path:
        return Flame.PACKAGE
    if path.startswith("<frozen") or re.search(r"/lib(64)?/python\d", path):
        return Flame.STANDARD
    return Flame.APPLICATION


def cut(name: str, width: float) -> str:
    """Return as much of a name as fits into a box. The script does the same when boxes grow."""
    room = int((width - 8) / CHAR_WIDTH)
    if len(name) <= room:
        return name
    return f"{name[: room - 2]}.." if room >= 4 else ""


def _legend(y: float) -> str:
    parts, x = [], SIDE
    for kind in Flame:
        said = kind.value[-1]
        parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="12" height="12" rx="2" fill="{kind.colour("")}"/>'
            f'<text x="{x + 18:g}" y="{y + 10:g}">{said}</text>'
        )
        x += 18 + CHAR_WIDTH * len(said) + 24
    return "".join(parts)


def _text(text: str) -> str:
    """Return text for XML 1.0, between tags. Characters that XML forbids (section 2.2) are replaced."""
    return escape(_NO_XML.sub("\ufffd", text))
