"""Every failure that wsgid can name, as one tree.

Rules
* A failure says who broke what: the operator (BootError), the peer on the socket (PeerError), the application
  (ApplicationError), or wsgid itself (InternalError).  Nobody maps exceptions to statuses or exit codes by isinstance:
  the type carries `status_hint` (what the peer should be answered) or `exit_code` (what the process ends with).
* The message is one sentence for the operator: the thing, its value, the remedy.
* This module imports nothing of wsgid.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What `wsgid` exits with; docs/architecture.md repeats the table."""

    OK = 0
    FAILURE = 1  # an operating-system refusal: a socket in use, no permission, no memory
    USAGE = 2  # a wrong option (argparse's convention)
    APPLICATION = 3  # the application cannot be imported or no worker ever became ready (gunicorn's convention)


class WsgidError(Exception):
    """Base of all; never raised itself."""

    status_hint = "500 Internal Server Error"


# --- the operator's faults, met while booting ------------------------------------------------------------------------


class BootError(WsgidError):
    exit_code = ExitCode.FAILURE


class ConfigError(BootError):
    """An option has a value that cannot be used."""

    exit_code = ExitCode.USAGE


class ListenerError(BootError):
    """A socket cannot be bound, inherited, or given its mode and owner."""


class ApplicationImportError(BootError):
    """The application cannot be imported, or is not callable."""

    exit_code = ExitCode.APPLICATION


# --- the machine's refusals, met at any time --------------------------------------------------------------------------


class Refused(WsgidError, OSError):
    """The kernel has refused a system call, which `call` names, with what it was for: "chdir /srv/site".

    An OSError, hence with errno and strerror (errno(3)).
    """

    call = ""


# --- the peer's faults, met on a connection --------------------------------------------------------------------------


class PeerError(WsgidError):
    """The peer sent something that is refused; `status_hint` is the answer that nginx can show."""

    status_hint = "400 Bad Request"


class BadPacket(PeerError):
    """The packet's lengths do not fit, or a variable has a value that the protocol forbids."""


class UnknownModifier(PeerError):
    """modifier1 asks for something that a WSGI server does not do."""


class ForeignProtocol(PeerError):
    """The bytes are HTTP or TLS, not a uwsgi packet."""


class TooManyVariables(PeerError):
    """More variables than --max-vars."""

    status_hint = "431 Request Header Fields Too Large"


class BadRequest(PeerError):
    """The bytes are no valid HTTP/1.1, or could be read in two ways."""


class BadHandshake(PeerError):
    """There is no TLS with this peer: it speaks something else, too old a version, or shows no certificate."""


class BadProxyHeader(PeerError):
    """The PROXY header is malformed or missing, or from somebody who is not trusted."""


class UriTooLong(PeerError):
    """A request line longer than --http-line-size."""

    status_hint = "414 URI Too Long"


class HeadTooLarge(PeerError):
    """More headers, or more bytes of them, than --max-vars and --http-head-size."""

    status_hint = "431 Request Header Fields Too Large"


class NotImplementedByServer(PeerError):
    """A transfer coding that is not known here."""

    status_hint = "501 Not Implemented"


class VersionNotSupported(PeerError):
    """Neither HTTP/1.0 nor HTTP/1.1."""

    status_hint = "505 HTTP Version Not Supported"


class HeadTimeout(PeerError):
    """The peer did not send the whole head within --socket-timeout."""

    status_hint = "408 Request Timeout"


class BodyTooSlow(PeerError):
    """The peer sends the body of its request more slowly than --body-rate."""

    status_hint = "408 Request Timeout"


class ClientDisconnected(WsgidError, ConnectionError):
    """The peer went away, or was silent for longer than --socket-timeout, in the middle of a body or a response.

    A ConnectionError, hence an OSError, so that frameworks which expect those treat it as what it is
    (Django turns it into UnreadablePostError while it reads a form).
    """


# --- the application's faults ----------------------------------------------------------------------------------------


class ApplicationError(WsgidError):
    """The application broke PEP 3333; the client gets a 500 if the head is not out yet."""


class RequestTimeout(BaseException):
    """The request took longer than --harakiri; raised inside its greenlet, and nowhere else.

    A BaseException, as gevent.Timeout is: an application's `except Exception` must not swallow it.  Hence outside of
    the tree.
    """

    status_hint = "504 Gateway Timeout"


class NoRoomForBody(WsgidError):
    """The temporary file of --post-buffering cannot be written."""

    status_hint = "507 Insufficient Storage"


# --- our own faults --------------------------------------------------------------------------------------------------


class InternalError(WsgidError):
    """A rule of wsgid's own was broken: always a bug to report."""


class IllegalTransition(InternalError):
    """A (state, event) pair that the fleet's transition table does not list."""


class ControlError(InternalError):
    """A datagram between master, template and worker that is none of the known messages."""
