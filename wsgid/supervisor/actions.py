"""The orders of the fleet's plan: one class for each order. executor.py carries them out.

A slot names a worker, and a generation names a template.
"""

from wsgid.errors import ExitCode
from wsgid.ipc.messages import OnDrain
from wsgid.records import dataclass


@dataclass(frozen=True, slots=True)
class LaunchTemplate:
    """Start a template."""

    generation: int


@dataclass(frozen=True, slots=True)
class DismissTemplate:
    """Close the template's channel, so that it leaves."""

    generation: int


@dataclass(frozen=True, slots=True)
class InterruptTemplate:
    """The template has not imported the application within boot_s: make it log its stack, and end."""

    generation: int


@dataclass(frozen=True, slots=True)
class AbortTemplate:
    """The template has not ended by Interrupt: abort it, as it may be stuck in C."""

    generation: int


@dataclass(frozen=True, slots=True)
class KillTemplate:
    """Send SIGKILL to the template."""

    generation: int


@dataclass(frozen=True, slots=True)
class SpawnWorker:
    """Let the template fork a worker."""

    slot: int
    generation: int
    wary: bool = False  # see slots.Slot


@dataclass(frozen=True, slots=True)
class DrainWorker:
    """Tell the worker to drain."""

    slot: int
    backlog: OnDrain


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The hub stalls: signal the worker. Its handler logs the stack, and after hub_s ends the code that holds the
    hub."""

    slot: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Send SIGABRT to the worker, which prints its stack."""

    slot: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Send SIGKILL to the worker."""

    slot: int


@dataclass(frozen=True, slots=True)
class Abandon:
    """Nobody has answered a spawn: close its channel. A worker that starts later finds it closed, and leaves."""

    slot: int


@dataclass(frozen=True, slots=True)
class Unlisten:
    """Unlink and close the master's listeners: no further connections are wanted."""


@dataclass(frozen=True, slots=True)
class Exit:
    """End the master with this code."""

    code: ExitCode


@dataclass(frozen=True, slots=True)
class InterruptImport:
    """A worker has not imported the application within boot_s (--lazy-apps): make it log its stack, and end."""

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
