"""Notifications to systemd: sd_notify(3), and its watchdog.

    STARTING -- all workers are Ready                 --> READY=1
    READY    -- a reload begins                       --> RELOADING=1, MONOTONIC_USEC=
    RELOADING - the reload has succeeded or failed    --> READY=1
    any      -- a stop is requested                   --> STOPPING=1

Rules
* The fleet shows a reload, whatever has begun it (HUP, a touched file, wsgidctl, USR2). So none is missed.
* Nothing blocks. If systemd's socket is full, the message is sent later. Without systemd nothing is done.
* Only the master's loop sends WATCHDOG=1, because systemd has to notice when this loop hangs.
* Only the master has systemd's variables. They leave the environment, so that no worker and no program of the
  application speaks for the service. The next image on USR2 gets them again.
"""

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from enum import Enum, auto
from math import inf

from wsgid import log
from wsgid.counted import counted
from wsgid.supervisor.fleet import Fleet
from wsgid.supervisor.slots import STAFF, Purpose, SlotState, TemplateRecord, TemplateState

STATUS_S = 5.0  # the shortest time between two changes of the status
AGAIN_S = 0.1  # after systemd's socket was full
_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Phase(Enum):
    """The states of a service that systemd knows."""

    STARTING = auto()
    READY = auto()
    RELOADING = auto()
    STOPPING = auto()


