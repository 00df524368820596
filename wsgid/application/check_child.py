"""The child process of --check: import the application as a template would, and exit.

The descriptor of the settings arrives on a channel (linux/memfd.py). The exit code is 0 if the import succeeds.
Otherwise the code is 3, and standard error has a sentence, and all that the import has printed.
"""

from wsgid.application import gevent_patch

gevent_patch.patch()

import _socket
import gc
import os
import signal
import sys
import traceback

from wsgid import log
from wsgid.application import late_import
from wsgid.application.prepare import prepare
from wsgid.config import options
from wsgid.errors import ApplicationImportError, ExitCode
from wsgid.linux import ahead, memfd
from wsgid.log import stdio

_INT_BYTES = 4


def main() -> ExitCode:
    """Import the application. Returns the exit code."""
    if ahead.arrive(int(sys.argv[1])) is None:
        return ExitCode.FAILURE  # the command has ended
    stdio.close_input()
    os.dup2(2, 1)  # the report is in standard output, without what the import prints
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # until now they were blocked (process.spawn)
    gc.enable()
    channel = _socket.socket(fileno=int(sys.argv[1]))
    _, ancillary, _, _ = channel.recvmsg(1, _socket.CMSG_SPACE(_INT_BYTES), _socket.MSG_CMSG_CLOEXEC)
    channel.close()
    if not ancillary:
        return ExitCode.FAILURE  # the command has ended
    settings = options.from_dict(memfd.read(int.from_bytes(ancillary[0][2], sys.byteorder)))
    log.speak_as("check")
    late_import.watch(lambda error: log.error("%s", error), settings.boot_timeout)
    try:
        prepare(settings)()
    except ApplicationImportError as error:
        if error.__cause__:
            log.error("%s", "".join(traceback.format_exception(error.__cause__)).rstrip())
        log.error("%s", error)
        return error.exit_code
    return ExitCode.OK


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # not sys.exit: threads of the import may still run
