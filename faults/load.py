"""Reloads, stops, upgrades and violent deaths under load: what visitors notice of them.

Each scenario serves behind a real nginx, counts every request that its clients began, and ends with a look at what is
left: the exit code, the socket file, processes.  The rows `..._counts` hold on any machine; times are rows of their
own, since they also depend on what else the machine does.
"""

import itertools
import os
import random
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from signal import Signals
from statistics import median
from textwrap import dedent

from faults.clients import REFUSED, RIGHT, TIMED_OUT, WRONG, Kind, Load, Plan, percentile
from faults.report import Result, Scenario
from tests.support.server import PATIENCE_S, Server, eventually
from tools.nginx import EXAMPLES, Nginx, example
from wsgid.supervisor.backoff import BACKOFF_MAX_S, backoff_s, failures_after

FAST_P99_BAR_S = 0.1
NEW_CODE_BAR_S = 0.5
REPLACED_BAR_S = 0.1
REBOUND_BAR_S = 3.0
SILENCE_BAR_S = 5.0

CLIENTS = 64
PLACES = 8  # --gevent of the servers that are stopped
PAUSE_S = 0.02  # between a client's requests: a machine that is busy, but not with nothing else

APP = dedent("""
    import os, time
    VERSION = "v0"
    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/poison":
            os.kill(os.getpid(), 9)
        if path == "/sleep":
            time.sleep(0.2)
        if path == "/long":
            time.sleep(2)
        body = f"{VERSION} {environ['QUERY_STRING']} ".encode()
        if path == "/large":
            body = body.ljust(100_000, b"x")
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]
""")
ANSWER = r"(?P<version>v\d+) ID x*"
FAST = Kind("/?ID", ANSWER)
SLEEP = Kind("/sleep?ID", ANSWER)
LARGE = Kind("/large?ID", ANSWER, 100_000)
LONG = Kind("/long?ID", ANSWER)
MIXED = (FAST, SLEEP, LARGE, FAST)

# Of the Flask example.  The first three are sent in one piece, so that a killed worker has sent all or nothing.
PAGES = (
    Kind("/", ".*Hello from wsgid.*"),
    Kind("/slow?s=0.2", r"slept 0\.2 s in worker \d+\n"),
    Kind("/form", '.*<form method="post">.*'),
)
FLASK = (*PAGES, Kind("/download", '"""A small Flask site.*', (EXAMPLES / "flask_app.py").stat().st_size))

COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}  # as on a site: start-up times with .pyc files
READY = r"worker (\d+) \(generation \d+, pid (\d+)\) is ready$"
KILLED = r"worker (\d+) \(generation \d+, pid (\d+)\) was killed by SIGKILL(?: with (\d+) requests in flight)?$"


# --- what is served, and what is left of it ---


@contextmanager
def serving(*arguments: str, workers: int = 4, app: str = APP) -> Iterator[Server]:
    """A server on app.sock in a directory of its own; without an application among the arguments, of `app`."""
    with tempfile.TemporaryDirectory(prefix="wsgid-faults-") as directory:
        server = start(Path(directory), *(arguments or ("app:application",)), workers=workers, app=app)
        try:
            yield server.wait_ready(workers)
        finally:
            server.end()


def start(directory: Path, *arguments: str, workers: int, app: str = APP) -> Server:
    (directory / "app.py").write_text(app)
    return Server(
        directory, "--socket", str(directory / "app.sock"), "--workers", str(workers), *arguments, environ=COMPILED
    )


def flask(*arguments: str) -> tuple[str, ...]:
    return ("--chdir", str(EXAMPLES), *arguments, "flask_app:application")


def nginx_for(server: Server, times: int = 2, server_directives: str = "") -> Nginx:
    """The example's site, which lists the socket twice; another number of times is listed the same way."""
    address = f"unix:{server.directory}/app.sock"
    addresses = [address] if times == 2 else [f"{address} max_fails=0"] * times
    return Nginx(example("flask_nginx.conf", *addresses), server=server_directives)


def http(nginx: Nginx) -> str:
    return f"{nginx.host}:{nginx.port}"


