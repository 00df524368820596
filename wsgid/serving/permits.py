"""The permits of the requests of a worker: a permit ends with its request (wsgid.limits).

    limiter.acquire -> hold: the request of this greenlet has the permit -> the response is closed -> end: released

Rules
* A permit is released by the server, whatever the application does: an early answer, an exception, a time-out, a
  visitor who leaves.
* This module costs nothing until a limiter is used: only then is it told about the ends of requests.
* Permits of greenlets and threads that serve no request end when they are released, or are not referred to any more.
"""

import select
from typing import TYPE_CHECKING, Any

import greenlet

from wsgid.serving.completion import Completion
from wsgid.serving.greenlets import RequestGreenlet
from wsgid.serving.syscalls import poll
from wsgid.wsgi.types import Application

if TYPE_CHECKING:
    from wsgid.limits.permit import Permit

_HELD_MANY = 16


class RequestPermits:
    """The permits of all requests in flight."""

    def __init__(self) -> None:
        self._completion: Completion | None = None
        self._tells = False  # whether the completion tells about the ends of requests
        self._held: dict[RequestGreenlet, list[Permit]] = {}
        self._answers: dict[RequestGreenlet, Any] = {}  # the start_response of each request

    def watch(self, completion: Completion) -> None:
        """Learn the ends of requests from this completion, as soon as that is necessary."""
        self._completion = completion

    def hold(self, permit: "Permit") -> None:
        """Give this permit back when the present request ends."""
        me = greenlet.getcurrent()
        if isinstance(me, RequestGreenlet) and me.environ is not None:
            self._listen()
            held = self._held.setdefault(me, [])
            if len(held) >= _HELD_MANY:  # a long request may take and give back one permit after the other
                held[:] = [other for other in held if other.held]
            held.append(permit)

    def client_left(self) -> bool:
        """Whether the client of the present request has left. False if that is unknown."""
        answer = self._answers.get(greenlet.getcurrent())  # type: ignore[call-overload]
        transport = getattr(answer, "transport", None)
        # As nginx does in a delay of limit_req, take the end of the client's stream for its leave: on TCP there is no
        # other sign (poll(2), POLLRDHUP).
        return transport is not None and bool(poll(transport.fd, select.POLLRDHUP))

    def tracked(self, application: Application) -> Application:
        """Return an application that notes who waits for the answer of each request."""

        def track(environ: dict[str, Any], start_response: Any) -> Any:
            me = greenlet.getcurrent()
            if isinstance(me, RequestGreenlet):
                self._listen()
                self._answers[me] = start_response
            return application(environ, start_response)

        return track

    def end(self, me: RequestGreenlet) -> None:
        """The request of this greenlet has ended."""
        self._answers.pop(me, None)
        for permit in self._held.pop(me, ()):
            permit.release()

    def _listen(self) -> None:
        if not self._tells and self._completion is not None:
            self._tells = True
            self._completion.at_end.append(self.end)
