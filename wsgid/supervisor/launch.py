"""Start a template's process, wherever the site's directory is by now.

Rules
* What is refused leaves nothing behind: no descriptor, no process.
* The directory may have been removed, and made anew, by a deployment: who is in the removed one goes into the new one.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from wsgid.ipc import channel, messages
from wsgid.linux import interpreter, process
from wsgid.linux.syscall_errors import close, named
from wsgid.supervisor.inbox import Inbox


def start_template(title_prefix: str, environ: Mapping[str, str]) -> tuple[int, Inbox]:
    """A process that waits for Boot. Returns its pid and our end of its channel.

    Args:
        title_prefix: of its process title.
        environ: its environment.

    Raises:
        Refused: with the call.
    """
    with named("socketpair", "for a template"):
        ours, theirs = channel.pair()
    try:
        argv = interpreter.command("wsgid.template", str(theirs), title_prefix)
        with named("posix_spawn", sys.executable):
            pid = process.spawn(argv, environ, theirs)
        return pid, Inbox(ours, messages.FROM_TEMPLATE)
    except BaseException:
        close(ours)
        raise
    finally:
        close(theirs)


def stand_in(directory: Path) -> bool:
    """Have a working directory: `directory`, if the one of now was removed. Returns whether it was.

    Raises:
        Refused: `directory` is not there, either.
    """
    try:
        os.getcwd()
        return False
    except FileNotFoundError:  # getcwd(2): it has been unlinked
        with named("chdir", os.fspath(directory)):
            os.chdir(directory)
        return True
