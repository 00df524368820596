"""Start one of wsgid's own programs (the template, the child of --check) with the interpreter that runs now.

Rules
* The interpreter starts with -P. The application's directory must not shadow the standard library before gevent has
  patched it.
* A start script may have built sys.path itself, as the scripts of buildout, Nix and pex do.  The new process would then
  find no wsgid, or another wsgid.  In that case the new process gets the missing entries of our sys.path, at the front,
  where such a script puts them.  Otherwise its own sys.path counts, so that a reload sees new installations.
* The entries are passed as arguments, not in PYTHONPATH, because programs of the application would inherit PYTHONPATH.
* The new process gets the same interpreter options (-O, -E, -s, -W, -X ...) as this process.
"""

import os
import re
import sys
from contextlib import suppress

import wsgid

# This does what python -m does, except for the path.  It imports nothing that -m would not import.
_PROGRAM = """\
import importlib.util, runpy, sys
_, module, origin, count, *rest = sys.argv
path, sys.argv[:] = rest[:int(count)], [module, *rest[int(count):]]
found = importlib.util.find_spec("wsgid")
if found is None or found.origin != origin:
    sys.path[:0] = [entry for entry in path if entry not in sys.path]
del path, rest, found
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""

_INSTALLED_INTO = ("site-packages", "dist-packages")
_FLAGS = {
    "optimize": "O",
    "dont_write_bytecode": "B",
    "no_user_site": "s",
    "no_site": "S",
    "ignore_environment": "E",
    "isolated": "I",
    "bytes_warning": "b",
    "verbose": "v",
}


def command(module: str, *arguments: str, optimize: int = 0) -> list[str]:
    """Return the command line that runs a module of wsgid as a program.

    Args:
        optimize: how many -O the interpreter gets, at least.
        module: for example `wsgid.template`.
        arguments: what the module finds in sys.argv after its name.
    """
    path = own_path()
    more = ["-" + "O" * optimize] if optimize > sys.flags.optimize else []
    origin = wsgid.__spec__.origin if wsgid.__spec__ else None
    return [
        sys.executable,
        "-P",
        *more,
        *_options(),
        "-c",
        _PROGRAM,
        module,
        str(origin),
        str(len(path)),
        *path,
        *arguments,
    ]


def _options() -> list[str]:
    """Return the options that this interpreter was started with, as sys.flags reports them."""
    said = [option * getattr(sys.flags, name) for name, option in _FLAGS.items()]
    options = [f"-{letters}" for letters in said if letters]
    inherited = os.environ.get("PYTHONWARNINGS", "").split(",")
    options += [f"-W{warning}" for warning in sys.warnoptions if warning not in inherited]
    for name, value in sys._xoptions.items():
        options.append(f"-X{name}" if value is True else f"-X{name}={value}")
    return options


def own_path() -> list[str]:
    """Return sys.path without the entry that the interpreter itself has put at the front (sys.flags.safe_path). With -m
    that entry is the working directory, otherwise the directory of the script."""
    path = [entry for entry in sys.path if entry]
    if sys.flags.safe_path:
        return path
    started_as_module = getattr(sys.modules["__main__"], "__spec__", None) is not None
    added = path[0] if started_as_module and path else os.path.dirname(os.path.realpath(sys.argv[0]))
    if added in path:
        path.remove(added)
    return path


def say_safe_path() -> None:
    """Let sys.flags say -P, as in an executed process: programs that the application starts with our options
    (multiprocessing) get -P then."""
    import ctypes  # here, because the command does not need it

    names = re.findall(r"(\w+)=", repr(sys.flags))  # in the order of the fields (Objects/structseq.c)
    set_item = ctypes.pythonapi.PyStructSequence_SetItem
    set_item.argtypes, set_item.restype = [ctypes.py_object, ctypes.c_ssize_t, ctypes.py_object], None
    set_item(sys.flags, names.index("safe_path"), True)


def installed() -> list[tuple[str, int, int]]:
    """What is installed for this interpreter, as far as it shows.

    Returns:
        The directories into which packages are installed, and the .pth files there (module `site`), each with its inode
        and the time of its last change in ns.  An installation makes, removes or replaces something in such a
        directory.  If the path leads over a symlink that is switched to another environment, the inode is another one.
    """
    found = []
    for directory in sys.path:
        if os.path.basename(directory) not in _INSTALLED_INTO:
            continue
        with suppress(OSError):  # no directory
            with os.scandir(directory) as entries:
                paths = [directory, *sorted(entry.path for entry in entries if entry.name.endswith(".pth"))]
            for path in paths:
                status = os.stat(path)
                found.append((path, status.st_ino, status.st_mtime_ns))
    return found
