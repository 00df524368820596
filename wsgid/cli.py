"""The command: parse, run the master, exit.

Rules
* Whatever goes wrong before the first worker is one sentence and an exit code (errors.ExitCode), never a traceback.
"""

import os
import sys

from wsgid import config, log, master
from wsgid.errors import BootError, ExitCode
from wsgid.upgrade import Start


def main() -> int:
    """The console script `wsgid`, and `python -m wsgid`."""
    try:
        settings = config.from_command_line(sys.argv[1:])
        if settings.https or settings.ssl_socket:
            from wsgid import certificates  # here: the master of all others need not carry OpenSSL
            certificates.check(settings)
        if settings.check:
            return ExitCode.OK
        start = Start.now()
        if settings.chdir:
            os.chdir(settings.chdir)
        return master.run(settings, start)
    except BootError as error:
        log.error("%s", error)
        return error.exit_code
