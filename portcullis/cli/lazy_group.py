"""A group of commands that imports a command only when it runs, so that its help is fast."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from oauth_core.process.program_imports import kept_imports

if TYPE_CHECKING:
    from collections.abc import Mapping


class LazyGroup(click.Group):
    """`commands_help` has the help of each command by its name; its module is `module` with the name added."""

    def __init__(self, *given: Any, commands_help: Mapping[str, str], module: str, **options: Any) -> None:
        super().__init__(*given, **options)
        self._help_of = commands_help
        self._module = module

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self._help_of)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self._help_of:
            return None
        with kept_imports():
            command = import_module(f"{self._module}{cmd_name.replace('-', '_')}").command
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            if close := get_close_matches(args[0], self._help_of):
                raise click.UsageError(f"No such command {args[0]!r}. Did you mean {close[0]!r}?", ctx) from None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(self._help_of.items()))
