"""A mistyped command is answered with the one that was probably meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from portcullis.cli.main import cli

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("typed", "meant"), [(["token", "list"], "tokens"), (["polcy"], "policy"), (["tokens", "lst"], "list")]
)
def test_a_mistyped_command_is_answered_with_the_nearest_one(typed: list[str], meant: str) -> None:
    result = CliRunner().invoke(cli, typed)
    assert result.exit_code == 2
    assert f"Did you mean '{meant}'?" in result.output


def test_a_command_without_a_similar_one_gets_no_suggestion() -> None:
    result = CliRunner().invoke(cli, ["xyzzy"])
    assert result.exit_code == 2
    assert "No such command 'xyzzy'" in result.output
    assert "Did you mean" not in result.output


def test_help_shows_disable_and_enable_and_not_their_former_names() -> None:
    text = CliRunner().invoke(cli, ["services", "--help"]).output
    assert "disable" in text
    assert "enable" in text
    assert "isolate" not in text
    assert "restore" not in text


@pytest.mark.parametrize(("former", "current"), [("isolate", "disable"), ("restore", "enable")])
def test_a_former_name_works_with_a_notice(former: str, current: str, tmp_path: Path) -> None:
    runner, rest = CliRunner(), ["time", "--state-dir", str(tmp_path)]
    by_former, by_current = (runner.invoke(cli, ["services", name, *rest]) for name in (former, current))
    assert f"`services {former}` is now `services {current}`" in by_former.output
    assert "notice" not in by_current.output
    # There is no gateway in that folder, and both commands report that in the same words.
    assert str(by_former.exception) == str(by_current.exception)
    assert by_former.exit_code == by_current.exit_code == 1
