"""The databases of locations for commands that show events, as the settings or the environment name them."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oauth_core.errors import SettingsError
from portcullis.cli.audit_folder import gateway_variables
from portcullis.cli.settings_file import settings_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portcullis.audit.locations import Location

VARIABLES = ("DETECTION_COUNTRY_DATABASE", "DETECTION_NETWORK_DATABASE")
_MISSING = (
    "locations need maxminddb, which is not installed: "
    "pip install --require-hashes -r requirements/audit.txt, or pip install 'mcp-portcullis[audit]'"
)


def location_databases() -> tuple[Path, ...]:
    """Return the databases of the environment, of the gateway in this folder or of the settings file.

    A settings file that cannot be used has none: a search in the audit record must not depend on it.
    """
    variables = gateway_variables()
    if found := tuple(Path(variables[name]) for name in VARIABLES if variables.get(name)):
        return found
    file = settings_file(None, variables)
    try:
        if file is None or "_database" not in file.read_text(encoding="utf-8"):
            return ()
        # Imported here: most searches do without, and it takes half a second.
        from oauth_core.settings import DetectionSettings, load  # noqa: PLC0415

        return load(DetectionSettings, file, variables).location_databases
    except (SettingsError, OSError, UnicodeDecodeError):
        return ()


@contextmanager
def opened_locations() -> Iterator[Callable[[object], Location] | None]:
    """Yield the look-up of an address, or `None` without a database. A broken one is a line on standard error."""
    files = location_databases()
    if not files:
        yield None
        return
    try:
        from portcullis.audit.locations import Locations  # noqa: PLC0415 - an extra
    except ImportError as error:
        if error.name != "maxminddb":
            raise
        click.echo(_MISSING, err=True)
        yield None
        return
    with Locations(files) as locations:
        try:
            yield locations.of
        finally:
            for fault in locations.faults:
                click.echo(fault, err=True)
