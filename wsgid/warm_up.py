"""Does once, in a process that has not forked yet, what each template and each worker does when it starts.

    imports -> warm_up.run() -> fork the spare -> template -> fork a worker

Rules
* What is prepared at its first use then lies in pages that all processes share: the __init__ of a record
  (wsgid/records.py), compiled patterns, CPython's cache of methods (Objects/typeobject.c).
* The settings are not here: each process has one object of them, for which nothing is compiled.
* Nothing here has an effect outside of this process, and nothing depends on the operator's settings.
"""

from wsgid.ipc import messages
from wsgid.linux.thread_times import ThreadTimes
from wsgid.log import destination
from wsgid.protocol.http import Limits
from wsgid.serving.http_connection import BodyRate, Leaving
from wsgid.sockets import listen_spec

_MESSAGES: tuple[messages.Message, ...] = (
    messages.ForkSpare(),
    messages.Boot(0, []),
    messages.Booting(),
    messages.TemplateReady(),
    messages.Spawn(0, 0, False, 0),
    messages.Hello(),
    messages.Ready(),
    messages.Dumps(),
    messages.Lead(True, 0.0),
    messages.Drain(messages.OnDrain.EMPTY.value, 0.0),
)


def run() -> None:
    """Do it. Takes 2 ms, which each template and each worker then saves."""
    for _ in range(2):  # the second object of a class compiles its __init__ (records.py)
        for message in _MESSAGES:
            messages.decode(messages.encode(message))
        ThreadTimes(0.0, 0.0)
        Limits(0, 0, 0)
        BodyRate(0, 0.0)
        Leaving()
        listen_spec.ListenSpec()
    destination.parse("stdio")
