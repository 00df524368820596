"""Starts the process of a template, also after the site's directory was replaced.

Rules
* A refused call leaves nothing behind: no descriptor, no process.
* A deployment may have removed the working directory and created it again. Then the process changes to the new one.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from wsgid.ipc import messages
from wsgid.linux import ahead, programs
from wsgid.linux.syscall_errors import named
from wsgid.supervisor.inbox import Inbox


def start_template(title_prefix: str, environ: Mapping[str, str], optimize: int = 0) -> tuple[int, Inbox]:
    """Start a process that waits for Boot. Returns its pid and the master's end of its channel.

    Args:
        title_prefix: of its process title.
        environ: its environment.
        optimize: the number of -O for its interpreter.

    Raises:
        Refused: with the call.
    """
    pid, fd = programs.start(ahead.TEMPLATE, title_prefix, environ, optimize, "a template")
    return pid, Inbox(fd, messages.FROM_TEMPLATE)


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
