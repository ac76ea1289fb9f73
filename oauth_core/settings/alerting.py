"""The settings of alerts (`portcullis alerts`), in addition to those of all programs."""

from __future__ import annotations

import re
from datetime import UTC, time, tzinfo
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from oauth_core.net.listen_addresses import check_metrics_listen
from oauth_core.net.public_urls import is_http_url, is_loopback
from oauth_core.settings.definitions import Setting
from oauth_core.settings.detecting import DetectionSettings

_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")

Level = Literal["critical", "high", "medium", "low", "informational"]


def webhook_fault(url: str) -> str | None:
    """The reason why `url` cannot be the address of a webhook, or `None`. It does not show the address."""
    if not is_http_url(url) or not (url.startswith("https://") or is_loopback(url)):
        return "must be a URL with https; only loopback addresses may use http"
    if "@" in urlsplit(url).netloc:
        return "must not have a user or a password: the signature proves the sender"
    return None


class AlertDestination(BaseModel):
    """One `[[alerts.destinations]]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: Annotated[
        str,
        Setting("A short name in lower case, for `portcullis alerts list` and `test`."),
    ] = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")
    kind: Annotated[
        Literal["webhook", "apprise"],
        Setting(
            "`webhook`: signed JSON by POST, as [Standard Webhooks](https://www.standardwebhooks.com) defines it. "
            "`apprise`: mail, Slack, Teams, PagerDuty and the other services of "
            "[Apprise](https://github.com/caronc/apprise).",
        ),
    ]
    url: Annotated[
        str | None,
        Setting("The address of a webhook. It is shown to operators: a secret address belongs into `url_file`."),
    ] = None
    url_file: Annotated[
        Path | None,
        Setting(
            "A file with the address. For `apprise` always: its URLs contain passwords. Only the scheme is shown, "
            "and of a webhook the host.",
        ),
    ] = None
    secret_file: Annotated[
        Path | None,
        Setting("For a webhook: the file of the secret that signs, `whsec_` and 24 to 64 bytes in base64."),
    ] = None
    level: Annotated[
        Level | None,
        Setting("The lowest level that is sent there.", default_text="that of `alerts.level`"),
    ] = None

    @model_validator(mode="after")
    def _complete(self) -> AlertDestination:
        if self.kind == "apprise":
            if self.url_file is None or self.url is not None:
                raise ValueError("apprise needs url_file, a file with the Apprise URL, and no url")
            if self.secret_file is not None:
                raise ValueError("secret_file is for a webhook; the secret of apprise is in its URL")
            return self
        if (self.url is None) == (self.url_file is None):
            raise ValueError("a webhook needs exactly one of url and url_file")
        if self.secret_file is None:
            raise ValueError("a webhook needs secret_file, the file of the secret that signs")
        if self.url is not None and (fault := webhook_fault(self.url)):
            raise ValueError(f"url {fault}")
        return self


def _check_hours(text: str | None) -> str | None:
    """Check quiet hours. Raises `ValueError`, whose message does not show them."""
    if not text:
        return None
    if not _HOURS.fullmatch(text) or text[:5] == text[6:]:
        raise ValueError("must be two different times of day, such as 22:00-07:00")
    return text


def _check_zone(name: str) -> str:
    """Check the name of a time zone. Raises `ValueError`, whose message does not show it."""
    try:
        zone_of(name)
    except (ValueError, LookupError, OSError):
        raise ValueError("must be a time zone that this machine knows, such as UTC or Europe/Berlin") from None
    return name


def zone_of(name: str) -> tzinfo:
    """The time zone of this name. Raises `ValueError`, `LookupError` and `OSError` for an unknown one."""
    return UTC if name == "UTC" else ZoneInfo(name)


def _check_names(destinations: tuple[AlertDestination, ...]) -> tuple[AlertDestination, ...]:
    if len({one.name for one in destinations}) != len(destinations):
        raise ValueError("two destinations have the same name")
    return destinations


class AlertSettings(DetectionSettings):
    """Where alerts go, and which; and what detection does by itself."""

    alerts_destinations: Annotated[
        tuple[AlertDestination, ...],
        Field(max_length=32),
        AfterValidator(_check_names),
        Setting(
            "One `[[alerts.destinations]]` table for each place that gets alerts, see below. With one, "
            "`portcullis up` runs `portcullis alerts run`.",
            key="alerts.destinations",
        ),
    ] = ()
    alerts_level: Annotated[
        Level,
        Setting(
            "The lowest level of a [rule](audit.md#detection) whose findings become alerts.",
            key="alerts.level",
        ),
    ] = "medium"
    alerts_quiet_hours: Annotated[
        str | None,
        AfterValidator(_check_hours),
        Setting(
            "The times of day, such as `22:00-07:00`, in which only alerts of level `critical` are sent. All "
            "other ones wait until the end.",
            key="alerts.quiet_hours",
        ),
    ] = None
    alerts_time_zone: Annotated[
        str,
        AfterValidator(_check_zone),
        Setting("The time zone of `alerts.quiet_hours`, such as `Europe/Berlin`.", key="alerts.time_zone"),
    ] = "UTC"
    alerts_window: Annotated[
        int,
        Setting(
            "The time after an alert in which the same cause (rule, and person, client, grant or network) makes "
            "no other one. `portcullis alerts list` has the number of the findings of this time.",
            key="alerts.window",
            unit="seconds",
        ),
    ] = Field(default=3600, ge=60, le=604_800)
    alerts_interval: Annotated[
        int,
        Setting(
            "The time between two runs of the rules. Where a run takes long, the next one waits nine times as "
            "long as it took, so that the rules use a tenth of one core at most.",
            key="alerts.interval",
            unit="seconds",
        ),
    ] = Field(default=60, ge=1, le=86_400)
    alerts_give_up: Annotated[
        int,
        Setting(
            "The time after which an alert that a destination does not take is given up. `portcullis alerts list` "
            "shows it as failed.",
            key="alerts.give_up",
            unit="seconds",
        ),
    ] = Field(default=86_400, ge=60, le=2_592_000)
    alerts_rules: Annotated[
        Path | None,
        Setting(
            "A folder with [rules of your own](audit.md#rules-of-your-own), beside the shipped ones.",
            key="alerts.rules",
        ),
    ] = None
    alerts_outbox: Annotated[
        Path | None,
        Setting(
            "The file of the outbox: alerts that wait, and what became of the others.",
            key="alerts.outbox",
            default_text="`alerts.sqlite3` beside the folder of `audit.dir`",
        ),
    ] = None

    alerts_metrics_listen: Annotated[
        str | None,
        AfterValidator(check_metrics_listen),
        Setting(
            "Where Prometheus reads the [metrics](metrics.md#alerts) of `portcullis alerts run`: `host:port` of "
            "loopback, or `unix:/path`.",
            key="alerts.metrics_listen",
        ),
    ] = None

    @model_validator(mode="after")
    def _responses_are_reported(self) -> AlertSettings:
        if self.detection_responses and not self.alerts_destinations:
            raise ValueError("detection.responses needs alerts.destinations: an alert reports each response")
        return self

    @property
    def quiet_hours(self) -> tuple[time, time, tzinfo] | None:
        """Begin, end and time zone of the quiet hours."""
        if self.alerts_quiet_hours is None:
            return None
        begin, _, end = self.alerts_quiet_hours.partition("-")
        return time.fromisoformat(begin), time.fromisoformat(end), zone_of(self.alerts_time_zone)
