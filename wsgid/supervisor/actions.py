"""What the fleet's plan orders: one class for each order; executor.py carries them out.

A worker is named by its slot, a template by its generation.
"""

from dataclasses import dataclass

from wsgid.errors import ExitCode
from wsgid.ipc.messages import OnDrain


@dataclass(frozen=True, slots=True)
class LaunchTemplate:
    generation: int


@dataclass(frozen=True, slots=True)
class DismissTemplate:
    generation: int


@dataclass(frozen=True, slots=True)
class InterruptTemplate:
    """It has not imported the application in boot_s: let it say where it is, and end."""

    generation: int


@dataclass(frozen=True, slots=True)
class AbortTemplate:
    """It has not followed that: it may be in C."""

    generation: int


@dataclass(frozen=True, slots=True)
class KillTemplate:
    generation: int


@dataclass(frozen=True, slots=True)
class SpawnWorker:
    slot: int
    generation: int
    wary: bool = False  # see Slot


@dataclass(frozen=True, slots=True)
class DrainWorker:
    slot: int
    backlog: OnDrain


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The hub stalls: signal the worker, whose handler shows where, and after hub_s ends what holds it."""

    slot: int


@dataclass(frozen=True, slots=True)
class Abort:
    slot: int


@dataclass(frozen=True, slots=True)
class Kill:
    slot: int


@dataclass(frozen=True, slots=True)
class Abandon:
    """A spawn that nobody answered: close its channel, so that a late worker finds nobody and leaves."""

    slot: int


@dataclass(frozen=True, slots=True)
class Unlisten:
    """Unlink and close the master's listeners: from now on nobody new shall come."""


@dataclass(frozen=True, slots=True)
class Exit:
    code: ExitCode


@dataclass(frozen=True, slots=True)
class InterruptImport:
    """A worker has not imported the application in boot_s (--lazy-apps): let it say where it is, and end."""

    slot: int


Action = (
    LaunchTemplate
    | DismissTemplate
    | InterruptTemplate
    | AbortTemplate
    | KillTemplate
    | SpawnWorker
    | DrainWorker
    | Interrupt
    | InterruptImport
    | Abort
    | Kill
    | Abandon
    | Unlisten
    | Exit
)
