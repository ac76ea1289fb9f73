"""The option that names the audit folder of a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")


def audit_dir_option(command: F) -> F:
    """Add the option `--audit-dir`; it must be a folder that exists."""
    return click.option(
        "--audit-dir",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        default=Path(".portcullis/audit"),
        show_default=True,
        help="The audit folder.",
    )(command)
