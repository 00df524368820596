"""The stacks of a profile, counted within limits.

    see(root, frame, weight) ... -> encoded()

Rules
* Everything that is collected has a limit, and a cut is visible by name.
* The outermost entry of a stack is its root: a label of the request (there are few labels), or of the greenlet.
"""

from opcode import opmap
from types import CodeType, FrameType
from typing import Any

import gevent

from wsgid.errors import WsgidError

STACKS_MAX = 4000  # distinct stacks
DEPTH_MAX = 250  # the innermost frames
LABELS_MAX = 100
_ENCODE_BATCH = 50  # so many stacks at a time, then other greenlets run

# Entries in a stack that are no functions.
OTHERS = "(other requests)"
WSGID = "(wsgid, compiled)"
DEEPER = "(deeper frames were cut off)"
MORE = "(more stacks than are kept)"

_RESUME = opmap["RESUME"]


class ProfileRefused(WsgidError):
    """The profile is refused. The message is one sentence for the operator."""


class Samples:
    """Stacks, each with its weight and the number of its samples.

    A stack is a tuple, innermost entry first: id()s of code objects, or of names of entries without code, and at the
    end the root's name. Code objects themselves would be hashed by their contents each time.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str | int, ...], list[int]] = {}
        self._known: dict[int, CodeType | str] = {id(name): name for name in (WSGID, DEEPER, MORE)}
        self._roots: set[str] = set()

    def see(self, root: str, frame: FrameType | None, weight_ns: int) -> None:
        """Count the stack that ends in `frame`."""
        known = self._known
        stack: list[str | int] = []
        if frame is None or (frame.f_back is None and _is_entered(frame)):
            stack.append(id(WSGID))  # the caller of the outermost function has no frame, but has used the time
            frame = None
        while frame is not None:
            if len(stack) == DEPTH_MAX:
                stack.append(id(DEEPER))
                break
            code = frame.f_code
            known[id(code)] = code
            stack.append(id(code))
            frame = frame.f_back
        if root not in self._roots:
            if len(self._roots) >= LABELS_MAX:
                root = OTHERS
            self._roots.add(root)
        stack.append(root)
        self.add(tuple(stack), weight_ns)

    def add(self, stack: tuple[str | int, ...], weight_ns: int) -> None:
        """Count a stack."""
        count = self._counts.get(stack)
        if count is None:
            if len(self._counts) >= STACKS_MAX:
                stack = (id(MORE), stack[-1])
            count = self._counts.setdefault(stack, [0, 0])
        count[0] += weight_ns
        count[1] += 1

    def encoded(self) -> dict[str, Any]:
        """Return {"frames": [[function, file, line]], "stacks": [[[indexes into frames, outermost first], us,
        samples]]}.

        The first entry of a stack is its root's name, with neither file nor line. Other greenlets run meanwhile.
        """
        places: dict[str | int, int] = {}
        frames: list[tuple[str, str, int]] = []
        stacks = []
        for number, (stack, (weight_ns, samples)) in enumerate(self._counts.items()):
            if weight_ns < 1000:  # weights are told in microseconds
                continue
            for entry in stack:
                if entry not in places:
                    places[entry] = len(frames)
                    frames.append(self._described(entry))
            stacks.append(([places[entry] for entry in reversed(stack)], weight_ns // 1000, samples))
            if number % _ENCODE_BATCH == 0:
                gevent.sleep(0)
        return {"frames": frames, "stacks": stacks}

    def _described(self, entry: str | int) -> tuple[str, str, int]:
        what = entry if isinstance(entry, str) else self._known[entry]
        return (what, "", 0) if isinstance(what, str) else (what.co_qualname, what.co_filename, what.co_firstlineno)


def _is_entered(frame: FrameType) -> bool:
    """Whether the function has run no code yet. CPython checks for signals when a function begins, before its code."""
    return frame.f_lasti < 0 or frame.f_code.co_code[frame.f_lasti] == _RESUME
