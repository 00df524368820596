"""An application that attacks its master: the moves, and the client that makes workers carry them out.

    FATAL     moves that the master answers by closing the channel and killing the worker
    HARMLESS  moves that can only make the worker's own numbers wrong

    TEMPLATE  moves of an import, which the master answers by killing the template

Rules
* A move is JSON: [name, arguments]. The application in APP carries the move out within a worker.
* Random choices come from the caller's random.Random, so that a run can be repeated.
"""

import json
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support import client

Move = tuple[str, dict[str, Any]]
APP = '''
import array, ctypes, fcntl, json, mmap, os, socket, stat, time


def channel():
    """The worker's end of its channel to the master."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found = socket.socket(fileno=os.dup(int(name)))
                if found.type == socket.SOCK_SEQPACKET:
                    return found
                found.close()
        except OSError:
            continue


def scoreboard():
    for name in os.listdir("/proc/self/fd"):
        try:
            if "wsgid-scoreboard" in os.readlink(f"/proc/self/fd/{name}"):
                return int(name)
        except OSError:
            continue


def say(text="", datagrams=1, fds=0):
    there = channel()
    there.setblocking(True)
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(fds)]
    ride = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", held))] if held else []
    for _ in range(datagrams):
        there.sendmsg([text.encode()], ride)


def in_its_name(text):
    if ctypes.PyDLL(None).fork() == 0:  # without the hooks of os.fork, which take the channel from a child
        try:
            say(text)
        finally:
            os._exit(0)


def poke(values):
    with mmap.mmap(scoreboard(), 0) as memory:
        words = memoryview(memory).cast("Q")
        for place, value in values:
            words[place % len(words)] = value
        words.release()


def truncate(size):
    os.ftruncate(scoreboard(), size)


def die():
    os.kill(os.getpid(), 9)


MOVES = {"die": die, "say": say, "in_its_name": in_its_name, "poke": poke, "truncate": truncate}


def application(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] != "/attack":
        return [b"fine"]
    name, arguments = json.loads(environ["wsgi.input"].read())
    if environ["QUERY_STRING"] == "fatal":  # the slot of a worker that dies young rests, longer each time
        time.sleep(max(BORN[0] + 1.1 - time.monotonic(), 0))
    try:
        MOVES[name](**arguments)
    except OSError as error:
        return [str(error).encode()]
    return [b"done"]


BORN = [time.monotonic()]
os.register_at_fork(after_in_child=lambda: BORN.__setitem__(0, time.monotonic()))
if os.path.exists("import.json"):  # the template attacks
    name, arguments = json.load(open("import.json"))
    MOVES[name](**arguments)
'''
_LARGEST = (1 << 64) - 1


def _message(kind: str, **fields: Any) -> Move:
    return "say", {"text": json.dumps({"type": kind, **fields})}


