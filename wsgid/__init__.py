"""wsgid: a WSGI application server for gevent workers behind nginx's uwsgi_pass.

This module only chooses the form of the hot path. The template process imports it before it patches for gevent.
Applications find `wsgid.offload` and `wsgid.hooks` here. Both are imported when they are used: the master imports no
gevent.
"""

from typing import TYPE_CHECKING, Any

from wsgid import compiled

__version__ = "0.2.0"
__all__ = ["__version__", "hooks", "offload"]

compiled.choose()

if TYPE_CHECKING:
    from wsgid import hooks
    from wsgid.application.offloading import offload
else:

    def __getattr__(name: str) -> Any:
        import importlib

        if name == "hooks":
            return importlib.import_module("wsgid.hooks")
        if name != "offload":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = importlib.import_module("wsgid.application.offloading").offload
        return found