def ended(server: Server, signo: Signals = Signals.SIGTERM) -> Result:
    """Stop the server if it runs, and look at what is left."""
    bar = "exit code 0; no process, no socket file is left"
    try:
        code = server.stop(signo)
        server.assert_nothing_left()
    except AssertionError as error:
        return Result(bar, f"{error}"[:200], False)
    return Result(bar, f"exit code {code}", code == 0)


# --- rows ---


def none_failed(load: Load) -> list[Result]:
    """Every request was answered with 200, and with the whole body that belongs to it."""
    outcomes = load.outcomes()
    wrong = outcomes[WRONG]
    failed = sum(outcomes.values()) - outcomes[RIGHT] - wrong
    return [
        Result("0 requests failed", _of(failed, load), failed == 0 and outcomes[RIGHT] > 0),
        Result("0 wrong answers", _of(wrong, load), wrong == 0),
    ]


def _of(count: int, load: Load) -> str:
    """'3 of 12,345', and what the three asked for and got."""
    others = Counter(f"{load.plan.kinds[one.kind].path} {one.outcome}" for one in load.failed())
    said = ", ".join(f"{many} x {what}" for what, many in others.items())
    return f"{count} of {len(load.records):,}" + (f" ({said})" if count else "")


def fast_ones(load: Load) -> Result:
    """How long the fast ones took, seen by their clients."""
    times_s = [
        one.ended_s - one.started_s
        for one in load.records
        if one.outcome == RIGHT and load.plan.kinds[one.kind] == FAST
    ]
    p99_s = percentile(times_s, 0.99)
    return Result(
        f"p99 of fast requests below {FAST_P99_BAR_S * 1000:.0f} ms",
        f"p50 {percentile(times_s, 0.5) * 1000:.1f}, p99 {p99_s * 1000:.1f}, "
        f"max {max(times_s, default=0) * 1000:.1f} ms",
        bool(times_s) and p99_s < FAST_P99_BAR_S,
    )


def said_s(line: str) -> float:
    """When a line of the log was written, as time.time() has it."""
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()


# --- reload, upgrade ---


@dataclass
class Roll:
    """One run of reloads or upgrades."""

    load: Load
    log: list[str] = field(default_factory=list)
    signalled_s: list[float] = field(default_factory=list)  # time.monotonic()
    end: Result | None = None

    def counts(self) -> list[Result]:
        assert self.end
        return [*none_failed(self.load), self.end]


def roll(signo: Signals, clients: int, count: int, period_s: float, pause_s: float = PAUSE_S) -> Roll:
    """Send the signal again and again under mixed load, each time after the application has got a new version."""
    with serving() as server:
        with nginx_for(server) as nginx, Load(Plan(http(nginx), MIXED, clients, pause_s)) as load:
            run = Roll(load)
            for number in range(1, count + 1):
                time.sleep(period_s)
                write_version(server, number)
                run.signalled_s.append(time.monotonic())
                server.send_signal(signo)
            time.sleep(period_s)
        run.end = ended(server)
        run.log = server.lines
    return run


def write_version(server: Server, number: int) -> None:
    """Replace the application's source, as an editor does."""
    fresh = server.directory / "app.py.new"
    fresh.write_text(APP.replace("v0", f"v{number}"))
    os.utime(fresh, (number, number))  # a .pyc knows its source by size and whole seconds: too coarse for us
    fresh.rename(server.directory / "app.py")


def switches(run: Roll) -> list[tuple[float, float]]:
    """For each signal: how long after it the first answer of the new version came, and the last of an older one."""
    found = []
    for number, signalled_s in enumerate(run.signalled_s, 1):
        right = [one for one in run.load.records if one.outcome == RIGHT]
        first_s = min((one.ended_s for one in right if one.note == f"v{number}"), default=float("inf"))
        last_s = max((one.ended_s for one in right if int(one.note[1:]) < number), default=signalled_s)
        found.append((first_s - signalled_s, last_s - signalled_s))
    return found


