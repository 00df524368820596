"""A profile of this worker: in which stacks its processor time is spent, or what its requests wait for.

    setitimer(ITIMER_PROF) -> SIGPROF -> the handler, in the greenlet that holds the interpreter -> its stack counts

Rules
* Nothing is installed before a profile, and nothing is left after it: no handler, no timer, no thread.
* SIGPROF is the application's first: where it uses it, the profile is refused; where it takes it meanwhile, it has it.
* A sample weighs the time since the one before it. In a long call of C, where no Python handler runs, signals are lost;
  its time is not.
* The handler never waits and never raises; all that it gathers has a bound, and what was cut off is named.
* A stack's outermost entry says whose it is: the request's, by a label of which there are few, or the greenlet's.
"""

import dis
import random
import re
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from types import CodeType, FrameType
from typing import Any, Protocol

import gevent
import greenlet
from gevent.event import Event
from gevent.hub import get_hub

from wsgid.errors import WsgidError
from wsgid.serving.greenlets import RequestGreenlet

SECONDS_MIN, SECONDS_MAX = 1, 300
HZ_MIN, HZ_MAX = 1, 1000
STACKS_MAX = 4000  # distinct ones
DEPTH_MAX = 250  # frames, the innermost
LABELS_MAX = 100
LABEL_MAX_CHARS = 80
SEGMENTS_MAX = 4  # of a path in a label
WALL_SHARE = 0.02  # of the time, at the most, goes into looking at what waits
_LOOK_S = 0.1
_ENCODE_BATCH = 50  # stacks, then others have their turn

# What stands in a stack and is no function.
HUB = "(event loop)"
MAIN = "(main greenlet)"
BETWEEN = "(between requests)"
OTHERS = "(other requests)"
WSGID = "(wsgid, compiled)"
DEEPER = "(deeper frames were cut off)"
MORE = "(more stacks than are kept)"
THREADS = "(native threads)"

_RESUME = dis.opmap["RESUME"]
_VARIABLE = re.compile(r"(?!v\d+$).*\d")  # an id, a date, a hash; the version of an interface is none


class ProfileRefused(WsgidError):
    """There will be no profile; the message is one sentence for the operator."""


class ProfileClock(Enum):
    """Which time is shared out among the stacks."""

    CPU = "cpu"  # of the processor, in the interpreter's thread
    WALL = "wall"  # each request's own, while it is in the application


@dataclass(frozen=True, slots=True)
class Order:
    """What the asker wants."""

    seconds: float
    hz: int
    clock: ProfileClock


class Source(Protocol):
    """Takes samples from start to stop."""

    def start(self, hz: int) -> None: ...

    def stop(self) -> None: ...

    def goes_on(self) -> bool: ...


