"""The options that name the audit record of a command that searches it."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from portcullis.audit.parquet.record import Record
from portcullis.cli.audit_folder import audit_dir_option

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

F = TypeVar("F", bound="Callable[..., Any]")


def record_options(command: F) -> F:
    """Add `--audit-dir` and `--segments-only`; the command gets `record`, a `Record`."""

    @wraps(command)
    def with_record(*given: Any, audit_dir: Path, segments_only: bool, **options: Any) -> Any:
        return command(*given, record=Record(audit_dir, segments_only=segments_only), **options)

    option = click.option(
        "--segments-only",
        is_flag=True,
        help="Read the segments, which are sealed, also where a Parquet copy of them is faster.",
    )
    return cast("F", option(audit_dir_option(with_record)))