def new_code(run: Roll) -> list[Result]:
    """When which code has answered."""
    firsts_s, lasts_s = zip(*switches(run))
    readies_s = [ready_after_s(run.log, number) for number in range(1, len(firsts_s) + 1)]
    return [
        Result(
            f"first answer of new code within {NEW_CODE_BAR_S:g} s of the signal",
            _spread(firsts_s),
            max(firsts_s) < NEW_CODE_BAR_S,
        ),
        Result("of that, until its first worker was ready (no bar)", _spread(readies_s), True),
        Result("last answer of old code after the signal (no bar)", _spread(lasts_s), True),
    ]


def ready_after_s(log: list[str], generation: int) -> float:
    """From the line of the reload that made this generation to the one of its first ready worker."""
    asked = [said_s(line) for line in log if "SIGHUP: reloading the application" in line]
    ready = [said_s(line) for line in log if re.search(rf"\(generation {generation}, pid \d+\) is ready$", line)]
    return ready[0] - asked[generation - 1] if ready else float("inf")


def _spread(values_s: tuple[float, ...] | list[float]) -> str:
    return f"median {median(values_s):.2f}, max {max(values_s):.2f} s of {len(values_s)}" if values_s else "none"


def reload() -> list[Result]:
    run = roll(Signals.SIGHUP, CLIENTS, 6, 3.0)
    return [*run.counts(), fast_ones(run.load), *new_code(run)]


def upgrade() -> list[Result]:
    run = roll(Signals.SIGUSR2, CLIENTS, 3, 5.0)
    return [*run.counts(), upgraded(run), fast_ones(run.load)]


def upgraded(run: Roll) -> Result:
    """How many times the master has executed itself anew, and the new image has listened on."""
    log = "\n".join(run.log)
    count = log.count("wsgid starts anew, in this process")
    return Result(
        "every SIGUSR2 starts wsgid anew",
        f"{count} of {len(run.signalled_s)}",
        count == len(run.signalled_s) == log.count(" listens on ") - 1,
    )


# --- stop ---


def stop() -> list[Result]:
    return [*stop_at_the_socket(), *stop_behind_nginx()]


def stop_at_the_socket(clients: int = 128) -> list[Result]:
    """Count what is lost when SIGTERM comes in the middle of everything; a client ends when it is refused: after the
    unlink nobody has taken its connection, so nothing of it is lost."""
    with serving("--gevent", str(PLACES), "app:application", workers=2) as server:
        with Load(Plan(f"{server.directory}/app.sock", MIXED, clients, ends_with=(REFUSED,))) as load:
            term_s, end = _term(server, load)
    outcomes = load.outcomes()
    lost = len(load.records) - outcomes[RIGHT] - outcomes[REFUSED]
    return [_open_at(load, term_s), Result("0 lost, at the socket", _of(lost, load), lost == 0), end]


def stop_behind_nginx(clients: int = 128) -> list[Result]:
    """The same through nginx, which says 502 when it is refused: as many as its log has failed connects are no loss."""
    with serving("--gevent", str(PLACES), "app:application", workers=2) as server, nginx_for(server) as nginx:
        with Load(Plan(http(nginx), MIXED, clients, ends_with=("status 502",))) as load:
            term_s, end = _term(server, load)
        refused = len(re.findall(r"connect\(\) to unix:\S+ failed", nginx.error_log()))
        others = [line for line in nginx.error_log().splitlines() if "[error]" in line and "connect()" not in line]
    outcomes = load.outcomes()
    lost = len(load.records) - outcomes[RIGHT] - min(outcomes["status 502"], refused)
    return [
        _open_at(load, term_s),
        Result(
            "0 lost, behind nginx (502 of a refused connect aside)",
            f"{_of(lost, load)}; {outcomes['status 502']} x 502 for {refused} refused connects",
            lost == 0 and not others,
        ),
        end,
    ]


def _term(server: Server, load: Load) -> tuple[float, Result]:
    """Stop at a moment when enough requests are open. Returns when, and how it ended."""
    wanted = _open_wanted(load) * 9 // 8  # some end between the look and the signal
    eventually(lambda: _connections(server) >= wanted, f"{wanted} requests are open")
    term_s = time.monotonic()
    return term_s, ended(server)


