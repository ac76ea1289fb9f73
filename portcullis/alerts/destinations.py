"""Opens the destinations of the settings: reads the files with their addresses and secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.errors import SettingsError
from oauth_core.settings.alerting import webhook_fault
from portcullis.alerts.sending import BoundedSender
from portcullis.alerts.webhook import Webhook, secret_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from oauth_core.settings import AlertSettings
    from oauth_core.settings.alerting import AlertDestination
    from portcullis.alerts.sending import Sender

_LONGEST_FILE = 16_384
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
    url = one.url if one.url_file is None else _text_of("url_file", one.url_file)
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
        return Webhook(url, secret_of(_text_of("secret_file", one.secret_file)))
    except ValueError as error:
        raise ValueError(f"secret_file: the text {error}") from None


def _text_of(key: str, path: Path) -> str:
    """The text of a file, without white space around it. Raises `ValueError`."""
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST_FILE + 1)
        text = data.decode("utf-8-sig").strip()
    except OSError as error:
        raise ValueError(f"{key}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{key}: {path}: it is not UTF-8") from None
    if not text or len(data) > _LONGEST_FILE:
        raise ValueError(f"{key}: {path}: it is empty or too long")
    return text
