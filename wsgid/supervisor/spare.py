"""The spare: a process that has imported everything except the application, and becomes the next template.

The import of Python and gevent takes longer than that of many applications. With a spare, a reload need not wait for
it.

Rules
* One spare is started for each generation, when the fleet is settled. If it dies, there is none until the next one.
* If the kernel refuses to start a spare, the pause before the next try grows each time.
* A spare from before an installation is not used, because it knows the old packages and the old sys.path.
* Its channel is in no selector, because the spare sends nothing before it is a template.
"""

from collections.abc import Callable

from wsgid.linux import interpreter, process
from wsgid.linux.syscall_errors import words
from wsgid.supervisor.fleet import Fleet
from wsgid.supervisor.inbox import Inbox
from wsgid.supervisor.retry import Again, Net


class Spare:
    """Holds the spare.

    Args:
        start: starts a process. Returns its pid and the master's end of its channel; raises OSError.
        net: logs a refusal.
    """

    def __init__(self, start: Callable[[], tuple[int, Inbox]], net: Net) -> None:
        self._start = start
        self._net = net
        self._again = Again()
        self._wanted = False
        self._held: tuple[int, Inbox] | None = None
        self._installed: list[tuple[str, int]] = []  # when it was started

    @property
    def pid(self) -> int:
        """The pid of the spare; 0 if there is none."""
        return self._held[0] if self._held else 0

    def inboxes(self) -> list[Inbox]:
        """Return its channel, if there is a spare."""
        return [self._held[1]] if self._held else []

    def want(self) -> None:
        """A template is ready: the next spare can be prepared."""
        self._wanted = self._held is None

    def prepare(self, fleet: Fleet, now_s: float) -> None:
        """Start the spare, if it is wanted and the fleet is settled."""
        if not self._wanted or self._again.waits(now_s) or not fleet.is_settled(now_s):
            return
        installed = interpreter.installed()
        try:
            self._held = self._start()
            self._installed = installed
            self._wanted = False
            self._again.done()
        except OSError as error:
            self._again.refused(now_s)
            self._net.say(f"the next template cannot be prepared: {words(error)}; it is tried again, later each time")

    def take(self) -> tuple[int, Inbox] | None:
        """Return its pid and channel, which the caller owns from now on; None if there is no usable spare."""
        if self._held and self._installed != interpreter.installed():
            self.end()
        return self._give()

    def end(self) -> None:
        """Kill the spare."""
        held = self._give()
        if held:
            pid, inbox = held
            inbox.close()
            process.end(pid)

    def _give(self) -> tuple[int, Inbox] | None:
        held, self._held = self._held, None
        return held

    def give_up(self) -> None:
        """The server stops: kill the spare, and start no other."""
        self._wanted = False
        self.end()

    def reaped(self) -> None:
        """The spare has ended by itself."""
        held = self._give()
        if held:
            held[1].close()