def _connections(server: Server) -> int:
    """On app.sock, accepted or waiting: the kernel names both after the listener (proc(5), /proc/net/unix)."""
    name = f" {server.directory}/app.sock"
    return sum(line.endswith(name) for line in Path("/proc/net/unix").read_text().splitlines()) - 1


def _open_wanted(load: Load) -> int:
    return min(72, load.plan.clients // 2)


def _open_at(load: Load, moment_s: float) -> Result:
    """Requests that had begun before that moment and ended after it: so many were in flight, or waited for a place."""
    count = sum(one.started_s < moment_s < one.ended_s for one in load.records)
    bar = _open_wanted(load)
    return Result(
        f"at least {bar} requests open at SIGTERM; --gevent has places for {2 * PLACES}",
        str(count),
        count >= bar > 2 * PLACES,
    )


# --- workers that are killed ---


@dataclass
class Kills:
    """One run with violent deaths of workers."""

    load: Load
    log: list[str] = field(default_factory=list)
    killed_s: dict[int, float] = field(default_factory=dict)  # by us: pid -> time.time()
    end: Result | None = None

    def deaths(self) -> list[re.Match[str]]:
        return [match for line in self.log if (match := re.search(KILLED, line))]

    def in_flight(self) -> int:
        """What the killed workers had in flight, by the master's log."""
        return sum(int(match[3] or 0) for match in self.deaths())


def kill_run(
    times_listed: int, directives: str, clients: int, count: int, period_s: float, kinds: tuple[Kind, ...] = FLASK
) -> Kills:
    """kill -9 of a random worker of the Flask example, again and again, under load."""
    with serving(*flask()) as server, nginx_for(server, times_listed, directives) as nginx:
        with Load(Plan(http(nginx), kinds, clients, PAUSE_S)) as load:
            run = Kills(load)
            for number in range(count):
                time.sleep(period_s)
                victim = random.choice(server.worker_pids())
                run.killed_s[victim] = time.time()
                os.kill(victim, Signals.SIGKILL)
                server.wait_for(KILLED, number + 1)
            eventually(lambda: all_ready(server, 4), "every worker is back")
            time.sleep(0.5)  # of requests with all of them
        run.end = ended(server)
        run.log = server.lines
    return run


def all_ready(server: Server, workers: int) -> bool:
    """By the log: as many have said that they are ready, and are not dead."""
    ready = {match[1] for line in server.lines if (match := re.search(r"pid (\d+)\) is ready$", line))}
    dead = {match[2] for line in server.lines if (match := re.search(KILLED, line))}
    return len(ready - dead) == workers


def kill_workers() -> list[Result]:
    run = kill_run(1, "uwsgi_next_upstream off;", 32, 15, 1.0)
    return [*killed_counts(run), replaced(run)]


def killed_counts(run: Kills) -> list[Result]:
    """nginx repeats nothing: what the dead had in flight is lost, and nothing else."""
    failed = len(run.load.failed())
    in_flight = run.in_flight()
    assert run.end
    return [
        Result(
            "only what killed workers had in flight is lost",
            f"{_of(failed, run.load)}; in flight by the log: {in_flight}, of {len(run.deaths())} workers",
            failed <= in_flight and len(run.deaths()) == len(run.killed_s),
        ),
        run.end,
    ]


def replaced(run: Kills) -> Result:
    """From the kill to the ready line of the same slot, by the log's clock, without the pause that the fleet makes on
    purpose after a worker that died young."""
    pauses_s, times_s = zip(*replacements(run))
    bare_s = sorted(time_s - pause_s for time_s, pause_s in zip(times_s, pauses_s))
    return Result(
        f"replacement ready within {REPLACED_BAR_S * 1000:.0f} ms of the kill, back-off aside (median)",
        f"median {median(bare_s) * 1000:.0f}, max {max(bare_s) * 1000:.0f} ms; with the back-off of "
        f"{sum(pause_s > 0 for pause_s in pauses_s)} of {len(times_s)}: median {median(times_s) * 1000:.0f}, "
        f"max {max(times_s) * 1000:.0f} ms",
        median(bare_s) < REPLACED_BAR_S,
    )


def replacements(run: Kills) -> list[tuple[float, float]]:
    """For each kill: the back-off that the fleet's rule gives its slot, and the time to the slot's next ready line."""
    found = []
    failures: dict[str, int] = defaultdict(int)
    ready_s: dict[str, float] = {}  # by slot
    for index, line in enumerate(run.log):
        if ready := re.search(READY, line):
            ready_s[ready[1]] = said_s(line)
        if killed := re.search(KILLED, line):
            slot = killed[1]
            failures[slot] = failures_after(failures[slot], said_s(line) - ready_s.pop(slot, float("inf")))
            again = next(one for one in run.log[index:] if re.search(rf"worker {slot} .* is ready$", one))
            found.append((backoff_s(failures[slot]), said_s(again) - run.killed_s[int(killed[2])]))
    return found


def kill_workers_with_next_upstream() -> list[Result]:
    return repeated_counts(kill_run(2, "", 32, 15, 1.0))


def repeated_counts(run: Kills) -> list[Result]:
    """nginx asks again, another worker answers: nobody notices."""
    assert run.end
    return [
        *none_failed(run.load),
        Result(
            "every kill meets a worker that serves",
            f"{len(run.deaths())} of {len(run.killed_s)}, with {run.in_flight()} requests in flight",
            len(run.deaths()) == len(run.killed_s),
        ),
        run.end,
    ]


# --- a request that kills ---


@dataclass
class Poisoned:
    """One run with requests that kill their worker."""

    good: Load
    bad: Load
    kills: Kills
    recovered_s: float | None = None  # from the last such request until all workers were ready; None: never


def poison() -> list[Result]:
    run = poison_run(8.0, 0.2)
    return [*poison_counts(run), *poison_times(run)]


def poison_run(duration_s: float, period_s: float, workers: int = 4) -> Poisoned:
    """Now and then a request that kills its worker, which nginx tries on four of them; beside it, good requests. Who
    is not answered within some seconds goes away, as visitors do."""
    with serving(workers=workers) as server, nginx_for(server, 4) as nginx:
        bad = Load(Plan(http(nginx), (Kind("/poison", ""),), 0, every_s=period_s, patience_s=2.0))
        with Load(Plan(http(nginx), (FAST, SLEEP), 16, PAUSE_S, patience_s=20.0)) as good:
            run = Poisoned(good, bad, Kills(good))
            time.sleep(0.5)
            with bad:
                time.sleep(duration_s)
            run.recovered_s = recovery_s(server, workers)
            time.sleep(0.5)
        run.kills.end = ended(server)
        run.kills.log = server.lines
    return run


def recovery_s(server: Server, workers: int) -> float | None:
    """How long until all are ready for a second on end; None if that takes longer than any back-off should."""
    started_s = ready_s = time.monotonic()
    while time.monotonic() - started_s < BACKOFF_MAX_S + PATIENCE_S:
        time.sleep(0.02)
        if not all_ready(server, workers):
            ready_s = time.monotonic()
        elif time.monotonic() - ready_s > 1.0:
            return ready_s - started_s
    return None


def poison_counts(run: Poisoned) -> list[Result]:
    """The deaths by poison, and nobody else's; what good requests lost by them."""
    deaths, asked = len(run.kills.deaths()), len(run.bad.records)
    others = [line for line in run.kills.log if re.search(r"worker .* (exited with code [^0]|is overdue)", line)]
    lost = sum(one.outcome not in (RIGHT, TIMED_OUT) for one in run.good.records)
    bound = run.kills.in_flight() - deaths  # one of each worker's was the poison
    assert run.kills.end
    return [
        Result(
            "each poisonous request kills at most a worker for each of its four tries; nobody else dies",
            f"{deaths} deaths by {asked} requests, {len(others)} other deaths",
            0 < deaths <= 4 * asked and not others,
        ),
        Result(
            "good requests are lost only with the worker that they were in",
            f"{_of(lost, run.good)}; {bound} were in flight there by the log",
            lost <= bound,
        ),
        run.kills.end,
    ]


def poison_times(run: Poisoned) -> list[Result]:
    """Whether good requests went on being answered: the longest time without an answer, and when all was well again."""
    last_s = max(one.ended_s for one in run.good.records)
    answers_s = sorted([last_s, *(one.ended_s for one in run.good.records if one.outcome == RIGHT)])
    silence_s = max((late - early for early, late in itertools.pairwise(answers_s)), default=float("inf"))
    gave_up = run.good.outcomes()[TIMED_OUT]
    back = "never" if run.recovered_s is None else f"{run.recovered_s:.1f} s"
    return [
        Result(
            f"good requests are answered all the time: never none for {SILENCE_BAR_S:g} s",
            f"longest silence {silence_s:.1f} s; {gave_up} gave up after {run.good.plan.patience_s:g} s",
            silence_s < SILENCE_BAR_S and gave_up == 0,
        ),
        Result("all workers are ready again after the last of it", back, run.recovered_s is not None),
    ]


# --- the template and the master are killed ---


def kill_template() -> list[Result]:
    return template_run(CLIENTS, 2.0)


def template_run(clients: int, period_s: float) -> list[Result]:
    """kill -9 of the template three times under load; count what fails."""
    with serving() as server, nginx_for(server) as nginx:
        with Load(Plan(http(nginx), MIXED, clients, PAUSE_S)) as load:
            for number in range(3):
                (victim,) = eventually(server.template_pids, "there is a template")
                time.sleep(period_s)
                os.kill(victim, Signals.SIGKILL)
                server.wait_for(r"template \d+ was killed by SIGKILL", number + 1)
            eventually(server.template_pids, "there is a template again")
            time.sleep(period_s)
        end = ended(server)
    return [*none_failed(load), end]


def kill_master() -> list[Result]:
    run = master_run(40)
    return [*run.counts, *run.times]


@dataclass
class Orphaned:
    counts: list[Result]
    times: list[Result]


def master_run(clients: int) -> Orphaned:
    """kill -9 of the master with requests of two seconds in flight, while a service manager starts it again and again.
    Count who is answered, by the orphans and then by the new server."""
    with serving("--worker-reload-mercy", "5", "app:application", workers=2) as server, nginx_for(server) as nginx:
        with Load(Plan(http(nginx), (LONG,), clients, ends_with=(RIGHT,))) as load:
            eventually(lambda: server.in_flight() == clients, "all are in flight")
            killed_s = time.monotonic()
            server.send_signal(Signals.SIGKILL)
            again = started_again(server)
            bound_s = time.monotonic() - killed_s
        try:
            eventually(lambda: not server.survivors(), "all workers are gone")
            gone_s = time.monotonic() - killed_s
            with Load(Plan(http(nginx), (FAST,), clients, ends_with=(RIGHT,))) as after:
                again.wait_ready(2)
            end = ended(again)
        finally:
            again.end()
    answered = load.outcomes()[RIGHT]
    return Orphaned(
        [
            Result(
                f"all {clients} requests in flight are answered",
                _of(len(load.failed()), load) + " failed",
                answered == clients == len(load.records),
            ),
            *none_failed(after),
            end,
        ],
        [
            Result("workers gone within the mercy time of 5 s", f"{gone_s:.2f} s", gone_s < 5.0),
            Result(
                f"a new server listens on the same path within {REBOUND_BAR_S:g} s",
                f"{bound_s:.2f} s",
                bound_s < REBOUND_BAR_S,
            ),
        ],
    )


def started_again(server: Server) -> Server:
    """Start a server in the same place until one stays: as long as orphans accept there, it refuses."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        again = start(server.directory, "app:application", workers=2)
        try:
            again.wait_for(" listens on .* with 2 workers$")
            return again
        except AssertionError:
            again.end()
            if time.monotonic() > deadline_s:
                raise


SCENARIOS: tuple[Scenario, ...] = (
    reload,
    stop,
    upgrade,
    kill_workers,
    kill_workers_with_next_upstream,
    poison,
    kill_template,
    kill_master,
)
