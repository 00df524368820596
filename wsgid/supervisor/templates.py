"""The templates in the fleet's plan: which there are, which generation is wanted, and when the next one is launched.

Rules
* As in fleet.py: no I/O, no clock, no process; time is an argument.
* The newest template that is ready is the one that forks; older ones are dismissed.
* A reload waits for no import that it makes outdated, and it stays requested while the kernel refuses a template.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import inf

from wsgid.supervisor.actions import (
    AbortTemplate,
    Action,
    DismissTemplate,
    InterruptTemplate,
    KillTemplate,
    LaunchTemplate,
)
from wsgid.supervisor.backoff import backoff_s, failures_after
from wsgid.supervisor.slots import Purpose, TemplateRecord, TemplateState

DISMISS_GRACE_S = 2.0  # for a template to leave by itself

_OVERDUE = (InterruptTemplate, AbortTemplate, KillTemplate)  # one after the other
_STARTING = (TemplateState.BOOTING, TemplateState.READY)


@dataclass
class Templates:
    """Bookkeeping of templates, by generation.

    Args:
        boot_s: how long the import of the application may take.
    """

    boot_s: float
    records: dict[int, TemplateRecord] = field(default_factory=dict)
    wanted_generation: int = 0  # that of the newest code
    next_generation: int = 0
    reload_requested: bool = False
    failures: int = 0  # short lives in a row
    not_before_s: float = -inf  # the earliest next launch after them
    launch_failures: int = 0  # how often in a row the kernel has refused to start a template
    launch_not_before_s: float = -inf  # the earliest next launch after them

    # --- events ---

    def request_reload(self) -> None:
        self.reload_requested = True
        self.launch_not_before_s = -inf  # whoever asks anew may know that it works now

    def adopt(self, generation: int) -> None:
        """There are workers of this generation already (SIGUSR2): what is launched from now on is newer."""
        self.next_generation = self.wanted_generation = max(self.wanted_generation, generation + 1)

    def ready(self, generation: int, now_s: float) -> None:
        """A template has imported the application: newer code than that of all templates before it."""
        template = self.records.get(generation)
        if template is None or template.state is not TemplateState.BOOTING:
            return
        self.records[generation] = replace(template, state=TemplateState.READY, ready_s=now_s, deadline_s=inf)
        self.launch_failures = 0
        if template.purpose is not Purpose.REPLACE:
            self.wanted_generation = generation

    def launch_failed(self, generation: int, now_s: float) -> float:
        """The kernel has refused to start this template: it is tried again. Returns the pause until then, in
        seconds."""
        template = self.records.pop(generation)
        self.launch_failures += 1
        pause_s = backoff_s(self.launch_failures + 1)
        self.launch_not_before_s = now_s + pause_s
        self.reload_requested |= template.purpose is Purpose.RELOAD
        return pause_s

    def closed(self, generation: int, now_s: float) -> None:
        """A template's end of its channel is gone: it cannot fork any more and has to leave."""
        template = self.records[generation]
        if template.state is TemplateState.READY:
            self.records[generation] = replace(template, state=TemplateState.LOST, deadline_s=now_s + DISMISS_GRACE_S)

    def gone(self, generation: int, now_s: float) -> TemplateState:
        """A template was reaped. Returns the state that it left; BOOTING means that it could not import."""
        template = self.records.pop(generation)
        if template.state is not TemplateState.DISMISSED:
            self.failures = failures_after(self.failures, now_s - template.ready_s)
            self.not_before_s = now_s + backoff_s(self.failures)
        return template.state

    # --- questions ---

    def newest(self) -> TemplateRecord | None:
        """The newest template that can fork."""
        able = [template for template in self.records.values() if template.state is TemplateState.READY]
        return max(able, key=lambda template: template.generation, default=None)

    def is_booting(self, generation: int) -> bool:
        """Whether a template is still to say that it is ready, and is wanted."""
        return self.records[generation].state is TemplateState.BOOTING

    def next_deadline_s(self) -> float:
        return min((template.deadline_s for template in self.records.values()), default=inf)

    def next_launch_s(self, now_s: float) -> float:
        """When a template that is wanted may be launched; never, if none is wanted."""
        if not self.records:
            return max(self.not_before_s, self.launch_not_before_s, now_s)
        return max(self.launch_not_before_s, now_s) if self.reload_requested else inf

    # --- the parts of the plan ---

    def plan(self, now_s: float, purpose: Purpose) -> Iterable[Action]:
        """Dismiss what is outdated, and launch what is wanted.

        Args:
            purpose: why a template is launched where there is none.
        """
        able = self.newest()
        rested = now_s >= self.launch_not_before_s
        for template in list(self.records.values()):
            superseded = able is not None and template.generation < able.generation
            unwanted = self.reload_requested and rested and template.state is TemplateState.BOOTING
            if (superseded or unwanted) and template.state in _STARTING:
                yield self._dismiss(template, now_s)
        alive = any(template.state is not TemplateState.DISMISSED for template in self.records.values())
        if not rested:
            return
        if self.reload_requested:
            yield self._launch(Purpose.RELOAD, now_s)
        elif not alive and now_s >= self.not_before_s:
            yield self._launch(purpose, now_s)

    def wind_down(self, now_s: float) -> Iterable[Action]:
        """Dismiss all."""
        for template in list(self.records.values()):
            if template.state is not TemplateState.DISMISSED:
                yield self._dismiss(template, now_s)

    def check_deadlines(self, now_s: float) -> Iterable[Action]:
        for template in self.records.values():
            if now_s >= template.deadline_s:
                booting = template.state is TemplateState.BOOTING
                step = _OVERDUE[min(template.overdue, 2) if booting else 2]
                self.records[template.generation] = replace(
                    template, overdue=template.overdue + 1, deadline_s=now_s + DISMISS_GRACE_S
                )
                yield step(template.generation)

    def forgive(self, lost_s: float) -> None:
        """Nobody had a chance to meet a deadline for so long: move all of them."""
        self.not_before_s += lost_s
        self.launch_not_before_s += lost_s
        for template in self.records.values():
            self.records[template.generation] = replace(template, deadline_s=template.deadline_s + lost_s)

    def _launch(self, purpose: Purpose, now_s: float) -> Action:
        generation = self.next_generation
        self.next_generation += 1
        self.reload_requested = False
        self.records[generation] = TemplateRecord(generation, purpose, deadline_s=now_s + self.boot_s)
        return LaunchTemplate(generation)

    def _dismiss(self, template: TemplateRecord, now_s: float) -> Action:
        deadline_s = now_s + DISMISS_GRACE_S
        self.records[template.generation] = replace(template, state=TemplateState.DISMISSED, deadline_s=deadline_s)
        if template.state is TemplateState.BOOTING:  # busy with the import, it would not notice a dismissal
            return KillTemplate(template.generation)
        return DismissTemplate(template.generation)
