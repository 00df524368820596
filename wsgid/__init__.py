"""wsgid: a WSGI application server for gevent workers behind nginx's uwsgi_pass.

This module only chooses the form of the hot path. The template process imports it before it patches for gevent.
Applications find `wsgid.offload` here. It is imported when it is used: the master imports no gevent.
"""

from typing import TYPE_CHECKING, Any

from wsgid import compiled

__version__ = "0.2.0"
__all__ = ["__version__", "offload"]

compiled.choose()

if TYPE_CHECKING:
    from wsgid.application.offloading import offload
else:

    def __getattr__(name: str) -> Any:
        if name != "offload":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        found = globals()[name] = importlib.import_module("wsgid.application.offloading").offload
        return found
