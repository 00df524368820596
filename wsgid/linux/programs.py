"""Start one of wsgid's own programs: the one that the command has forked ahead (ahead.py), or else an executed one.

Rules
* A refused call leaves nothing behind: no descriptor, no process.
* A program's arguments are the descriptor of its channel, and the prefix of its process title.
"""

import sys
from collections.abc import Mapping

from wsgid.linux import ahead, interpreter, process
from wsgid.linux.socket_pair import pair
from wsgid.linux.syscall_errors import close, named


def start(module: str, title_prefix: str, environ: Mapping[str, str], optimize: int, what: str) -> tuple[int, int]:
    """Start a program. Returns its pid and our end of its channel.

    Args:
        module: the program, as ahead.TEMPLATE.
        title_prefix: of its process title.
        environ: its environment.
        optimize: the number of -O for its interpreter.
        what: the program in words, for an error.

    Raises:
        Refused: with the call.
    """
    taken = ahead.take(module, title_prefix, environ, optimize)
    if taken:
        return taken
    with named("socketpair", f"for {what}"):
        ours, theirs = pair()
    try:
        argv = interpreter.command(module, str(theirs), title_prefix, optimize=optimize)
        with named("posix_spawn", sys.executable):
            return process.spawn(argv, environ, theirs), ours
    except BaseException:
        close(ours)
        raise
    finally:
        close(theirs)
