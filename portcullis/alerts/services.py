"""Mail, chats and pagers through Apprise, which is part of the extra `audit`."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import apprise

from oauth_core.net.public_urls import is_loopback
from portcullis.alerts.sending import NotTakenError

if TYPE_CHECKING:
    from portcullis.alerts.alert import Alert

_SECONDS = 30.0
"""The time limit of one attempt, of which a connection and each answer may take a part."""
_ERROR = re.compile(r"error=([0-9]{3})\b")
_KINDS = {"critical": "failure", "high": "failure", "medium": "warning"}

# Lines of these logs can have addresses and names of people. They go nowhere.
for _name in ("apprise", "requests", "urllib3"):
    logging.getLogger(_name).propagate = False
    logging.getLogger(_name).addHandler(logging.NullHandler())


_MENTION = re.compile(r"(?<![\w.+-])@|@(?=(?:everyone|here|channel|all)\b)", re.IGNORECASE)
_LINK = re.compile(r"\](?=\s*[(\[:])")


def without_markup(text: str) -> str:
    """Return `text` without what chats take for a link with another text, for a mention or for a tag.

    Callers choose a part of the text, and Apprise escapes it for some services only. The characters in place of
    these are of full width, so that they look alike.
    """
    return _LINK.sub("\uff3d", _MENTION.sub("\uff20", text.replace("<", "\uff1c")))


class Service:
    """One Apprise URL. It verifies certificates and follows no redirects, whatever the URL says."""

    def __init__(self, url: str) -> None:
        """Raises `ValueError`, whose message does not show the URL."""
        # In memory only: Apprise keeps no files, and loads no plugins of others.
        self._asset = apprise.AppriseAsset(
            app_id="Portcullis",
            app_desc="Portcullis alerts",
            app_url="",
            storage_mode="memory",
            async_mode=False,
            http_redirects=False,
            service_timeout=_SECONDS,
        )
        service: Any = apprise.Apprise.instantiate(url, asset=self._asset, suppress_exceptions=True)
        if service is None:
            raise ValueError("is no URL that Apprise knows, or a part of it is missing")
        service.verify_certificate = True
        service.redirects = False
        if service.overflow_mode is apprise.OverflowMode.UPSTREAM:
            # A service refuses a text that is too long for it, and callers choose the length of a part of it.
            service.overflow_mode = apprise.OverflowMode.SPLIT
        if is_clear_text(service):
            raise ValueError(
                "sends in clear text to another machine: use the scheme with TLS, such as mailtos or jsons"
            )
        self._service = service
        self.address = f"{url.partition(':')[0].lower()}://…"

    def send(self, alert: Alert) -> None:
        """Send an alert. Raises `NotTakenError`."""
        box = apprise.Apprise(asset=self._asset)
        box.add(self._service)
        codes: list[str] = []
        try:
            is_taken = bool(
                box.notify(
                    title=without_markup(alert.headline),
                    body=without_markup(alert.text()),
                    notify_type=_KINDS.get(alert.level, "info"),
                    body_format="text",
                    log_callback=lambda entry, _service: codes.extend(_ERROR.findall(str(entry.message))),
                    log_level=logging.WARNING,
                )
            )
        except Exception as error:  # noqa: BLE001 - any of more than a hundred plugins
            raise NotTakenError(f"Apprise failed ({type(error).__name__})") from None
        if not is_taken:
            raise NotTakenError(f"it answers {codes[-1]}" if codes else "Apprise could not deliver it")


def is_clear_text(service: Any) -> bool:
    """Return whether the service sends without TLS, to another machine."""
    mode, is_secure = getattr(service, "secure_mode", None), bool(service.secure)
    if mode is not None:
        is_secure = str(mode) != "insecure"
    has_choice = bool(service.protocol) and bool(service.secure_protocol)
    host = getattr(service, "smtp_host", None) or service.host
    is_here = bool(host) and is_loopback(f"http://[{host}]" if ":" in host else f"http://{host}")
    return has_choice and not is_secure and not is_here
