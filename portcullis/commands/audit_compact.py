"""`portcullis audit compact`: Parquet copies of closed hours, for fast searches."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from oauth_core.process import file_lock
from portcullis.audit.parquet import compaction, database
from portcullis.cli.audit_folder import audit_dir_option

if TYPE_CHECKING:
    from pathlib import Path


@click.command("compact")
@audit_dir_option
def command(audit_dir: Path) -> None:
    """Copy closed hours into Parquet files, in the folder `parquet`, so that searches are fast.

    Run it every hour. Each hour gets a file, and each day that is over gets one in place of its hours. Segments
    stay, and stay what is sealed. Needs DuckDB: the extra `audit` of the package.
    """
    if not database.is_installed():
        raise click.ClickException("DuckDB is not installed: install the package with its extra `audit`")
    try:
        written = compaction.compact(audit_dir, now=datetime.now(UTC), report=click.echo)
    except file_lock.HeldError as error:
        raise click.ClickException(f"another run (process {error.holder}) makes copies now") from None
    except (OSError, database.fault()) as error:
        raise click.ClickException(f"the copies are not complete: {str(error).splitlines()[0]}") from None
    if not written:
        click.echo("Every closed hour has its copy.")
