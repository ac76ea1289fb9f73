"""The windows of correlations: a rule finds the same as a plain program, in any order of reading."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from oauth_core.audit import EventKind
from portcullis.audit import moments
from portcullis.audit.sealing import Sealing
from portcullis.detection.detecting import Detection, EventPlace, Finding
from portcullis.detection.rules import DetectionRule, load
from tests.support.audit_segments import write_segment
from tests.support.property_tests import examples
from tests.unit.detection_rules import SINCE, UNTIL, at

if TYPE_CHECKING:
    from collections.abc import Sequence

_SPAN = 10
_RULES = {
    "three_events": "type: event_count\n  condition:\n    gte: 3",
    "two_sources": "type: value_count\n  condition:\n    gte: 2\n    field: source",
    "first_event": "type: event_count\n  condition:\n    eq: 1",
}
_FILE = """
title: A rule of the test
id: {id}
description: It is found.
level: low
correlation:
  rules: [base]
  group-by: [grant_id]
  timespan: {span}s
  {correlation}
---
title: Its events
name: base
logsource: {{product: portcullis}}
detection:
  selection:
    event: token.refreshed
  condition: selection
"""


@cache
def rules() -> list[DetectionRule]:
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, correlation) in enumerate(_RULES.items()):
            text = _FILE.format(
                id=f"00000000-0000-4000-8000-00000000000{number}", span=_SPAN, correlation=correlation
            )
            Path(folder, f"{name}.yml").write_text(text, encoding="utf-8")
        return load([Path(folder)])


Given = tuple[int, str | None, str]
"""Seconds, grant and source of an event."""

EVENTS = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from(["g1", "g2", None]), st.sampled_from(["10.0.0.1", "10.0.0.2"])),
    max_size=25,
)


def event_of(one: Given) -> dict[str, object]:
    seconds, grant, source = one
    event = at(EventKind.TOKEN_REFRESHED, seconds / 60, source=source)
    return event if grant is None else event | {"grant_id": grant}


def found(boots: Sequence[Sequence[Given]]) -> list[Finding]:
    """The findings of the rules when each of these lists is the record of one program."""
    with tempfile.TemporaryDirectory() as folder:
        for number, boot in enumerate(boots):
            write_segment(Path(folder), f"ext_authz.{number}", batches=[[event_of(one)] for one in boot])
        detection = Detection(moments.recorded(SINCE), moments.recorded(UNTIL))
        detection.run(Path(folder), rules(), Sealing(Path(folder), Path(folder, "no.pub")), with_unsealed=True)
        assert (detection.faults, detection.reading.faults) == ([], [])
        return detection.findings


def expected(rule: str, boot: Sequence[Given]) -> list[tuple[str, int, int, int, int]]:
    """Grant, number of events, highest count, first and last second of each finding of one rule."""
    results = []
    for grant in ("g1", "g2"):
        # Of events in the same second, the one that was written later comes later.
        same = Counter[int]()
        own = []
        for seconds, its_grant, source in sorted(boot, key=itemgetter(0)):
            if its_grant == grant:
                own.append((seconds * 1000 + same[seconds], source))
                same[seconds] += 1
        hits = []
        for tick, _ in own:
            window = [(each, source) for each, source in own if tick - _SPAN * 1000 <= each <= tick]
            count = len({source for _, source in window}) if rule == "two_sources" else len(window)
            if count == 1 if rule == "first_event" else count >= int(rule == "three_events") + 2:
                hits.append((tick, window[0][0], count))
        groups: list[list[tuple[int, int, int]]] = [hits[:1]] if hits else []
        for before, hit in pairwise(hits):
            if hit[0] - before[0] <= _SPAN * 1000:
                groups[-1].append(hit)
            else:
                groups.append([hit])
        for group in groups:
            first, last = min(begin for _, begin, _ in group), group[-1][0]
            events = [tick for tick, _ in own if first <= tick <= last]
            results.append((grant, len(events), max(count for *_, count in group), first // 1000, last // 1000))
    return sorted(results)


def as_expected(finding: Finding) -> tuple[str, int, int, int, int]:
    return (
        finding.group["grant_id"],
        finding.events,
        finding.metric,
        _second(finding.first),
        _second(finding.last),
    )


def _second(event: EventPlace) -> int:
    return int(event.time[14:16]) * 60 + int(event.time[17:19])


@given(EVENTS)
@examples(20)
def test_a_rule_finds_the_same_as_a_plain_program(boot: list[Given]) -> None:
    findings = found([boot])
    for rule in _RULES:
        assert sorted(map(as_expected, (one for one in findings if one.rule.name == rule))) == expected(rule, boot)


def without_places(findings: list[Finding]) -> list[Any]:
    times = [
        replace(one, first=EventPlace("", one.first.time), last=EventPlace("", one.last.time)) for one in findings
    ]
    return sorted(times, key=lambda one: (one.rule.name, str(one.group), one.first.time))


@given(EVENTS.map(lambda given: list({one[:2]: one for one in given}.values())), st.data())
@examples(10)
def test_findings_do_not_depend_on_the_order_and_the_place_of_events(
    given: list[Given], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(given))
    cut = data.draw(st.integers(0, len(given)))
    assert without_places(found([given])) == without_places(found([shuffled[:cut], shuffled[cut:]]))
