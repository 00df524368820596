"""Each system call of the master fails, one at a time: a sample of `make faults ONLY=syscalls`.

The long form makes each system call fail with each of its errors.
"""

import errno
import re
from pathlib import Path

import pytest

from faults import strace
from faults.scenarios import syscalls
from faults.scenarios.syscalls import Pick

SAMPLE = {
    "start": "pipe2 EMFILE, openat EMFILE, bind EACCES, memfd_create ENOMEM, epoll_create1 EMFILE",
    "respawn": "socketpair EMFILE, epoll_ctl ENOMEM, sendmsg ENOBUFS, recvmsg ENOMEM, wait4 EAGAIN, close EIO, "
    "write ENOSPC",
    "reload": "sendmsg ETOOMANYREFS, recvmsg ENOMEM, setpriority EACCES",
    "reload without a spare": "socketpair EMFILE, clone EAGAIN, clone3 EAGAIN, vfork EAGAIN, epoll_ctl ENOSPC",
    "upgrade": "chdir ENOENT, execve ENOENT",
    "rotation": "openat EMFILE, dup2 EBUSY, dup3 EBUSY, sendmsg ENOBUFS",
    "questions": "accept4 EMFILE, epoll_ctl ENOMEM, recvfrom ENOMEM, sendto ENOBUFS, socket EMFILE, openat EMFILE, "
    "pread64 EIO, ftruncate EIO",
    "resize": "socketpair EMFILE, sendmsg ENOMEM",
    "stop": "unlink EACCES, sendmsg ENOMEM, close EIO",
}


@pytest.mark.parametrize("part", SAMPLE)
def test_a_fault_is_survived(part: str) -> None:
    found = syscalls.run(Pick(*SAMPLE[part].split(", ")), (part,))
    (result,) = syscalls.results(found)
    assert result.held, "\n".join([result.measured, *found[part].troubles])


def test_each_error_is_one_that_this_system_has() -> None:
    for name, errors in strace.ERRORS.items():
        assert re.fullmatch(r"[a-z]\w*", name) and all(hasattr(errno, error) for error in errors.split()), name


def test_calls_are_known_by_their_shape(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "close(7<socket:[17]>) = 0\nclose(8<socket:[18]>) = 0\n--- SIGTERM {si_signo=SIGTERM} ---\n"
        'close(9</tmp/x>) = 0\ngetpid() = 4\nwrite(4<pipe:[19]>, "\\17", 1) = 1\n'
    )
    assert [(call.name, call.number) for call in strace.calls(log)] == [
        ("close", 1),
        ("close", 2),
        ("close", 3),
        ("getpid", 1),
        ("write", 1),
    ]
    found = strace.faults(strace.calls(log))
    assert {fault.call.number for fault in found} == {1, 3}  # and no call of Python's own signal handler
    assert {fault.error for fault in found} == {"EINTR", "EIO", "ENOSPC", "EDQUOT"}
    log.write_text("close(7) = -1 EIO (Input/output error) (INJECTED)\nclose(8) = 0\n")
    failed = "close(#) = -# EIO (Input/output error) (INJECTED)"
    assert strace.injected(log) == ([failed], False)
    log.write_text('execve("x") = 0\nclose(7) = -1 EIO (Input/output error) (INJECTED)\npipe2([3, 4]) = 0\n')
    assert strace.injected(log) == ([], True)  # a call of Python itself
    log.write_text('execve("x") = 0\npipe2([3, 4]) = 0\nclose(7) = -1 EIO (Input/output error) (INJECTED)\n')
    assert strace.injected(log) == ([failed], False)


def test_a_cover_has_each_place_and_each_error() -> None:
    found = strace.faults([strace.Call("close", number, f"close({name})") for number, name in enumerate("abcdefg", 1)])
    chosen = strace.covering(found)
    assert {fault.call for fault in chosen} == {fault.call for fault in found}
    assert {fault.error for fault in chosen} == {fault.error for fault in found} and len(chosen) < len(found)
