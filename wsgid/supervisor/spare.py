"""The spare: a process that has imported everything except the application, and becomes the next template.

    executed --Boot--> template 0        The import of Python and gevent takes longer than that of many applications.
       `-fork--> spare --Boot--> template 1     With a spare, a reload need not wait for it.
                   `-fork--> spare ...

Rules
* A spare that becomes a template first forks the next spare. Both, and the workers, share the memory of gevent and
  wsgid.
* If a generation has no spare, because the fork was refused, one is executed when the fleet is settled. If the kernel
  refuses that, the pause before the next try grows each time.  If a spare dies, there is none until the next
  generation.
* A spare from before an installation is not used, because it knows the old packages and the old sys.path.  A new
  process is executed instead; from then on, the spares come from that process.
* A forked spare tells its pid by Hello. Until then it cannot be used: nobody could end it.
* Its channel is in no selector, because the spare sends nothing but Hello before it is a template.
"""

from collections.abc import Callable

from wsgid.errors import ControlError
from wsgid.ipc import messages
from wsgid.linux import interpreter, process
from wsgid.linux.socket_pair import pair
from wsgid.linux.syscall_errors import close, named, words
from wsgid.supervisor.fleet import Fleet
from wsgid.supervisor.inbox import Inbox
from wsgid.supervisor.retry import Again, Net


class Spare:
    """Holds the spare.

    Args:
        execute: executes a process that waits for Boot. Returns its pid and the master's end of its channel; raises
            OSError.
        net: logs a refusal.
    """

    def __init__(self, execute: Callable[[], tuple[int, Inbox]], net: Net) -> None:
        self._execute = execute
        self._net = net
        self._again = Again()
        self._wanted = False
        self._pid = 0
        self._inbox: Inbox | None = None
        self._installed: list[tuple[str, int, int]] = []  # when the first of its line was executed

    @property
    def pid(self) -> int:
        """The pid of the spare; 0 if there is none, or if it has not said Hello yet."""
        return self._pid

    def inboxes(self) -> list[Inbox]:
        """Return its channel, if there is a spare."""
        return [self._inbox] if self._inbox else []

    def want(self) -> None:
        """A template is ready: if it has forked no spare, one can be executed."""
        self._wanted = self._inbox is None

    def prepare(self, fleet: Fleet, now_s: float) -> None:
        """Execute the spare, if it is wanted and the fleet is settled."""
        if not self._wanted or self._again.waits(now_s) or not fleet.is_settled(now_s):
            return
        try:
            self._pid, self._inbox = self._executed()
            self._wanted = False
            self._again.done()
        except OSError as error:
            self._again.refused(now_s)
            self._net.say(f"the next template cannot be prepared: {words(error)}; it is tried again, later each time")

    def take(self) -> tuple[int, Inbox]:
        """Return the pid and the channel of a process that waits for Boot: the spare, or a new process. The caller owns
        them from now on.

        Raises:
            OSError: there is no usable spare, and the kernel refused a new process.
        """
        self.read()
        if not self._pid or self._installed != interpreter.installed():
            self.end()
            return self._executed()
        assert self._inbox is not None
        taken = self._pid, self._inbox
        self._pid, self._inbox = 0, None
        return taken

    def fork_from(self, inbox: Inbox) -> None:
        """Let a process that take() has returned fork the next spare. If the kernel refuses, one is executed later.

        The process must not have got Boot yet.

        Args:
            inbox: the channel of that process.
        """
        try:
            with named("socketpair", "for a spare"):
                ours, theirs = pair()
        except OSError as error:
            self._net.say(f"the next template cannot be forked: {words(error)}; it is executed later")
            return
        if inbox.send(messages.ForkSpare(), [theirs]):
            self._inbox = Inbox(ours, messages.FROM_TEMPLATE)
        else:
            close(ours)
        close(theirs)

    def read(self) -> None:
        """Take in the Hello of a forked spare. Called in each turn of the master, before deaths are applied."""
        if self._inbox is None or self._pid:
            return
        try:
            for message, _ in self._inbox.read():
                if not isinstance(message, messages.Hello):
                    self.end()  # end-of-file: the fork was refused, or the spare has died at once
                    return
                self._pid = self._inbox.sender_pid
                process.set_pace(self._pid, process.Pace.USUAL)  # its parent may have been hurried already
        except ControlError:
            self.end()

    def end(self) -> None:
        """Kill the spare."""
        pid = self._pid
        self.reaped()
        if pid:
            process.end(pid)

    def give_up(self) -> None:
        """The server stops: kill the spare, and start no other."""
        self._wanted = False
        self.end()

    def reaped(self) -> None:
        """The spare has ended by itself. One without a pid ends when its channel is closed."""
        if self._inbox:
            self._inbox.close()
        self._pid, self._inbox = 0, None

    def _executed(self) -> tuple[int, Inbox]:
        installed = interpreter.installed()  # before the start: a change during the start counts
        started = self._execute()
        self._installed = installed
        return started
