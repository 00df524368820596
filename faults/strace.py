"""System calls of one process, recorded by strace(1), or made to fail: the call itself is not made, its error is given.

Rules
* Only the named process is traced, never its children: strace without -f.
* A call is known by its shape: its line in strace's log without numbers and addresses.
* Errors are the errors of the manual (section 2) that a machine can give. Left out are errors that say that the program
  itself is wrong (EBADF, EFAULT, EINVAL, ENOTSOCK and the like), calls for which the manual has no other errors, and
  brk(2): the kernel's brk gives no error but the old break, so the C library would take an error number for an address.
"""

import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ERRORS: dict[str, str] = {
    "accept4": "ECONNABORTED EINTR EMFILE ENFILE ENOBUFS ENOMEM EPERM EPROTO",
    "bind": "EACCES EADDRINUSE EADDRNOTAVAIL ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR EROFS",
    "chdir": "EACCES EIO ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR",
    "chmod": "EACCES EIO ELOOP ENOENT ENOMEM ENOTDIR EPERM EROFS",
    "clone": "EAGAIN ENOMEM ENOSPC EPERM EUSERS",
    "clone3": "EAGAIN ENOMEM ENOSPC EPERM EUSERS",
    "close": "EINTR EIO ENOSPC EDQUOT",
    "connect": "EACCES EADDRNOTAVAIL EAGAIN ECONNREFUSED EINTR ENETUNREACH EPERM ETIMEDOUT",
    "dup2": "EBUSY EINTR EMFILE",
    "dup3": "EBUSY EINTR EMFILE",
    "epoll_create1": "EMFILE ENFILE ENOMEM",
    "epoll_ctl": "ELOOP ENOMEM ENOSPC EPERM",
    "epoll_wait": "EINTR",
    "execve": "E2BIG EACCES EAGAIN EIO EISDIR ELIBBAD ELOOP EMFILE ENFILE ENOENT ENOEXEC ENOMEM ENOTDIR EPERM ETXTBSY",
    "fchdir": "EACCES EIO",
    "fchmod": "EIO EPERM EROFS",
    "fcntl": "EACCES EAGAIN EPERM",
    "ftruncate": "EFBIG EINTR EIO EPERM",
    "getcwd": "EACCES ENOENT ENOMEM",
    "getpriority": "ESRCH",
    "getrandom": "EAGAIN EINTR ENOSYS",
    "getsockname": "ENOBUFS",
    "getsockopt": "ENOPROTOOPT",
    "ioctl": "ENOTTY",
    "kill": "EPERM ESRCH",
    "listen": "EADDRINUSE",
    "lseek": "EOVERFLOW ESPIPE",
    "memfd_create": "EMFILE ENFILE ENOMEM EPERM",
    "mknodat": "EACCES EDQUOT EEXIST ENOENT ENOMEM ENOSPC ENOTDIR EPERM EROFS",
    "mmap": "EACCES EAGAIN ENFILE ENODEV ENOMEM EPERM",
    "mprotect": "EACCES ENOMEM",
    "munmap": "ENOMEM",
    "newfstatat": "EACCES ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR EOVERFLOW",
    "openat": (
        "EACCES EDQUOT EINTR EIO EISDIR ELOOP EMFILE ENFILE ENODEV ENOENT ENOMEM ENOSPC ENOTDIR ENXIO EPERM "
        "EROFS ETXTBSY"
    ),
    "pipe2": "EMFILE ENFILE",
    "poll": "EINTR ENOMEM",
    "prctl": "EPERM",
    "pread64": "EINTR EIO ENXIO EOVERFLOW",
    "read": "EAGAIN EINTR EIO",
    "readlink": "EACCES EIO ELOOP ENOENT ENOMEM ENOTDIR",
    "readlinkat": "EACCES EIO ELOOP ENOENT ENOMEM ENOTDIR",
    "recvfrom": "EAGAIN ECONNREFUSED EINTR ENOMEM",
    "recvmsg": "EAGAIN ECONNREFUSED EINTR ENOMEM",
    "rename": "EACCES EBUSY EDQUOT EIO ENOENT ENOMEM ENOSPC ENOTDIR EPERM EROFS EXDEV",
    "sendmsg": "EAGAIN ECONNRESET EINTR ENOBUFS ENOMEM EPIPE ETOOMANYREFS",
    "sendto": "EAGAIN ECONNRESET EINTR ENOBUFS ENOMEM EPIPE",
    "setpriority": "EACCES EPERM ESRCH",
    "setsockopt": "ENOBUFS ENOMEM ENOPROTOOPT EPERM",
    "socket": "EACCES EAFNOSUPPORT EMFILE ENFILE ENOBUFS ENOMEM",
    "socketpair": "EAFNOSUPPORT EMFILE ENFILE EPROTONOSUPPORT",
    "unlink": "EACCES EBUSY EIO EISDIR ELOOP ENOENT ENOMEM ENOTDIR EPERM EROFS",
    "vfork": "EAGAIN ENOMEM",
    "wait4": "EAGAIN ECHILD EINTR",
    "write": "EAGAIN EDQUOT EFBIG EINTR EIO ENOSPC EPERM EPIPE",
}

