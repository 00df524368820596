"""wsgid: a WSGI application server for gevent workers behind nginx's uwsgi_pass.

This module only chooses the form of the hot path. The template process imports it before it patches for gevent.
Applications find `wsgid.offload`, `wsgid.hooks` and `wsgid.limits` here. They are imported when they are used: the
master imports no gevent.
"""

from typing import TYPE_CHECKING, Any

from wsgid import compiled

__version__ = "0.2.0"
__all__ = ["__version__", "hooks", "limits", "offload"]

compiled.choose()

if TYPE_CHECKING:
    from wsgid import hooks, limits
    from wsgid.application.offloading import offload
else:

    def __getattr__(name: str) -> Any:
        import importlib

        if name in ("hooks", "limits"):
            return importlib.import_module(f"wsgid.{name}")
        if name != "offload":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = importlib.import_module("wsgid.application.offloading").offload
        return found
