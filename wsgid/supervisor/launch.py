"""Starts the process of a template, also after the site's directory was replaced.

Rules
* A refused call leaves nothing behind: no descriptor, no process.
* A deployment may have removed the working directory and created it again. Then the process changes to the new one.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from wsgid.ipc import messages
from wsgid.ipc.pair import pair
from wsgid.linux import interpreter, process
from wsgid.linux.syscall_errors import close, named
from wsgid.supervisor import ahead
from wsgid.supervisor.inbox import Inbox


def start_template(title_prefix: str, environ: Mapping[str, str], optimize: int = 0) -> tuple[int, Inbox]:
    """Start a process that waits for Boot, or take the one that the command has forked (ahead.py). Returns its pid and
    the master's end of its channel.

    Args:
        title_prefix: of its process title.
        environ: its environment.
        optimize: the number of -O for its interpreter.

    Raises:
        Refused: with the call.
    """
    taken = ahead.take(environ, title_prefix, optimize)
    if taken:
        return taken[0], Inbox(taken[1], messages.FROM_TEMPLATE)
    with named("socketpair", "for a template"):
        ours, theirs = pair()
    try:
        argv = interpreter.command("wsgid.template", str(theirs), title_prefix, optimize=optimize)
        with named("posix_spawn", sys.executable):
            pid = process.spawn(argv, environ, theirs)
        return pid, Inbox(ours, messages.FROM_TEMPLATE)
    except BaseException:
        close(ours)
        raise
    finally:
        close(theirs)


def stand_in(directory: Path) -> bool:
    """Make sure that there is a working directory: change to `directory` if the present one was removed. Returns
    whether it was removed.

    Raises:
        Refused: `directory` does not exist either.
    """
    try:
        os.getcwd()
        return False
    except FileNotFoundError:  # getcwd(2): the directory has been unlinked
        with named("chdir", os.fspath(directory)):
            os.chdir(directory)
        return True
