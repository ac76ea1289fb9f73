"""Mail, chats and pagers through Apprise, which is part of the extra `audit`.

Each attempt is a process of its own, this module as a program, which is killed when its time is up. Apprise limits
the time of each read and not of the whole, and has no way to end a plugin from outside. The process gets the URL
and the alert on its standard input, because the URL has secrets.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import apprise

from oauth_core.net.public_urls import is_loopback
from oauth_core.process.child_process import answer_of
from portcullis.alerts.alert import Alert
from portcullis.alerts.sending import NotTakenError

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS = 30.0
"""The time limit of a connection and of each read."""
_TOTAL_SECONDS = 45.0
"""The time limit of an attempt, its start included. Less than `ATTEMPT_SECONDS`."""
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


@dataclass(frozen=True)
class Attempt:
    """The result of an attempt: taken, or refused with a status, or a fault."""

    is_taken: bool = False
    status: int | None = None
    retry_after: str | None = None
    fault: str = ""


class Service:
    """One Apprise URL. It verifies certificates and follows no redirects, whatever the URL says."""

    def __init__(self, url: str, *, seconds: float = _TOTAL_SECONDS, now: Callable[[], float] = time.time) -> None:
        """Raises `ValueError`, whose message does not show the URL."""
        self._url = url
        self._seconds = seconds
        self._now = now
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
        """Send an alert in a process of its own. Raises `NotTakenError`."""
        given = json.dumps({"url": self._url, "alert": alert.document()}).encode()
        try:
            code, output = answer_of(
                [sys.executable, "-P", "-m", __name__], os.environ, given, seconds=self._seconds
            )
        except TimeoutError:
            raise NotTakenError(f"it was ended after {self._seconds:g} seconds") from None
        except OSError as error:
            raise NotTakenError(f"no process could be started ({error.strerror})") from None
        try:
            attempt = Attempt(**json.loads(output))
        except (ValueError, TypeError):
            raise NotTakenError(f"its process failed (exit code {code})") from None
        if attempt.is_taken:
            return
        if attempt.status is not None:
            raise NotTakenError.answered(attempt.status, attempt.retry_after, self._now())
        raise NotTakenError(attempt.fault)

    def attempt(self, alert: Alert) -> Attempt:
        """Send an alert in this process."""
        answers: list[tuple[int, str | None]] = []
        _follow_answers(lambda status, retry_after: answers.append((status, retry_after)))
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
            return Attempt(fault=f"Apprise failed ({type(error).__name__})")
        if is_taken:
            return Attempt(is_taken=True)
        if not codes:
            return Attempt(fault="Apprise could not deliver it")
        status = int(codes[-1])
        waits = [retry_after for answered, retry_after in answers if answered == status]
        return Attempt(status=status, retry_after=waits[-1] if waits else None)


def is_clear_text(service: Any) -> bool:
    """Return whether the service sends without TLS, to another machine."""
    mode, is_secure = getattr(service, "secure_mode", None), bool(service.secure)
    if mode is not None:
        is_secure = str(mode) != "insecure"
    has_choice = bool(service.protocol) and bool(service.secure_protocol)
    host = getattr(service, "smtp_host", None) or service.host
    is_here = bool(host) and is_loopback(f"http://[{host}]" if ":" in host else f"http://{host}")
    return has_choice and not is_secure and not is_here


def _follow_answers(follow: Callable[[int, str | None], None]) -> None:
    """Call `follow` with the status and `Retry-After` of each answer over HTTP. It lasts until the process ends.

    Apprise reports the status only, and the library of its plugins uses these connections.
    """

    class Followed(http.client.HTTPResponse):
        def begin(self) -> None:
            super().begin()
            follow(self.status, self.headers.get("Retry-After"))

    http.client.HTTPConnection.response_class = Followed


def main() -> None:
    """Read a URL and an alert, try to send it, and print the `Attempt`."""
    given = json.load(sys.stdin)
    # Plugins may print: what they print is no result, and can have secrets.
    output, sys.stdout = sys.stdout, sys.stderr
    attempt = Service(given["url"]).attempt(Alert.of(given["alert"]))
    print(json.dumps(asdict(attempt)), file=output)


if __name__ == "__main__":
    main()