_CALL = re.compile(r"([a-z]\w*)\(")
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+")
_SHAPE_MAX_CHARS = 160
# Python's own handler of signals writes to the pipe that wakes the master. No code of wsgid runs there. The kernel can
# give only the error EAGAIN there, and only after 65,536 signals that were not read.
_PYTHONS = "write(#<pipe:"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a recorded life."""

    name: str
    number: int  # its number among the calls of its name, from 1 on
    shape: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One call that is made to fail."""

    call: Call
    error: str  # its name in errno(3)

    def __str__(self) -> str:
        return f"{self.call.name} {self.error} ({self.call.shape})"

    def arguments(self) -> list[str]:
        name = self.call.name
        failing = f"inject={name}:error={self.error}:when={self.call.number}"
        return ["-y", "-e", f"trace={name},execve,pipe2", "-e", failing]


def shape(text: str) -> str:
    """A line of the log, or a part of a line, without numbers and addresses."""
    return _NUMBER.sub("#", text)


def calls(log: Path) -> list[Call]:
    """The calls in a log of `recording`, in their order."""
    counts: Counter[str] = Counter()
    found = []
    for line in log.read_text(errors="replace").splitlines():
        match = _CALL.match(line)
        if match:
            counts[match[1]] += 1
            found.append(Call(match[1], counts[match[1]], shape(line)[:_SHAPE_MAX_CHARS]))
    return found


def faults(recorded: Iterable[Call]) -> list[Fault]:
    """The first call of each shape, with each of its errors."""
    firsts: dict[str, Call] = {}
    for call in recorded:
        if call.shape.startswith(_PYTHONS):
            continue
        firsts.setdefault(call.shape, call)
    return [Fault(call, error) for call in firsts.values() for error in ERRORS.get(call.name, "").split()]


def injected(log: Path) -> tuple[list[str], bool]:
    """The shapes of the calls that were made to fail, and whether Python made one of them between execve(2) and the
    pipe for signals. That pipe is wsgid's first call: a fault before it says nothing about wsgid."""
    found, is_pythons, was_pythons = [], False, False
    for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
        is_failed = "(INJECTED)" in line
        is_pythons = not line.startswith("pipe2(") and (is_pythons or (line.startswith("execve(") and not is_failed))
        if is_failed and is_pythons:
            was_pythons = True
        elif is_failed:
            found.append(shape(line)[:_SHAPE_MAX_CHARS])
    return found, was_pythons


def covering(found: list[Fault]) -> list[Fault]:
    """Enough of these faults for a failure at each place, and for each call with each of its errors."""
    by_place: dict[str, list[Fault]] = {}
    for fault in found:
        by_place.setdefault(fault.call.shape, []).append(fault)
    errors: set[tuple[str, str]] = set()
    chosen = []
    for number, faults_there in enumerate(by_place.values()):
        fresh = [fault for fault in faults_there if (fault.call.name, fault.error) not in errors]
        picked = fresh[:2] or [faults_there[number % len(faults_there)]]
        chosen += picked
        errors |= {(fault.call.name, fault.error) for fault in picked}
    return chosen + [
        fault
        for fault in {(fault.call.name, fault.error): fault for fault in found}.values()
        if (fault.call.name, fault.error) not in errors
    ]


RECORDING = ["-y", "-e", "trace=all"]


def command(log: Path, arguments: list[str]) -> list[str]:
    """The command that starts a program under strace. strace becomes the program's child, so the pid that is started is
    the program's."""
    return ["strace", "-D", "-o", str(log), "-e", "signal=none", *arguments, "--"]


@contextmanager
def attached(pid: int, log: Path, arguments: list[str]) -> Iterator[None]:
    """Within this, record the calls of a running process, or make one of them fail."""
    tracer = subprocess.Popen(
        ["strace", "-p", str(pid), "-o", str(log), "-e", "signal=none", *arguments], stderr=subprocess.PIPE, text=True
    )
    assert tracer.stderr
    try:
        said = tracer.stderr.readline()
        if "attached" not in said:
            raise RuntimeError(f"strace cannot trace the master: {said.strip()}; it needs ptrace(2) (CAP_SYS_PTRACE)")
        yield
    finally:
        tracer.terminate()
        tracer.wait()
        tracer.stderr.close()
