"""Opens the destinations of the settings: reads the files with their addresses and secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.errors import SettingsError
from oauth_core.settings.alerting import webhook_fault
from portcullis.alerts.sending import BoundedSender
from portcullis.alerts.webhook import Webhook
from portcullis.outgoing.secret_files import text_of
from portcullis.outgoing.signed_webhooks import secret_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oauth_core.settings import AlertSettings
    from oauth_core.settings.alerting import AlertDestination
    from portcullis.alerts.sending import Sender

MISSING = (
    "destinations of kind apprise need Apprise, which is not installed: "
    "pip install --require-hashes -r requirements/audit.txt, or pip install 'mcp-portcullis[audit]'"
)


@dataclass(frozen=True)
class Destination:
    """A destination that can be sent to."""

    name: str
    lowest: str
    """The lowest level that it gets."""
    sender: Sender


def lowest_levels(settings: AlertSettings) -> dict[str, str]:
    """Return the lowest level of each destination, by its name."""
    return {one.name: one.level or settings.alerts_level for one in settings.alerts_destinations}


def opened(settings: AlertSettings, names: Sequence[str] = ()) -> list[Destination]:
    """Return the destinations of these names, or all. Raises `SettingsError` with the faults of all of them."""
    found, faults = [], []
    lowest = lowest_levels(settings)
    for one in settings.alerts_destinations:
        if names and one.name not in names:
            continue
        try:
            found.append(Destination(one.name, lowest[one.name], BoundedSender(_sender(one))))
        except ValueError as error:
            faults.append(f"alerts.destinations {one.name}: {error}")
    if faults:
        raise SettingsError(faults)
    return found


def _sender(one: AlertDestination) -> Sender:
    """Raises `ValueError`, whose message shows no secret."""
    url = one.url if one.url_file is None else text_of("url_file", one.url_file)
    if url is None:
        raise ValueError("has no address")
    if one.kind == "apprise":
        try:
            # Imported here: it is an extra, and takes a while.
            from portcullis.alerts.services import Service  # noqa: PLC0415
        except ImportError as error:
            if error.name is None or error.name.partition(".")[0] != "apprise":
                raise
            raise ValueError(MISSING) from None
        try:
            return Service(url)
        except ValueError as error:
            raise ValueError(f"url_file: the text {error}") from None
    if fault := webhook_fault(url):
        raise ValueError(f"url_file: the text {fault}")
    if one.secret_file is None:
        raise ValueError("has no secret_file")
    try:
        return Webhook(url, secret_of(text_of("secret_file", one.secret_file)))
    except ValueError as error:
        raise ValueError(f"secret_file: the text {error}") from None