class Notifier:
    """Tells systemd the state of the fleet.

    Args:
        environ: systemd's variables are removed from it.
        in_flight: returns how many requests the workers have now.
        goes_on: whether an image before this one has told systemd that the service is up.
    """

    def __init__(self, environ: MutableMapping[str, str], in_flight: Callable[[], int], goes_on: bool) -> None:
        self.variables = {name: environ.pop(name) for name in _VARIABLES if name in environ}
        self._in_flight = in_flight
        self._socket = _connect(self.variables.get("NOTIFY_SOCKET", ""))
        self._phase = Phase.READY if goes_on else Phase.STARTING
        self._announced = -1  # the newest generation that systemd knows of
        self._remark = ""
        self._status = ""
        self._status_at_s = -inf
        self._unsent: list[str] = []
        self._send_at_s = inf
        self._watchdog_s = _watchdog_s(self.variables)
        self._alive_at_s = -inf if self._socket and self._watchdog_s < inf else inf

    def turn(self, fleet: Fleet, now_s: float) -> None:
        """Send what has changed.

        Args:
            fleet: its state.
            now_s: of time.monotonic().
        """
        if self._socket is None:
            return
        self._change_phase(fleet)
        if now_s >= self._alive_at_s:
            self._alive_at_s = now_s + self._watchdog_s / 2
            self._unsent.append("WATCHDOG=1")
        self._note_status(fleet, now_s)
        self._send(now_s)

    def next_turn_s(self) -> float:
        """Return when the next message is due even if nothing happens."""
        return min(self._alive_at_s, self._send_at_s)

    def close(self) -> None:
        """Close the socket: no more messages."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
        self._socket, self._alive_at_s = None, inf

    def _change_phase(self, fleet: Fleet) -> None:
        if self._phase is Phase.STOPPING:
            return
        if fleet.stopping:
            self._enter(Phase.STOPPING, "STOPPING=1")
        elif self._phase is not Phase.STARTING:
            self._follow_reload(fleet)
        elif _has_started(fleet):
            self._announced = _generation_asked_for(fleet)
            self._enter(Phase.READY, "READY=1")

    def _follow_reload(self, fleet: Fleet) -> None:
        asked, rolling = _generation_asked_for(fleet), _is_rolling(fleet)
        if rolling and asked > self._announced:
            self._announced = asked
            self._remark = ""
            self._enter(Phase.RELOADING, f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        elif self._phase is Phase.RELOADING and (not rolling or _fails_to_roll(fleet)):
            if rolling or fleet.templates.wanted_generation < self._announced:
                self._remark = "; the last reload has failed"
            self._enter(Phase.READY, "READY=1")
        elif not rolling and fleet.templates.wanted_generation >= self._announced:
            self._remark = ""  # the reload has succeeded after all

    def _enter(self, phase: Phase, message: str) -> None:
        self._phase = phase
        self._status_at_s = -inf  # with a phase the status changes at once
        self._unsent.append(message)

    def _note_status(self, fleet: Fleet, now_s: float) -> None:
        if now_s < self._status_at_s:
            return
        ready = len(fleet.of_state(SlotState.READY))
        status = (
            f"{self._phase.name.lower()}: {ready} of {counted(fleet.target, 'worker')} ready, generation "
            f"{fleet.templates.wanted_generation}, {counted(self._in_flight(), 'request')} in flight{self._remark}"
        )
        if status != self._status:
            self._status = status
            self._status_at_s = now_s + STATUS_S
            self._unsent.append(f"STATUS={status}")

    def _send(self, now_s: float) -> None:
        assert self._socket is not None
        self._send_at_s = inf
        while self._unsent:
            try:
                self._socket.send(self._unsent[0].encode())
            except BlockingIOError:
                self._send_at_s = now_s + AGAIN_S
                return
            except OSError as error:
                log.warning("systemd cannot be notified: %s; it gets no more notifications", error.strerror)
                self.close()
                return
            del self._unsent[0]


def _has_started(fleet: Fleet) -> bool:
    """Whether all workers are Ready. Also true if some were Ready and others die young: such a start would never
    end."""
    dying = fleet.proven and any(slot.failures for slot in fleet.slots)
    return dying or len(fleet.of_state(SlotState.READY)) >= fleet.target


def _generation_asked_for(fleet: Fleet) -> int:
    refused = [fleet.templates.next_generation - 1] if _is_refused(fleet) else []
    return max([fleet.templates.wanted_generation, *refused, *(template.generation for template in _reloads(fleet))])


def _is_refused(fleet: Fleet) -> bool:
    """Whether a reload waits for its next try, because the kernel has refused to start the template."""
    return fleet.templates.reload_requested and fleet.templates.launch_failures > 0


def _reloads(fleet: Fleet) -> list[TemplateRecord]:
    """Return the templates that import newer code."""
    return [
        template
        for template in fleet.templates.records.values()
        if template.purpose is Purpose.RELOAD and template.state is TemplateState.BOOTING
    ]


def _is_rolling(fleet: Fleet) -> bool:
    """Whether workers are being replaced by another generation, or will be."""
    outdated = any(slot.state in STAFF and slot.generation < fleet.templates.wanted_generation for slot in fleet.slots)
    return outdated or _is_refused(fleet) or bool(_reloads(fleet))


def _fails_to_roll(fleet: Fleet) -> bool:
    """Whether the replacement fails and old workers stay for an unknown time, so that systemd need not wait. Either
    there is no template (after USR2), or its workers die young (with --lazy-apps they import the application
    themselves)."""
    if _reloads(fleet):
        return False
    template = fleet.templates.newest()
    if template is None or _is_refused(fleet):
        return fleet.templates.failures > 0 or fleet.templates.launch_failures > 0
    return any(
        slot.state is SlotState.VACANT and slot.failures and slot.since_s >= template.ready_s for slot in fleet.slots
    )


def _connect(address: str) -> socket.socket | None:
    if not address:
        return None
    # sd_notify(3): a path, or the name of an abstract socket with @ in place of its first byte, which is 0
    name = "\0" + address[1:] if address.startswith("@") else address
    connected = None
    try:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        connected.connect(name)
    except OSError as error:
        log.warning("systemd cannot be notified at %s: %s", address, error.strerror or error)
        if connected is not None:
            connected.close()
        return None
    return connected


def _watchdog_s(variables: MutableMapping[str, str]) -> float:
    """Return how long systemd waits for WATCHDOG=1, in seconds; inf if it does not watch this service
    (sd_watchdog_enabled(3))."""
    if variables.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return inf
    try:
        return int(variables["WATCHDOG_USEC"]) / 1e6 or inf
    except (KeyError, ValueError):
        return inf
