"""The templates in the fleet's plan: which templates there are, which generation is wanted, when the next is launched.

Rules
* As in fleet.py: no I/O, no clock, no process; the time is an argument.
* The newest ready template forks workers; older templates are dismissed.
* A reload does not wait for an import that it makes outdated. The reload stays requested while the kernel refuses to
  start a template.
"""

from collections.abc import Iterable
from math import inf

from wsgid.records import dataclass, field, replace
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

DISMISS_GRACE_S = 2.0  # for a dismissed template to leave by itself

_OVERDUE = (InterruptTemplate, AbortTemplate, KillTemplate)  # in this order
_STARTING = (TemplateState.BOOTING, TemplateState.READY)


@dataclass
class Templates:
    """The records of templates, by generation.

    Args:
        boot_s: how long the import of the application may take.
    """

    boot_s: float
    records: dict[int, TemplateRecord] = field(default_factory=dict)
    wanted_generation: int = 0  # the generation of the newest code
    next_generation: int = 0
    reload_requested: bool = False
    failures: int = 0  # short lives in a row
    not_before_s: float = -inf  # the earliest next launch after short lives
    launch_failures: int = 0  # how often in a row the kernel has refused to start a template
    launch_not_before_s: float = -inf  # the earliest next launch after such a refusal

    # --- events ---

    def request_reload(self) -> None:
        """The operator wants the present code."""
        self.reload_requested = True
        self.launch_not_before_s = -inf  # after a new request, try at once: the cause may be gone

    def adopt(self, generation: int) -> None:
        """Workers of this generation exist already (SIGUSR2). Templates that are launched from now on are newer."""
        self.next_generation = self.wanted_generation = max(self.wanted_generation, generation + 1)

    def ready(self, generation: int, now_s: float) -> None:
        """A template has imported the application. Its code is newer than that of all earlier templates."""
        template = self.records.get(generation)
        if template is None or template.state is not TemplateState.BOOTING:
            return
        self.records[generation] = replace(template, state=TemplateState.READY, ready_s=now_s, deadline_s=inf)
        self.launch_failures = 0
        if template.purpose is not Purpose.REPLACE:
            self.wanted_generation = generation

    def launch_failed(self, generation: int, now_s: float) -> float:
        """The kernel has refused to start this template, and it is tried again. Returns the pause until then, in
        seconds."""
        template = self.records.pop(generation)
        self.launch_failures += 1
        pause_s = backoff_s(self.launch_failures + 1)
        self.launch_not_before_s = now_s + pause_s
        self.reload_requested |= template.purpose is Purpose.RELOAD
        return pause_s

    def closed(self, generation: int, now_s: float) -> None:
        """A template's end of its channel is closed: it can fork no more workers, and has to leave."""
        template = self.records[generation]
        if template.state is TemplateState.READY:
            self.records[generation] = replace(template, state=TemplateState.LOST, deadline_s=now_s + DISMISS_GRACE_S)

    def gone(self, generation: int, now_s: float) -> TemplateState:
        """A template was reaped. Returns its last state; BOOTING means that its import failed."""
        template = self.records.pop(generation)
        if template.state is not TemplateState.DISMISSED:
            self.failures = failures_after(self.failures, now_s - template.ready_s)
            self.not_before_s = now_s + backoff_s(self.failures)
        return template.state

    # --- questions ---

    def newest(self) -> TemplateRecord | None:
        """Return the newest template that can fork."""
        able = [template for template in self.records.values() if template.state is TemplateState.READY]
        return max(able, key=lambda template: template.generation, default=None)

    def is_booting(self, generation: int) -> bool:
        """Whether a template is wanted, and has not reported yet that it is ready."""
        return self.records[generation].state is TemplateState.BOOTING

    def next_deadline_s(self) -> float:
        """Return the first deadline of a template; inf without a deadline."""
        return min((template.deadline_s for template in self.records.values()), default=inf)

    def next_launch_s(self, now_s: float) -> float:
        """Return when a wanted template may be launched; inf if none is wanted."""
        if not self.records:
            return max(self.not_before_s, self.launch_not_before_s, now_s)
        return max(self.launch_not_before_s, now_s) if self.reload_requested else inf

    # --- the parts of the plan ---

    def plan(self, now_s: float, purpose: Purpose) -> Iterable[Action]:
        """Dismiss outdated templates, and launch a wanted one.

        Args:
            now_s: the time.
            purpose: the purpose of a launch if there is no template.
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
        """Dismiss all templates."""
        for template in list(self.records.values()):
            if template.state is not TemplateState.DISMISSED:
                yield self._dismiss(template, now_s)

    def check_deadlines(self, now_s: float) -> Iterable[Action]:
        """End templates whose time is over, step by step."""
        for template in self.records.values():
            if now_s >= template.deadline_s:
                booting = template.state is TemplateState.BOOTING
                step = _OVERDUE[min(template.overdue, 2) if booting else 2]
                self.records[template.generation] = replace(
                    template, overdue=template.overdue + 1, deadline_s=now_s + DISMISS_GRACE_S
                )
                yield step(template.generation)

    def forgive(self, lost_s: float) -> None:
        """Move all deadlines by `lost_s`: no process could meet a deadline in that time."""
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
