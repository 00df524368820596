"""The command `wsgid`: read the options, run the master, exit.

Rules
* Every failure before the first worker is one sentence and an exit code (errors.ExitCode), never a traceback.
* `wsgid --version` imports nothing of the server: scripts ask for the version often.
* The garbage collector is off during the imports: they make no garbage, and it would look again and again at all that
  is new (5 % of their time). Not so in the template: what remains there until the fork would be in all workers.
"""

import gc
import sys

from wsgid import __version__, compiled


def main() -> int:
    """Run the console script `wsgid`, or `python -m wsgid`. Returns the exit code."""
    if sys.argv[1:] == ["--version"]:  # beside other arguments, it is an option like all others
        print(f"wsgid {__version__} ({compiled.described()})")
        return 0
    gc.disable()
    from wsgid import command

    gc.enable()
    return command.run()
