"""A mistyped command is answered with the one that was probably meant."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from portcullis.cli.main import cli


@pytest.mark.parametrize(
    ("typed", "meant"), [(["token", "list"], "tokens"), (["polcy"], "policy"), (["tokens", "lst"], "list")]
)
def test_a_mistyped_command_is_answered_with_the_nearest_one(typed: list[str], meant: str) -> None:
    result = CliRunner().invoke(cli, typed)
    assert result.exit_code == 2
    assert f"Did you mean '{meant}'?" in result.output


def test_a_command_that_is_like_none_is_said_not_to_exist() -> None:
    result = CliRunner().invoke(cli, ["xyzzy"])
    assert result.exit_code == 2
    assert "No such command 'xyzzy'" in result.output
    assert "Did you mean" not in result.output
