"""The command `wsgid`: read the options, run the master, exit.

Rules
* Every failure before the first worker is one sentence and an exit code (errors.ExitCode), never a traceback.
* `wsgid --version` imports nothing of the server: scripts ask for the version often.
* The first template begins before this process imports anything else (linux/ahead.py).
"""

import gc
import signal
import sys

from wsgid import __version__, compiled


def main() -> int:
    """Run the console script `wsgid`, or `python -m wsgid`. Returns the exit code."""
    if sys.argv[1:] == ["--version"]:  # beside other arguments, it is an option like all others
        print(f"wsgid {__version__} ({compiled.described()})")
        return 0
    from wsgid.linux import ahead

    # A parent may have ignored SIGCHLD, and execve(2) keeps that. Then waitpid(2) would find no child (wait(2), NOTES).
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gc.disable()  # until the server begins (command.py): nearly all that the imports make stays
    ahead.begin()
    try:
        from wsgid import command

        return command.run()
    finally:
        ahead.end()
