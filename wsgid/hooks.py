"""wsgid.hooks: what an application does in each worker beside its requests.

    from wsgid import hooks

    @hooks.on_worker_start
    def connect(): ...                        # once in each worker, before it accepts connections

    @hooks.on_worker_stop
    def flush(): ...                          # after the last request of a leaving worker

    @hooks.every(60)
    def refresh(): ...                        # every 60 s, in each worker

    @hooks.every(3600, in_one_worker=True)
    def expire(): ...                         # every hour, in one worker of the server

Rules
* A decorator notes the function, and returns it unchanged.
* In other programs (manage.py, tests, another server) nothing is called. The log of the program says so once, at the
  level INFO of the logger "wsgid.hooks".
* This module imports neither gevent nor anything else that is large: every program may import it.
  application/hook_runner.py does the work in a worker.
"""

from collections.abc import Callable
from math import inf
from typing import Any, Protocol, TypeVar

from wsgid.records import dataclass, field

__all__ = ["every", "on_worker_start", "on_worker_stop", "worker_number", "worker_slot"]

_SUSPENDS = 0x20 | 0x80 | 0x200  # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR (inspect's documentation)
NOWHERE = -1  # the number of a process that is no worker

F = TypeVar("F", bound=Callable[[], Any])


@dataclass(frozen=True, slots=True)
class Timer:
    """A function that is called again and again.

    Args:
        function: is called without arguments.
        interval_s: the time from one call to the next.
        in_one_worker: whether only one worker of the server calls it.
    """

    function: Callable[[], Any]
    interval_s: float
    in_one_worker: bool


class Runner(Protocol):
    """The worker in which the hooks run."""

    def start_late(self, function: Callable[[], Any]) -> None:
        """Call a function that was registered for the start of the worker, which has started already."""

    def begin(self, timer: Timer) -> None:
        """Begin to call a timer."""


@dataclass(slots=True)
class Registry:
    """The hooks of an application, in the order of their registration."""

    starts: list[Callable[[], Any]] = field(default_factory=list)
    stops: list[Callable[[], Any]] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)


@dataclass(slots=True)
class _Process:
    """What this process is. It is no worker until `become_worker`."""

    registry: Registry | None = None  # None: this is another program
    runner: Runner | None = None  # None: the worker has not started yet
    number: int = NOWHERE
    slot: int = NOWHERE
    told: bool = False  # whether this other program was told that hooks are not called


_process = _Process()


# --- for applications ---


def on_worker_start(function: F) -> F:
    """Call this function once in each worker. Its event loop runs, and it has not accepted a connection yet.

    If the function raises an exception, the worker cannot start, as after a failed import. If the worker has started
    already (the module was imported by a request), the function is called at once.

    Args:
        function: takes no arguments.

    Raises:
        TypeError: `function` cannot be called, or is a coroutine function or a generator.
    """
    _check(function, "on_worker_start")
    registry = _registry(function)
    if registry is not None and function not in registry.starts:
        registry.starts.append(function)
        if _process.runner is not None:
            _process.runner.start_late(function)
    return function


def on_worker_stop(function: F) -> F:
    """Call this function in each worker that leaves, after its last request. The functions run in the opposite order of
    their registration, and have the rest of --worker-reload-mercy together.

    Args:
        function: takes no arguments.

    Raises:
        TypeError: `function` cannot be called, or is a coroutine function or a generator.
    """
    _check(function, "on_worker_stop")
    registry = _registry(function)
    if registry is not None and function not in registry.stops:
        registry.stops.append(function)
    return function


def every(seconds: float, in_one_worker: bool = False) -> Callable[[F], F]:
    """Return a decorator for a function that workers call again and again, in a greenlet.

    A call that takes longer than `seconds` is not interrupted. Meanwhile the function is not called again, and the log
    says how many calls were missed.

    Args:
        seconds: the time from one call to the next, above 0.
        in_one_worker: False: each worker calls the function. True: one worker of the server calls it, and never two at
            the same time. If that worker leaves, dies or hangs, another worker goes on.

    Raises:
        TypeError: `seconds` is no number, or the function cannot be called.
        ValueError: `seconds` is not above 0.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"every takes seconds, and got {seconds!r}: write @every(60)")
    if not 0 < seconds < inf:
        raise ValueError(f"every({seconds!r}): the number of seconds has to be above 0")

    def register(function: F) -> F:
        _check(function, "every")
        registry = _registry(function)
        timer = Timer(function, float(seconds), in_one_worker)
        if registry is not None and timer not in registry.timers:
            registry.timers.append(timer)
            if _process.runner is not None:
                _process.runner.begin(timer)
        return function

    return register


def worker_number() -> int:
    """Return the number of this worker: 0 to N - 1 for N workers. -1 in a process that is no worker: during the import
    of the application, and in other programs.

    A worker that replaces another one has the same number. While they are replaced, both run for a moment: the old one
    finishes its requests. `worker_slot` never belongs to two processes.
    """
    return _process.number


def worker_slot() -> int:
    """Return a number that no other living worker of this server has, for names of files. -1 in a process that is no
    worker. The numbers are small, and used again: with N workers there are N, and some more during a reload."""
    return _process.slot


# --- for wsgid ---


def collect() -> None:
    """From now on, hooks are noted: this process imports the application for workers."""
    if _process.registry is None:
        _process.registry = Registry()


def registered() -> Registry:
    """Return what the application has registered so far."""
    return _process.registry or Registry()


def become_worker(number: int, slot: int) -> None:
    """This process is a worker from now on.

    Args:
        number: of the worker; see worker_number.
        slot: see worker_slot.
    """
    _process.number, _process.slot = number, slot


def run_in(runner: Runner | None) -> None:
    """The worker has started: it runs what is registered from now on. None: this process is no worker any more."""
    _process.runner = runner
    if runner is None:
        _process.registry, _process.told = None, True


def name_of(function: Any) -> str:
    """Return the name of a function, as the log shows it: MODULE.NAME."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    return f"{module}.{name}" if module and name else repr(function)


def _registry(function: Any) -> Registry | None:
    """Return where hooks are noted. None in other programs, which are told once."""
    if _process.registry is None and not _process.told:
        _process.told = True
        import logging  # other programs have it

        logging.getLogger(__name__).info(
            "no worker of wsgid runs in this process: the hooks of wsgid.hooks are not called, such as %s",
            name_of(function),
        )
    return _process.registry


def _check(function: Any, decorator: str) -> None:
    if not callable(function):
        raise TypeError(f"{decorator} takes a function, and {function!r} is none")
    if getattr(getattr(function, "__code__", None), "co_flags", 0) & _SUSPENDS:
        raise TypeError(f"{name_of(function)} would return before its work is done: give {decorator} a plain function")
