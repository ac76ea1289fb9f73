"""Files of rules: the errors of broken ones. No file and no event ends a detection in another way."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.audit import EventKind
from oauth_core.errors import SettingsError
from portcullis.audit import moments
from portcullis.audit.sealing import Sealing
from portcullis.cli.main import cli
from portcullis.detection.detecting import Detection
from portcullis.detection.rules import SHIPPED, DetectionRule, RuleError, load
from tests.support.audit_segments import write_segment
from tests.support.property_tests import examples
from tests.unit.detection_rules import SINCE, UNTIL, Event, at, found_by

_PLAIN = """\
title: A rule
id: 5f0c0a4e-9f57-4f0b-8a51-8d8d1a2b3c4d
description: It is found.
level: low
logsource: {product: portcullis}
detection:
  selection:
    event: user.blocked
  condition: selection
"""
_CORRELATION = """\
title: A rule
id: 5f0c0a4e-9f57-4f0b-8a51-8d8d1a2b3c4d
description: It is found.
level: low
correlation:
  type: event_count
  rules: [base]
  group-by: [user_id]
  timespan: 1h
  condition:
    gte: 2
---
title: Its events
name: base
logsource: {product: portcullis}
detection:
  selection:
    event: user.blocked
  condition: selection
"""
_CHAIN = """
---
title: A correlation of a correlation
id: 7e2f4a86-2f1a-4b59-9c6c-0a1b2c3d4e5f
description: It is found.
level: low
correlation:
  type: event_count
  rules: [first]
  timespan: 1h
  condition:
    gte: 1
