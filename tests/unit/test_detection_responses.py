"""The member `response` of rules: its commands exist, and values of callers cannot change them."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING
from uuid import uuid4

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portcullis.cli.main import cli
from portcullis.detection.events_table import VALUES
from portcullis.detection.responses import MOST, filled
from portcullis.detection.rules import SHIPPED, RuleError, load
from tests.unit.detection_rules import shipped

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = st.text(min_size=1, max_size=12)
EXAMPLE = {name: ["1"] for name in VALUES}


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_rule_has_commands_for_the_extent_and_for_ending_it(name: str) -> None:
    response = shipped()[name].response
    assert response.extent
    assert response.end or response.advice


@pytest.mark.parametrize(
    "command",
    sorted(
        {line for rule in shipped().values() for line in (*rule.response.extent, *rule.response.end)} - {"df -h"}
    ),
)
def test_every_command_of_a_response_exists_with_its_options(command: str) -> None:
    [made] = filled([command], EXAMPLE)
    program, *words = shlex.split(made)
    assert program == "portcullis"
    found: click.Command | None = cli
    context = click.Context(cli)
    while isinstance(found, click.Group):
        name, found, words = found.resolve_command(context, words)
        assert found is not None
        context = click.Context(found, parent=context, info_name=name)
    assert found is not None
    options = {option for one in found.params for option in (*one.opts, *one.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= options


@given(value=TEXTS)
def test_a_value_is_one_word_of_the_shell_or_the_command_is_left_out(value: str) -> None:
    found = filled(["portcullis audit timeline grant:{grant_id}"], {"grant_id": [value]})
    if value.isprintable():
        assert [shlex.split(line) for line in found] == [["portcullis", "audit", "timeline", f"grant:{value}"]]
    else:
        assert found == []


def test_a_command_is_made_for_a_limited_number_of_values_and_left_out_without_one() -> None:
    commands = ["portcullis audit timeline token:{jti}", "portcullis audit verify"]
    assert filled(commands, {}) == ["portcullis audit verify"]
    assert len(filled(commands[:1], {"jti": ["a", "b", "c", "d"]})) == MOST


@pytest.mark.parametrize(
    "response",
    ["text", "{extent: text}", "{end: [1]}", "{extent: ['x {nothing}']}", "{advice: [1]}", "{other: x}"],
)
def test_a_response_of_another_form_is_refused_with_the_file(response: str, tmp_path: Path) -> None:
    text = (SHIPPED / "refresh_token_reuse.yml").read_text(encoding="utf-8")
    text = re.sub(r"(?ms)^response:\n.*?^(?=falsepositives)", f"response: {response}\n", text)
    (tmp_path / "own.yml").write_text(re.sub("(?m)^id: .*", f"id: {uuid4()}", text), encoding="utf-8")
    with pytest.raises(RuleError, match=r"own\.yml: .*response"):
        load([tmp_path])


def test_a_rule_of_an_operator_needs_no_response(tmp_path: Path) -> None:
    text = (SHIPPED / "refresh_token_reuse.yml").read_text(encoding="utf-8")
    (tmp_path / "own.yml").write_text(
        re.sub(r"(?ms)^response:\n.*?^(?=falsepositives)", "", text), encoding="utf-8"
    )
    [rule] = load([tmp_path])
    assert rule.response.extent == ()
