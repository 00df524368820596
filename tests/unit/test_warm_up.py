"""What a template and a worker prepare at their first use of it is prepared once, before the first fork."""

import subprocess
import sys

PROGRAM = """
import wsgid.template
from wsgid import records, warm_up
from wsgid.ipc import messages
from wsgid.linux.thread_times import ThreadTimes
from wsgid.protocol.http import Limits
from wsgid.serving.http_connection import BodyRate, Leaving
from wsgid.sockets.listen_spec import ListenSpec

used = (messages.FROM_TEMPLATE | messages.FROM_WORKER) - {
    messages.SpawnFailed, messages.BootFailed, messages.Notice, messages.Tired, messages.SourceChanged,
    messages.Connections,  # those of options, and of failures
} | {messages.ForkSpare, messages.Boot, messages.Spawn, messages.Lead, messages.Drain}
warm_up.run()
for each in {*used, ListenSpec, Limits, BodyRate, Leaving, ThreadTimes}:
    if each.__init__ in (records._first_init, records._compile_init):
        print(each.__name__)
"""


def test_each_start_finds_its_records_prepared() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.split() == []
