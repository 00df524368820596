"""The remedy in the sentence about a refused system call fits the error."""

import errno
import os

import pytest

from wsgid.linux.syscall_errors import named, words


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.EPIPE, "sendmsg Boot: Broken pipe (EPIPE); the process at the other end has ended, "),
        (errno.EMFILE, "sendmsg Boot: Too many open files (EMFILE); raise the limit of open files "),
        (
            errno.EAGAIN,
            "sendmsg Boot: Resource temporarily unavailable (EAGAIN); the process at the other end does not",
        ),
        (errno.E2BIG, "sendmsg Boot: Argument list too long (E2BIG); shorten --env or the environment: "),
        (errno.EIO, "sendmsg Boot: Input/output error (EIO); look into the kernel's log (dmesg)"),
    ],
)
def test_the_remedy_is_that_of_the_error(code: int, sentence: str) -> None:
    with pytest.raises(OSError) as refusal, named("sendmsg", "Boot"):
        raise OSError(code, os.strerror(code))
    assert words(refusal.value).startswith(sentence)