class Profiler:
    """Profiles of one worker, one at a time.

    Args:
        greenlets: those that serve requests, as they are at any time.
    """

    def __init__(self, greenlets: Callable[[], Iterable[RequestGreenlet]]) -> None:
        self._greenlets = greenlets
        self._ended: Event | None = None  # of the profile that runs

    def run(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Sample for as long as the asker says; the greenlet that calls this waits.

        Args:
            arguments: "seconds", "hz" and "clock", from the asker.

        Raises:
            ProfileRefused: an argument is wrong, or a profile is not possible now.
        """
        order = parse(arguments)
        if self._ended is not None:
            raise ProfileRefused(
                "the worker is being profiled already, and one profile at a time is enough: wait for "
                "its end, or profile another --worker"
            )
        samples = Samples()
        source = CpuSource(samples) if order.clock is ProfileClock.CPU else WallSource(samples, self._greenlets)
        ended = self._ended = Event()
        started = _Spent()
        try:
            source.start(order.hz)
            until_s = time.monotonic() + order.seconds
            while (left_s := until_s - time.monotonic()) > 0 and source.goes_on() and not ended.is_set():
                ended.wait(min(left_s, _LOOK_S))
            whole = source.goes_on() and not ended.is_set()
        finally:
            source.stop()
            self._ended = None
        spent = started.until_now()
        if order.clock is ProfileClock.CPU:
            samples.add((THREADS,), spent.process_ns - spent.thread_ns)
        return {
            "clock": order.clock.value,
            "hz": order.hz,
            "seconds": spent.seconds,
            "whole": whole,
            "cpu_s": spent.process_ns / 1e9,
            **samples.encoded(),
        }

    def end(self) -> None:
        """End the profile that runs, if any; its asker gets what there is."""
        if self._ended is not None:
            self._ended.set()


def parse(arguments: dict[str, Any]) -> Order:
    """Raises ProfileRefused for what cannot be done."""
    seconds: Any = arguments.get("seconds")
    hz: Any = arguments.get("hz", 100)
    if type(seconds) not in (int, float) or not SECONDS_MIN <= seconds <= SECONDS_MAX:
        raise ProfileRefused(f"a profile takes {SECONDS_MIN} to {SECONDS_MAX} seconds, not {seconds!r}")
    if type(hz) is not int or not HZ_MIN <= hz <= HZ_MAX:
        raise ProfileRefused(f"a profile takes {HZ_MIN} to {HZ_MAX} samples a second, not {hz!r}")
    try:
        return Order(seconds, hz, ProfileClock(arguments.get("clock", ProfileClock.CPU.value)))
    except ValueError:
        raise ProfileRefused(
            f"there is no clock {arguments['clock']!r}; there are {', '.join(clock.value for clock in ProfileClock)}"
        ) from None


class _Spent:
    """Clocks, read together."""

    def __init__(self) -> None:
        self.seconds = time.monotonic()
        self.process_ns = time.process_time_ns()
        self.thread_ns = time.thread_time_ns()

    def until_now(self) -> "_Spent":
        now = _Spent()
        now.seconds -= self.seconds
        now.process_ns -= self.process_ns
        now.thread_ns -= self.thread_ns
        return now


class Samples:
    """Stacks, each with its weight and how often it was seen.

    A stack is a tuple, innermost first, of a root's name and id()s: of code objects, and of names of what has none.
    Code objects themselves would be hashed by their contents, each time.
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
            stack.append(id(WSGID))  # what called the outermost function has no frame, but has had the time
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
        count = self._counts.get(stack)
        if count is None:
            if len(self._counts) >= STACKS_MAX:
                stack = (id(MORE), stack[-1])
            count = self._counts.setdefault(stack, [0, 0])
        count[0] += weight_ns
        count[1] += 1

    def encoded(self) -> dict[str, Any]:
        """{"frames": [[function, file, line]], "stacks": [[[indexes into frames, outermost first], us, samples]]}.

        The first of a stack is its root's name, with neither file nor line. Lets others run meanwhile.
        """
        places: dict[str | int, int] = {}
        frames: list[tuple[str, str, int]] = []
        stacks = []
        for number, (stack, (weight_ns, samples)) in enumerate(self._counts.items()):
            if weight_ns < 1000:  # it is told in microseconds
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
    """Whether it has run nothing yet: CPython looks for signals when a function begins, and this one came before."""
    return frame.f_lasti < 0 or frame.f_code.co_code[frame.f_lasti] == _RESUME


class CpuSource:
    """Samples whoever runs, by processor time.

    The intervals are random around 1 / hz: equal ones fall into step with requests of equal length, and then always
    meet the same parts.
    """

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._hub = get_hub()
        self._handler = self._on_signal  # one object, to be recognised
        self._before: Any = None
        self._last_ns = 0
        self._interval_s = 0.0
        self._random = random.Random().random  # its own: the application may have seeded the module's
        self._stopped = False
        self._counting = False

    def start(self, hz: int) -> None:
        """Raises ProfileRefused if the application uses SIGPROF."""
        before = signal.getsignal(signal.SIGPROF)  # None: a handler of C's
        if before not in (signal.SIG_DFL, signal.SIG_IGN) or any(signal.getitimer(signal.ITIMER_PROF)):
            raise ProfileRefused(
                "the application uses SIGPROF itself, for a profiler of its own perhaps: end that one first"
            )
        self._before = before
        self._last_ns = time.thread_time_ns()
        signal.signal(signal.SIGPROF, self._handler)
        signal.siginterrupt(signal.SIGPROF, False)  # no system call of the application's shall notice
        self._interval_s = 1 / hz
        self._arm()

    def stop(self) -> None:
        self._stopped = True
        if abs(signal.getitimer(signal.ITIMER_PROF)[1] - self._interval_s) < 1e-5:  # else it is the application's
            signal.setitimer(signal.ITIMER_PROF, 0)
        if not self.goes_on():
            return
        signal.signal(signal.SIGPROF, signal.SIG_IGN)  # this discards one that is pending; the default would kill us
        signal.signal(signal.SIGPROF, self._before)

    def goes_on(self) -> bool:
        return signal.getsignal(signal.SIGPROF) is self._handler

    def _on_signal(self, _signo: int, frame: FrameType | None) -> None:
        if self._counting or (
            frame is not None and frame.f_code is _HANDLER
        ):  # the next one comes while this is counted
            return
        self._counting = True
        try:
            weight_ns = time.thread_time_ns() - self._last_ns
            self._samples.see(self._root(greenlet.getcurrent()), frame, weight_ns)
            if not self._stopped:
                self._arm()
            self._last_ns = time.thread_time_ns()  # what the sample has cost is nobody's
        except Exception:  # memory, or depth: the next sample will weigh more  # nosec B110
            pass
        finally:
            self._counting = False

    def _arm(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, self._interval_s * (0.5 + self._random()), self._interval_s)

    def _root(self, holder: Any) -> str:
        if isinstance(holder, RequestGreenlet):
            return request_label(holder.environ) if holder.environ is not None else BETWEEN
        if holder is self._hub:
            return HUB
        if holder.parent is None:
            return MAIN
        run = getattr(holder, "_run", holder)
        return f"greenlet {getattr(run, '__qualname__', type(run).__qualname__)}"[:LABEL_MAX_CHARS]


_HANDLER = CpuSource._on_signal.__code__


class WallSource:
    """Samples every request that is in the application, by the time that passes. The hub's timer finds them waiting."""

    def __init__(self, samples: Samples, greenlets: Callable[[], Iterable[RequestGreenlet]]) -> None:
        self._samples = samples
        self._greenlets = greenlets
        self._interval_s = 0.0
        self._timer: Any = None
        self._last_ns = 0

    def start(self, hz: int) -> None:
        self._interval_s = 1 / hz
        self._last_ns = time.monotonic_ns()
        self._timer = get_hub().loop.timer(self._interval_s)
        self._timer.start(self._on_time)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.close()

    def goes_on(self) -> bool:
        return True

    def _on_time(self) -> None:
        now_ns = time.monotonic_ns()
        weight_ns = now_ns - self._last_ns  # all of it: of requests shorter than that, few enough are met
        for one in list(self._greenlets()):
            if one.environ is not None:
                self._samples.see(request_label(one.environ), one.gr_frame, weight_ns)
        self._last_ns = now_ns
        took_s = (time.monotonic_ns() - now_ns) / 1e9
        self._timer.close()
        self._timer = get_hub().loop.timer(max(self._interval_s, took_s / WALL_SHARE))
        self._timer.start(self._on_time)


def request_label(environ: dict[str, Any]) -> str:
    """The method, and the path as a route would have it: /users/123/orders is /users/*/orders."""
    segments = str(environ.get("PATH_INFO") or "/").split("/", SEGMENTS_MAX + 1)
    route = "/".join(["*" if _VARIABLE.match(segment) else segment for segment in segments[: SEGMENTS_MAX + 1]])
    if len(segments) > SEGMENTS_MAX + 1:
        route += "/*"
    return ascii(f"{environ.get('REQUEST_METHOD')} {route}"[:LABEL_MAX_CHARS])[1:-1]
