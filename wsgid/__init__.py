"""wsgid: a WSGI application server for gevent workers behind nginx's uwsgi_pass.

This module only chooses the form of the hot path. The template process imports it before it patches for gevent.
Applications find `wsgid.offload`, `wsgid.hooks` and `wsgid.limits` here. They are imported when they are used: the
master imports no gevent.
"""

from wsgid import compiled

__version__ = "0.2.0"
__all__ = ["__version__", "hooks", "limits", "offload"]

compiled.choose()

TYPE_CHECKING = False  # as in typing, which takes as long to import as a tenth of `wsgid --version`
if TYPE_CHECKING:
    from wsgid import hooks, limits
    from wsgid.application.offloading import offload
else:

    def __getattr__(name: str) -> object:
        import importlib

        if name in ("hooks", "limits"):
            return importlib.import_module(f"wsgid.{name}")
        if name != "offload":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = importlib.import_module("wsgid.application.offloading").offload
        return found
