"""Import the application as a template would, and exit: the child of --check.  The settings come as JSON on standard
input; the exit code is 0 if the application could be imported, and 3 with a sentence if not."""

from gevent import monkey

monkey.patch_all()

import json
import os
import sys
import traceback

from wsgid import log
from wsgid.application import late_import
from wsgid.application.prepare import prepare
from wsgid.config import options
from wsgid.errors import ApplicationImportError, ExitCode


def main() -> ExitCode:
    settings = options.from_dict(json.load(sys.stdin))
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
    os._exit(code)  # whatever threads the import has started
