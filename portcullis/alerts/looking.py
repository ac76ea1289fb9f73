"""Runs the detection rules over what was sealed since the last run, and puts each new finding into the outbox."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from portcullis.alerts.alert import INCOMPLETE, RESPONSE, Alert
from portcullis.alerts.outbox import LOOK_FAULT, LOOKED, Found, new_id
from portcullis.alerts.responding import State
from portcullis.audit import moments
from portcullis.audit.reading import SLACK
from portcullis.detection import automatic
from portcullis.detection.detecting import Detection, before
from portcullis.detection.levels import reaches
from portcullis.detection.responses import filled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from portcullis.alerts.learning import Learner
    from portcullis.alerts.outbox import Outbox
    from portcullis.alerts.responding import Responder, Response
    from portcullis.audit.sealing import Sealing
    from portcullis.detection.detecting import Finding
    from portcullis.detection.rules import DetectionRule

RESPONSE_LEVEL = "high"
"""The lowest level of an alert that reports automatic responses."""
FIRST_SECONDS = 3600.0
"""How far the first look of a rule goes back."""
LONGEST_SECONDS = 7 * 86_400.0
"""How far a look goes back at most, if there was none for a while."""
FAULT_SECONDS = 600.0
"""A fault that lasts so long makes an alert."""
SHARE = 9
"""The wait after a look, as a multiple of its duration: so looks use a tenth of one core."""

_QUICK, _DAY = 3600, 86_400
_FAULT_SINCE = "fault_since"
_SUBJECTS = ("grant_id", "jti", "user_id", "operator", "client_id", "network", "service")
"""The subject of a finding of a rule that does not group: the first of these fields that the finding has."""


@dataclass(frozen=True)
class Gateway:
    """The gateway as alerts name it: its issuer, and this machine."""

    issuer: str
    node: str


@dataclass
class Batch:
    """Rules that run together, because they look back about as far. `due` is on the clock of `monotonic`."""

    rules: list[DetectionRule]
    due: float = 0.0


@dataclass
class Looker:
    """Looks with `rules`. A finding becomes an alert for the destinations in `lowest`, which has their levels."""

    audit_dir: Path
    rules: Sequence[DetectionRule]
    lowest: Mapping[str, str]
    gateway: Gateway
    sealing: Callable[[], Sealing]
    window: float
    interval: float
    locations: Sequence[Path] = ()
    """The databases of locations."""
    responder: Responder | None = None
    """Carries out the automatic responses, if there are any in the settings."""
    learner: Learner | None = None
    """Judges what is usual for each person and client."""
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    processor: Callable[[], float] = time.process_time
    _batches: list[Batch] = field(default_factory=list)
    _learner_due: float = 0.0

    def __post_init__(self) -> None:
        quick = [rule for rule in self.rules if rule.seconds <= _QUICK]
        day = [rule for rule in self.rules if _QUICK < rule.seconds <= _DAY]
        long = [rule for rule in self.rules if rule.seconds > _DAY]
        self._batches = [Batch(rules) for rules in (quick, day, long) if rules]

    def step(self, outbox: Outbox) -> float:
        """Run the rules that are due. Return the seconds until the next ones are. Raises `OutboxError`."""
        faults: list[str] = []
        ran = False
        self._retry_responses(outbox)
        for batch in self._batches:
            if batch.due > self.monotonic():
                continue
            ran, began = True, self.processor()
            faults += self._look(batch.rules, outbox)
            took = self.processor() - began
            batch.due = self.monotonic() + max(self.interval, SHARE * took)
        if self.learner is not None and self._learner_due <= self.monotonic():
            ran, began = True, self.processor()
            faults += self.learner.step(outbox)
            took = self.processor() - began
            self._learner_due = self.monotonic() + max(self.interval, SHARE * took)
        if ran:
            if self.responder is not None and self.responder.ledger.fault is not None:
                faults.append(f"automatic responses cannot be noted: {self.responder.ledger.fault}")
            self._conclude(list(dict.fromkeys(faults)), outbox)
            outbox.prune(self.now())
        wait = max(0.0, min((batch.due for batch in self._batches), default=self.interval) - self.monotonic())
        due = None if self.responder is None else self.responder.next_due()
        return wait if due is None else min(wait, max(1.0, due - self.now()))

    def _look(self, rules: Sequence[DetectionRule], outbox: Outbox) -> list[str]:
        """Look with these rules; return the faults."""
        until = moments.recorded(datetime.fromtimestamp(self.now(), UTC))
        names = [rule.name for rule in rules]
        known = outbox.looked_since(names)
        since = min([known.get(name, before(until, FIRST_SECONDS)) for name in names])
        since = max(since, before(until, LONGEST_SECONDS))
        sealing = self.sealing()
        if not sealing.is_known:
            return [f"nothing can be looked at: {sealing.sentence()}"]
        if until <= since:  # the clock was set back
            return []
        detection = Detection(since, until)
        try:
            detection.run(self.audit_dir, rules, sealing, locations=self.locations)
        except OSError as error:
            return [f"the events cannot be kept for the rules: {error.strerror or error}"]
        # Before the outbox is written: on a full disk rights end although no alert can be stored.
        responses = self._respond(detection.findings)
        for finding in detection.findings:
            self._add(finding, until, outbox, responses)
        # Events that a writer stores late have earlier times, and events that are not sealed yet count later.
        following = before(until, SLACK.total_seconds())
        outbox.look_from(names, min(following, detection.left_out_since or following))
        return self._faults_of(detection, following)

    def _faults_of(self, detection: Detection, following: str) -> list[str]:
        faults = [f"not everything could be used: {fault}" for fault in detection.faults]
        faults += [f"a part of the record could not be read: {fault}" for fault in detection.reading.faults[:1]]
        waits = detection.left_out_since
        if waits is not None and waits < following:
            faults.append("the newest events are not sealed: the sealer has ended or is late")
        return faults

    def _respond(self, findings: Sequence[Finding]) -> list[Response]:
        """Carry out the responses to these findings; return those that are new."""
        if self.responder is None:
            return []
        wanted = [target for finding in findings for target in self._targets(finding)]
        return self.responder.respond(wanted, self.now())

    def _targets(self, finding: Finding) -> list[automatic.Target]:
        if self.responder is None:
            return []
        return automatic.targets(finding, self.responder.actions.get(finding.rule.name, ()))

    def _retry_responses(self, outbox: Outbox) -> None:
        """Attempt again what failed. An alert reports each response that ended."""
        for ended in [] if self.responder is None else self.responder.retry(self.now()):
            self._report(ended, outbox)

    def _add(self, finding: Finding, raised: str, outbox: Outbox, responses: Sequence[Response]) -> None:
        found = found_of(finding, raised, self.gateway)
        known = [] if self.responder is None else self.responder.of(self._targets(finding))
        if known:
            alert = found.alert
            level = alert.level if reaches(alert.level, RESPONSE_LEVEL) else RESPONSE_LEVEL
            alert = replace(alert, level=level, done=tuple(one.sentence for one in known))
            found = replace(found, alert=alert)
        is_alert = outbox.add(found, self.lowest, now=self.now(), window=self.window)
        stored = outbox.find(found.alert.id) if is_alert else None
        if stored is not None and tuple(stored.alert.done) == tuple(found.alert.done):
            return
        # The finding has no alert of its own, so each response that changed something or should have has one.
        for one in known:
            if one in responses and one.state is not State.NOTHING:
                self._report(one, outbox)

    def _report(self, response: Response, outbox: Outbox) -> None:
        raised = moments.recorded(datetime.fromtimestamp(self.now(), UTC))
        alert = Alert(
            id=new_id(),
            raised=raised,
            rule=RESPONSE,
            title="Automatic response",
            level=RESPONSE_LEVEL,
            reason=f"The rule {response.rule} has a response in the settings, and a finding led to it.",
            subject=f"{response.action} {response.value}",
            gateway=self.gateway.issuer,
            node=self.gateway.node,
            extent=(
                f"portcullis audit search --operator detection:{response.rule} --since -1d",
                f"portcullis audit detect --rule {response.rule} --since -1d",
            ),
            done=(response.sentence,),
        )
        outbox.add(Found(alert, alert.subject, raised), self.lowest, now=self.now(), window=self.window)

    def _conclude(self, faults: Sequence[str], outbox: Outbox) -> None:
        """Keep the present fault for `list`; one that lasts makes an alert."""
        now = self.now()
        raised = moments.recorded(datetime.fromtimestamp(now, UTC))
        outbox.set_note(LOOKED, raised)
        outbox.set_note(LOOK_FAULT, "; ".join(faults) or None)
        if not faults:
            outbox.set_note(_FAULT_SINCE, None)
            return
        since = outbox.note(_FAULT_SINCE)
        if since is None:
            outbox.set_note(_FAULT_SINCE, raised)
        elif since <= before(raised, FAULT_SECONDS):
            found = Found(_incomplete(faults, raised, self.gateway), "", raised)
            outbox.add(found, self.lowest, now=now, window=max(self.window, FIRST_SECONDS))


def found_of(finding: Finding, raised: str, gateway: Gateway) -> Found:
    """Return the alert of a finding and its cause: the rule, and the group or the subject of the finding."""
    rule = finding.rule
    subject = {name: value for name, value in finding.group.items() if value}
    if not rule.group_by:
        for name in _SUBJECTS:
            if name in finding.values and finding.values[name].count == 1:
                subject = {name: finding.values[name].shown[0]}
                break
    shown = {name: values.shown for name, values in finding.values.items()}
    alert = Alert(
        id=new_id(),
        raised=raised,
        rule=rule.name,
        title=rule.title,
        level=rule.level,
        reason=rule.description,
        subject=", ".join(f"{name} {value}" for name, value in subject.items()),
        gateway=gateway.issuer,
        node=gateway.node,
        because=f"{finding.metric}: {rule.condition}" if rule.condition else "",
        events=finding.events,
        first=asdict(finding.first),
        last=asdict(finding.last),
        values={name: asdict(each) for name, each in finding.values.items()},
        false_alarms=rule.false_positives,
        extent=filled(rule.response.extent, shown) or [f"portcullis audit detect --rule {rule.name} --since -1d"],
        end=filled(rule.response.end, shown),
        advice=rule.response.advice,
    )
    return Found(alert, repr(sorted(subject.items())), finding.last.time)


def _incomplete(faults: Sequence[str], raised: str, gateway: Gateway) -> Alert:
    return Alert(
        id=new_id(),
        raised=raised,
        rule=INCOMPLETE,
        title="Detection does not see everything",
        level="high",
        reason=f"For {FAULT_SECONDS / 60:g} minutes or longer: {'; '.join(faults)}. An attack may make no alert.",
        subject="",
        gateway=gateway.issuer,
        node=gateway.node,
        false_alarms=("A disk or a program that was stopped on purpose",),
        extent=("portcullis audit verify --since -1d", "portcullis alerts list"),
        advice="Start the sealer (`portcullis audit seal`), or repair what the reason names.",
    )