# Each function takes the random generator, and the pid of a process that does not belong to the server.
FATAL: dict[str, Callable[[random.Random, int], Move]] = {
    "hello-again": lambda chance, pid: _message("Hello"),
    "hello-of-a-stranger": lambda chance, pid: _message("Hello", slot=0, generation=0, pid=pid),
    "hello-of-everybody": lambda chance, pid: _message("Hello", slot=0, generation=0, pid=-1),
    "hello-of-a-path": lambda chance, pid: _message("Hello", slot=0, generation=0, pid="self/root/tmp/fifo/.."),
    "ready-twice": lambda chance, pid: _message("Ready"),
    "boot-failed-late": lambda chance, pid: _message("BootFailed", reason="none", traceback=""),
    "unknown-cause": lambda chance, pid: _message("Tired", cause="boredom", reason="none"),
    "list-for-text": lambda chance, pid: _message("Notice", key=[], text="x"),
    "number-for-text": lambda chance, pid: _message("Notice", key="key", text=chance.randrange(1 << 80)),
    "long-text": lambda chance, pid: _message("Notice", key="key", text="x" * chance.randrange(10_000, 100_000)),
    "source-without-autoreload": lambda chance, pid: _message("SourceChanged", path="/x", stamp="1"),
    "connections-without-metrics": lambda chance, pid: _message("Connections", counts={"a": 1}),
    "connections-of-lists": lambda chance, pid: _message("Connections", counts={"a": [1]}),
    "too-many-peers": lambda chance, pid: _message("Connections", counts=dict.fromkeys(map(str, range(1000)), 1)),
    "spawn-failed": lambda chance, pid: _message("SpawnFailed", slot=9999, reason="x"),
    "template-ready": lambda chance, pid: _message("TemplateReady"),
    "the-master-s-word": lambda chance, pid: _message("Drain", backlog="leave", mercy_s=0),
    "nested": lambda chance, pid: ("say", {"text": "[" * 100_000}),
    "nonsense": lambda chance, pid: ("say", {"text": "".join(map(chr, chance.choices(range(256), k=300)))}),
    "dumps-again": lambda chance, pid: ("say", {"text": '{"type": "Dumps"}', "fds": 1}),
    "descriptors": lambda chance, pid: ("say", {"text": '{"type": "Notice", "key": "k", "text": "t"}', "fds": 200}),
    "flood": lambda chance, pid: (
        "say",
        {"text": f'{{"type": "Notice", "key": "{chance.random()}", "text": "t"}}', "datagrams": 10_000},
    ),
    "death": lambda chance, pid: ("die", {}),
    "another-process": lambda chance, pid: ("in_its_name", {"text": '{"type": "Notice", "key": "k", "text": "t"}'}),
}
TEMPLATE = (
    "hello-of-a-stranger",
    "spawn-failed",
    "the-master-s-word",
    "nested",
    "nonsense",
    "descriptors",
    "flood",
    "ready-twice",
    "another-process",
)
HARMLESS: dict[str, Callable[[random.Random, int], Move]] = {
    "truncate": lambda chance, pid: ("truncate", {"size": chance.randrange(1 << 16)}),
    "grow": lambda chance, pid: ("truncate", {"size": 1 << 30}),
    "largest-counts": lambda chance, pid: ("poke", {"values": [(place, _LARGEST) for place in range(4, 32)]}),
    "random-words": lambda chance, pid: (
        "poke",
        {"values": [(chance.randrange(4, 32), chance.randrange(1 << 64)) for _ in range(20)]},
    ),
    "notice": lambda chance, pid: _message("Notice", key=str(chance.random()), text="\x1b]0;owned\x07\n"),
}


def move(name: str, chance: random.Random, stranger_pid: int) -> Move:
    """The move with this name."""
    return (FATAL.get(name) or HARMLESS[name])(chance, stranger_pid)


class Attacker:
    """Makes workers attack, and counts the moves.

    Args:
        address: of the server.
        chance: draws the moves.
        stranger_pid: of a process that does not belong to the server, and that the server must not signal.
    """

    def __init__(self, address: Path, chance: random.Random, stranger_pid: int) -> None:
        self._address = address
        self._chance = chance
        self._stranger_pid = stranger_pid
        self._lock = threading.Lock()
        self.moves = 0
        self.fatal = 0

    def attack_by_chance(self, moves: int) -> None:
        """Make at most this many harmless moves, and one fatal move."""
        with self._lock:
            harmless = self._chance.choices([*HARMLESS], k=self._chance.randrange(moves))
            fatal = self._chance.choice([*FATAL])
        self.attack(harmless, fatal)

    def attack(self, harmless: list[str], fatal: str) -> None:
        """Make these moves in the workers that take the connections."""
        with self._lock:
            made = [move(name, self._chance, self._stranger_pid) for name in harmless]
            last = move(fatal, self._chance, self._stranger_pid)
        for each in made:
            self._send(each, "")
        self._send(last, "fatal")

    def _send(self, made: Move, kind: str) -> None:
        packet = client.packet("/attack", json.dumps(made).encode(), QUERY_STRING=kind)
        with suppress(OSError):  # the worker was killed
            client.exchange(self._address, packet)
        with self._lock:
            self.moves += 1
            self.fatal += kind == "fatal"
