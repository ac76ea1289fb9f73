"""Finds the settings file of a command, so that every command of a gateway reads the same one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from oauth_core.settings import CONFIG_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT = Path("portcullis.toml")

F = TypeVar("F", bound="Callable[..., Any]")


def settings_file(given: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return `given`, or the file that `PORTCULLIS_CONFIG` names, or `./portcullis.toml` if it exists."""
    if given is not None:
        return given
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    return DEFAULT if DEFAULT.is_file() else None


_HELP = f"The settings file; else the one that {CONFIG_VARIABLE} names, else ./{DEFAULT}."


def config_option(command: F) -> F:
    """Add the option `--config`, with `settings_file` applied to its value."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        callback=lambda _context, _option, given: settings_file(given, os.environ),
        help=_HELP,
    )(command)


beside_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    help=f"The settings file; else that of the running gateway, of {CONFIG_VARIABLE}, or ./{DEFAULT}.",
)
"""The option `--config`, as given, for a command that looks for a running gateway first."""
