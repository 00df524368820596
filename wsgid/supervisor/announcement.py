"""What the log says when a server starts: where it listens, and what is dangerous or will not work on this machine."""

import os
import sys
from collections.abc import Iterator, Sequence

from wsgid import __version__, log
from wsgid.config.options import Settings
from wsgid.counted import counted
from wsgid.linux import privileges, safefiles
from wsgid.log import files as log_files
from wsgid.sockets import nginx_access
from wsgid.sockets.listen_spec import WireProtocol
from wsgid.sockets.listener import Listener

_EVERY_INTERFACE = ("0.0.0.0", "[::]")  # these are compared, and not bound  # nosec B104


def announce(settings: Settings, listeners: Sequence[Listener]) -> None:
    """Log the server's Python and where the server listens, and a warning for each danger."""
    addresses = dict.fromkeys(each.address for each in listeners)  # with --reuse-port an address has several
    workers = counted(settings.workers, "worker")
    log.info(
        "wsgid %s on Python %s of %s listens on %s with %s",
        __version__,
        sys.version.split()[0],
        settings.virtualenv or sys.prefix,
        ", ".join(addresses),
        f"{settings.workers_min} to {workers}" if settings.workers_min else workers,
    )
    for sentence in _for_browsers(listeners):
        log.info("%s", sentence)
    for sentence in (*_exposed(settings, listeners), *_root(settings), *_closed_to_nginx(listeners)):
        log.warning("%s", sentence)


def _for_browsers(listeners: Sequence[Listener]) -> Iterator[str]:
    """Yield the URLs of HTTP sockets. A socket on all interfaces is said to be one."""
    for each in {each.address: each for each in listeners if not each.path}.values():
        host, _, port = each.address.rpartition(":")
        if each.spoken.protocol is not WireProtocol.HTTP or not port.isdigit():
            continue
        scheme = "https" if each.spoken.tls else "http"
        if host in _EVERY_INTERFACE:
            yield f"visit {scheme}://localhost:{port}/; {each.address} is open to every machine that reaches this one"
        else:
            yield f"visit {scheme}://{each.address}/"


def _exposed(settings: Settings, listeners: Sequence[Listener]) -> Iterator[str]:
    """Yield warnings about files that users other than root could replace."""
    paths = [("--socket", os.fspath(each.path)) for each in listeners if each.path]
    paths += [("--pidfile", settings.pidfile), ("--logto", settings.logto), ("--daemonize", settings.daemonize)]
    paths += [("--master-fifo", path) for path in settings.master_fifo]
    paths += [
        ("--access-log" if path == settings.access_log else "--logger", path)
        for path in log_files.paths(settings.logger, settings.access_log)
    ]
    for option, path in paths:
        sentence = safefiles.warning_of(path, option) if path else None
        if sentence:
            yield sentence


def _root(settings: Settings) -> Iterator[str]:
    """Yield a warning if the application has rights of root."""
    rights = privileges.root_words(settings.uid, settings.gid)
    if rights:
        yield f"the application runs {rights}: whoever breaks into it has the machine; name another user with --uid"


def _closed_to_nginx(listeners: Sequence[Listener]) -> Iterator[str]:
    """Yield warnings about sockets that nginx may not connect to."""
    user = nginx_access.nginx_user()
    for each in listeners:
        trouble = nginx_access.keeps_out(each.path, user) if each.path and user else None
        if trouble:
            yield trouble
