"""Applications that paste.deploy loads from an ini file: --paste config:/srv/site/production.ini."""

import importlib
import logging.config
import os
from typing import Any

from wsgid.errors import ApplicationImportError


def load(uri: str, logs: bool) -> Any:
    """Return what the file describes.

    Args:
        uri: for paste.deploy: `config:PATH`, with `#NAME` for another application than `main`. A path without a scheme
            is taken for such a file.
        logs: whether the file also configures the module logging.

    Raises:
        ApplicationImportError: paste.deploy is not installed.
        Exception: whatever paste.deploy and the application raise.
    """
    try:
        deploy = importlib.import_module("paste.deploy")
    except ImportError as error:
        raise ApplicationImportError(
            f"--paste {uri!r} needs paste.deploy: pip install PasteDeploy into the application's environment"
        ) from error
    if ":" not in uri:
        uri = f"config:{uri}"
    if logs and uri.startswith("config:"):
        path = os.path.abspath(uri.removeprefix("config:").partition("#")[0])
        place = {"__file__": path, "here": os.path.dirname(path)}
        logging.config.fileConfig(path, place, disable_existing_loggers=False)
    return deploy.loadapp(uri, relative_to=os.getcwd())