"""


def loaded(text: str) -> DetectionRule:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "own.yml").write_text(text, encoding="utf-8")
        [rule] = load([Path(folder)])
        return rule


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a file has one rule that no other one refers to, not 0"),
        ("- a list", "no Sigma rule can be read from it"),
        ("title: [", "own.yml: "),
        (_PLAIN.replace("level: low\n", ""), "level is missing"),
        (_PLAIN.replace("id: ", "of: "), "id is missing"),
        (_PLAIN.replace("description: ", "why: "), "description is missing"),
        (_PLAIN.replace("low", "dreadful"), "dreadful"),
        (_PLAIN.replace("condition: selection", "condition: other"), "other"),
        (_PLAIN + "---\n" + _PLAIN.replace("5f0c", "6f0c"), "not 2"),
        (_PLAIN.replace("  condition: selection", "  condition: [selection, not selection]"), "one condition"),
        (_PLAIN + "known: {by: user_id, for: 1d}\n", "known is for correlations"),
        (_PLAIN.replace("event: user.blocked", "'event|re': '('"), "own.yml: "),
        (_PLAIN.replace("event: user.blocked", "'event|no_such': x"), "no_such"),
        (
            _PLAIN.replace("event: user.blocked", "- octocat"),
            "values without a field (keywords)",
        ),
        (
            _PLAIN.replace("event: user.blocked", "'|re': octo.*"),
            "values without a field (keywords)",
        ),
        (_CORRELATION.replace("[base]", "[another]"), "another"),
        (_CORRELATION.replace("event_count", "temporal_ordered"), "not temporal_ordered"),
        (_CORRELATION.replace("event_count", "no_such_type"), "no_such_type"),
        (_CORRELATION.replace("1h", "soon"), "soon"),
        (_CORRELATION.replace("gte: 2", "gte: many"), "many"),
        (_CORRELATION.replace("event_count", "value_count"), "without field reference"),
        (_CORRELATION.replace("---", "known: {by: user_id}\n---"), "known has two members"),
        (_CORRELATION.replace("---", "known: {by: user_id, for: long}\n---"), "long"),
        (
            _CORRELATION.replace("title: A rule", "title: A rule\nname: first") + _CHAIN,
            "a correlation of correlations",
        ),
    ],
)
def test_the_error_of_a_broken_file_has_its_name_and_its_fault(text: str, says: str) -> None:
    with pytest.raises(RuleError) as raised:
        loaded(text)
    assert says in str(raised.value)
    assert "own.yml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_broken_file_ends_the_command_with_one_sentence(tmp_path: Path) -> None:
    tmp_path.joinpath("own.yml").write_text("title: nothing else", encoding="utf-8")
    tmp_path.joinpath("audit").mkdir()
    options = ["--audit-dir", str(tmp_path / "audit"), "--rules", str(tmp_path)]
    result = CliRunner().invoke(cli, ["audit", "detect", *options])
    assert isinstance(result.exception, SettingsError)  # printed as one line, with exit code 2
    assert "own.yml" in str(result.exception)


def test_two_rules_with_one_id_are_refused(tmp_path: Path) -> None:
    for name in ("one.yml", "two.yml"):
        tmp_path.joinpath(name).write_text(_PLAIN, encoding="utf-8")
    with pytest.raises(RuleError, match=r"two\.yml: the rule one has the same id"):
        load([tmp_path])


_SHIPPED_TEXTS = [path.read_text(encoding="utf-8") for path in sorted(SHIPPED.iterdir())]
_LINES = sorted({line for text in _SHIPPED_TEXTS for line in text.splitlines()})


@st.composite
def _mutated(draw: st.DrawFn) -> str:
    """A shipped rule with one line replaced by another line or any text, or removed."""
    lines = draw(st.sampled_from(_SHIPPED_TEXTS)).splitlines()
    place = draw(st.integers(0, len(lines) - 1))
    lines[place : place + draw(st.integers(0, 2))] = draw(
        st.lists(st.one_of(st.sampled_from(_LINES), st.text(max_size=20)), max_size=2)
    )
    return "\n".join(lines)


@given(st.one_of(_mutated(), st.text(max_size=40)))
@examples(60)
def test_any_file_is_a_rule_or_a_clear_error(text: str) -> None:
    with suppress(RuleError):
        loaded(text.encode("utf-8", "replace").decode())


def test_a_rule_that_cannot_be_run_is_reported_and_the_others_are_run(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    unknown = _PLAIN.replace("event: user.blocked", "no_such_field: x")
    own.joinpath("unknown_field.yml").write_text(unknown.replace("5f0c0a4e", "5f0c0a4f"), encoding="utf-8")
    own.joinpath("known_field.yml").write_text(_PLAIN, encoding="utf-8")
    write_segment(tmp_path / "audit", batches=[[at(EventKind.USER_BLOCKED, user="mona")]])
    period = ["--since", moments.recorded(SINCE), "--until", moments.recorded(UNTIL)]
    options = ["--audit-dir", str(tmp_path / "audit"), "--rules", str(own), "--unsealed", "--json", *period]
    result = CliRunner().invoke(cli, ["audit", "detect", *options])
    assert result.exit_code == 1
    assert "not run: unknown_field: " in result.stderr
    assert [json.loads(line)["rule"] for line in result.stdout.splitlines()] == ["known_field"]


@pytest.mark.parametrize(
    ("detection", "fires"),
    [
        ("event: USER.blocked", True),
        ("event|cased: USER.blocked", False),
        ("event|startswith: User.", True),
        ("event|re: 'user\\.(un)?blocked'", True),
        ("user: 'mo*a'", True),
        ("user: 'm%a'", False),
        ('user|contains: "\'"', False),
        ("user_id: 7", True),
        ("user_id|gt: 7", False),
        ("mcp_claimed: true", True),
        ("source|cidr: 10.0.0.0/8", True),
        ("operator|exists: false", True),
        ("writer: ext_authz.0", True),
        ("part_of_day: morning", True),
        ("network: 10.1.2.0/24", True),
    ],
)
def test_the_modifiers_of_sigma_have_their_specified_meaning_in_duckdb(
    detection: str, fires: bool, tmp_path: Path
) -> None:
    rule = loaded(_PLAIN.replace("event: user.blocked", detection).replace("5f0c0a4e", str(uuid4())[:8]))
    event = at(
        EventKind.USER_BLOCKED,
        60,
        user="mona",
        user_id=7,
        mcp_claimed=True,
        source="10.1.2.3",
        jti="a",
        key="'\"\\",
    )
    write_segment(tmp_path, batches=[[event]])
    detected = Detection(moments.recorded(SINCE), moments.recorded(UNTIL))
    detected.run(tmp_path, [rule], Sealing(tmp_path, tmp_path / "no.pub"), with_unsealed=True)
    assert (detected.faults, bool(detected.findings)) == ([], fires)


def test_a_negation_is_true_if_the_field_is_missing(tmp_path: Path) -> None:
    text = _PLAIN.replace(
        "  condition: selection", "  filter:\n    user: mona\n  condition: selection and not filter"
    )
    write_segment(
        tmp_path, batches=[[at(EventKind.USER_BLOCKED, 60), at(EventKind.USER_BLOCKED, 200, user="mona")]]
    )
    detected = Detection(moments.recorded(SINCE), moments.recorded(UNTIL))
    detected.run(tmp_path, [loaded(text)], Sealing(tmp_path, tmp_path / "no.pub"), with_unsealed=True)
    [finding] = detected.findings
    assert finding.first.time[11:16] == "07:00"


_STRANGE: list[Event] = [
    {"user": "\ud800 half a pair", "user_id": "no number", "client_id": {"a": 1}, "source": ["10.0.0.1"]},
    {"user": "\x1b[31mred\x00", "user_id": 2**70, "grant_id": "'; DROP TABLE events; --", "source": 7},
    {"user": None, "count": "many", "mcp_name": 5, "call": [], "sequence": 99, "sealed": "x", "weight": "y"},
    {"count": -(2**80), "source": "fe80::1%eth0", "time": "2026-11-30T07:00:00.000000Z tail"},
]


@pytest.mark.parametrize("strange", _STRANGE)
def test_no_value_of_an_event_breaks_a_rule(strange: Event, tmp_path: Path) -> None:
    others = [at(EventKind.REFRESH_REUSED, 60) | strange, at(EventKind.REFRESH_REUSED, 400, grant_id="g1")]
    found = found_by("refresh_token_reuse", others, tmp_path, faults="time" in strange)
    assert "g1" in str([finding.values.get("grant_id") for finding in found])
    assert len(found) == (1 if "time" in strange else 2)


def test_control_characters_of_events_do_not_reach_the_terminal(tmp_path: Path) -> None:
    write_segment(tmp_path, batches=[[at(EventKind.REFRESH_REUSED, user="\x1b[31mred", client_id="a\nHIGH  b")]])
    period = ["--since", moments.recorded(SINCE), "--until", moments.recorded(UNTIL)]
    result = CliRunner().invoke(cli, ["audit", "detect", "--audit-dir", str(tmp_path), "--unsealed", *period])
    assert "\\x1b[31mred" in result.stdout
    assert r"a\nHIGH \x20b" in result.stdout
    assert "\x1b" not in result.stdout
