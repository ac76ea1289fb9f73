"""An alert: what it says about a finding, and its form as JSON and as text for people."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from portcullis.audit.shown import printable
from portcullis.detection.labels import LABELS, listed
from portcullis.detection.levels import LEVELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TEST_RULE = "test"
"""The rule of an alert that an operator sends to try a destination."""
INCOMPLETE = "detection_incomplete"
"""The rule of alerts that say that the rules do not see everything."""
RESPONSE = "automatic_response"
"""The rule of alerts about automatic responses that ended after the alert of their finding, or without one."""
UNUSUAL_REQUESTS, UNUSUAL_HOUR = "unusual_requests", "unusual_hour"
"""The rules of alerts that come from baselines. They are no Sigma files, which have no baselines."""
_WIDTH = 100


@dataclass(frozen=True)
class Alert:
    """Everything that an alert says. `id` is the same in every attempt and at every destination."""

    id: str
    raised: str
    """When it was made: RFC 3339 in UTC."""
    rule: str
    title: str
    level: str
    reason: str
    """The event and its meaning: the description of the rule."""
    subject: str
    """Whom or what it concerns, such as `grant_id 3f…`; empty for everything."""
    gateway: str
    """The issuer of the gateway."""
    node: str
    because: str = ""
    """The condition of the rule, with the number that was reached."""
    events: int = 0
    first: Mapping[str, str] = field(default_factory=dict)
    """`time` and `place` of the first event."""
    last: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """For each field some of its values (`shown`) and how many there are (`count`)."""
    false_alarms: Sequence[str] = ()
    """Other causes of such events."""
    extent: Sequence[str] = ()
    """Commands that show what was done."""
    end: Sequence[str] = ()
    """Commands that end it."""
    advice: str = ""
    causes: int = 0
    """Further causes of the rule for which this alert stands, when it is sent. Each of them has no other alert."""
    done: Sequence[str] = ()
    """The automatic responses, each with its result."""

    def document(self) -> dict[str, Any]:
        """The alert as JSON has it."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Alert:
        """The alert of a document."""
        return cls(**document)

    @property
    def headline(self) -> str:
        """One line: level, what happened, and to whom."""
        subject = f" ({printable(self.subject)})" if self.subject else ""
        return f"{self.level.upper()}: {printable(self.title)}{subject}"

    @property
    def is_urgent(self) -> bool:
        """Whether it is sent in quiet hours too."""
        return self.level == LEVELS[0]

    def text(self) -> str:
        """Everything in words, one subject after the other."""
        lines = [*textwrap.wrap(printable(self.reason), _WIDTH), ""]
        for name, found in self.values.items():
            lines.append(f"{LABELS.get(name, name)}: {listed(found['shown'], found['count'])}")
        if self.first and self.last:
            times = [printable(event["time"]) for event in (self.first, self.last)]
            count = "1 event" if self.events == 1 else f"{self.events} events"
            lines.append(f"when: {count}, {times[0]}" + (f" to {times[1]}" if times[0] != times[1] else ""))
        if self.causes:
            lines.append(
                f"further causes: {self.causes} so far, without an alert of their own; "
                "`portcullis alerts list` shows their present number"
            )
        if self.because:
            lines.append(f"because: {printable(self.because)}")
        if self.false_alarms:
            lines.append(f"how sure: expected false alarms are: {'; '.join(map(printable, self.false_alarms))}")
        lines += ["", "done automatically:", *(f"  {printable(each)}" for each in self.done)] if self.done else []
        for label, commands in (("see its extent", self.extent), ("end it", self.end)):
            lines += ["", f"{label}:", *(f"  {command}" for command in commands)] if commands else []
        if self.advice:
            lines += ["", *textwrap.wrap(printable(self.advice), _WIDTH)]
        lines += [
            "",
            f"Rule {self.rule}, alert {self.id}, gateway {self.gateway}, machine {self.node}, {self.raised}",
        ]
        return "\n".join(lines)
