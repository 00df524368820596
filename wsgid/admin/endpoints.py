"""The endpoints of a master: one for each of --stats, --metrics, --control and --master-fifo.

Rules
* What only one of these options needs is imported with the option, at the start: later, pip may have installed another
  version of it.
* Serving is more important than endpoints. An endpoint that cannot be opened is logged, and everything else goes on.
"""

import selectors
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wsgid import log
from wsgid.admin import commands
from wsgid.admin.commands import Operator
from wsgid.admin.server import Endpoint, Responder, guarded
from wsgid.config.options import Settings
from wsgid.errors import ListenerError
from wsgid.sockets import listener
from wsgid.sockets.listener import Listener, Ownership

if TYPE_CHECKING:
    from wsgid.admin.fifo import Fifo

BACKLOG = 16
_CONTROL = Ownership(mode=0o600)
_OFF = "off"
_SUFFIX = ".ctl"


def open_endpoints(operator: Operator, listeners: Sequence[Listener]) -> list[Endpoint]:
    """Open the endpoints that the settings name.

    Args:
        operator: the master.
        listeners: of the server; the control socket lies beside the first unix socket.
    """
    return list(_endpoints(operator, listeners))


def open_fifos(operator: Operator, selector: selectors.BaseSelector, held: Mapping[str, int]) -> "list[Fifo]":
    """Open the FIFOs of --master-fifo. A FIFO that cannot be opened is logged.

    Args:
        operator: the master.
        selector: the master's.
        held: path -> descriptor, from the master before this one (USR2); unwanted FIFOs are removed.
    """
    if not operator.settings.master_fifo and not held:
        return []
    from wsgid.admin import fifo

    opened = []
    for path in operator.settings.master_fifo:
        try:
            opened.append(fifo.Fifo(path, operator, selector, held.get(path)))
        except fifo.FifoError as error:
            log.warning("--master-fifo: %s", error)
    for path in held.keys() - set(operator.settings.master_fifo):
        fifo.remove(path, held[path])
    return opened


def _endpoints(operator: Operator, listeners: Sequence[Listener]) -> Iterator[Endpoint]:
    control = _control_path(operator.settings, listeners)
    if control:
        yield from _endpoint(control, _CONTROL, "--control", lambda request: commands.respond(operator, request))
    settings = operator.settings
    like_the_sockets = Ownership(settings.chmod_socket, *settings.chown_socket)  # as in uWSGI
    if settings.stats:
        from wsgid.admin import stats

        respond = stats.respond_over_http if settings.stats_http else stats.respond
        yield from _endpoint(settings.stats, like_the_sockets, "--stats", partial(respond, operator.snapshot))
    if settings.metrics:
        from wsgid.admin import health

        yield from _endpoint(
            settings.metrics, like_the_sockets, "--metrics", partial(health.respond, operator.snapshot)
        )


def _endpoint(address: str, ownership: Ownership, option: str, respond: Responder) -> Iterator[Endpoint]:
    try:
        opened = listener.open_listener(address, BACKLOG, ownership)
    except ListenerError as error:
        log.warning("%s: %s", option, error)
        return
    yield Endpoint(opened, guarded(respond, option))


def _control_path(settings: Settings, listeners: Sequence[Listener]) -> str:
    """Return the path of --control, or a path beside the first unix socket: app.sock has app.ctl. Empty if there is
    none."""
    if settings.control:
        return "" if settings.control == _OFF else settings.control
    paths = [listener.path for listener in listeners if listener.path]
    return str(paths[0].with_suffix(_SUFFIX)) if paths else str(Path.cwd() / f"wsgid{_SUFFIX}")
