"""The settings of the sealer (`portcullis audit seal`), in addition to those of all programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from oauth_core.net.listen_addresses import check_metrics_listen
from oauth_core.net.public_urls import is_http_url, is_loopback
from oauth_core.settings.definitions import Setting
from oauth_core.settings.gateway import CommaList, GatewaySettings

NO_AUTHORITIES = "needs audit.timestamp_ca_file: without it no time stamp could be verified"


def _check_webhook(url: str | None) -> str | None:
    """Check the address of a webhook or an authority. Raises `ValueError`, whose message does not show it."""
    if url and (not is_http_url(url) or not (url.startswith("https://") or is_loopback(url))):
        raise ValueError("must be a URL with https; only loopback addresses may use http")
    return url or None


def _check_monitors(urls: tuple[str, ...]) -> tuple[str, ...]:
    """Check the addresses of other nodes. Raises `ValueError`, whose message shows none."""
    for url in urls:
        _check_webhook(url)
    return urls


class SealSettings(GatewaySettings):
    """Where the sealer's key and its metrics are, and where copies of its checkpoints go."""

    audit_seal_key: Annotated[
        Path | None,
        Setting(
            "The file of the private key that signs [checkpoints](audit.md#sealing-and-verification). Its public "
            "half, in `.pub`, and the newest checkpoint, in `.checkpoint`, are beside it. Only the sealer reads "
            "the private key.",
            key="audit.seal_key",
            default_text="`audit_seal.key` beside the folder of `audit.dir`",
        ),
    ] = None
    audit_checkpoint_file: Annotated[
        Path | None,
        Setting(
            "A copy of checkpoints outside the record, best on another machine. Each new checkpoint replaces "
            "the file. In a folder there is a file for each day, to which one checkpoint a minute is appended.",
            key="audit.checkpoint_file",
        ),
    ] = None
    audit_checkpoint_url: Annotated[
        str | None,
        AfterValidator(_check_webhook),
        Setting(
            "A webhook that gets each checkpoint by POST, as the text of a signed note. The newest one is sent at "
            "least once and again until an answer is 2xx; older ones may be left out.",
            key="audit.checkpoint_url",
        ),
    ] = None
    audit_timestamp_url: Annotated[
        str | None,
        AfterValidator(_check_webhook),
        Setting(
            "A [time-stamping authority](audit.md#time-stamps), which gets the SHA-256 of checkpoints and nothing "
            "else. Its stamps are kept beside the checkpoints. It needs `audit.timestamp_ca_file` and the extra "
            "`audit`.",
            key="audit.timestamp_url",
            standard="RFC 3161",
        ),
    ] = None
    audit_timestamp_ca_file: Annotated[
        Path | None,
        Setting(
            "The certificates of the authorities that a time stamp must be from, in PEM: the root, and those "
            "between it and the authority that stamps do not have.",
            key="audit.timestamp_ca_file",
        ),
    ] = None
    audit_timestamp_minutes: Annotated[
        int,
        Setting(
            "The time between two time stamps. The events since the newest one are in no stamped checkpoint yet.",
            key="audit.timestamp_minutes",
            unit="minutes",
        ),
    ] = Field(default=60, ge=1, le=10_080)
    audit_monitors: Annotated[
        CommaList,
        AfterValidator(_check_monitors),
        Setting(
            "The addresses of the [other nodes](audit.md#other-nodes) that keep the checkpoints of this one, each "
            "`https://HOST:PORT`. The newest one is sent at most every ten seconds, and again until it is taken.",
            key="audit.monitors",
        ),
    ] = ()
    audit_monitor_ca_file: Annotated[
        Path | None,
        Setting(
            "The certificates of the authorities that the certificates of `audit.monitors` must be from.",
            key="audit.monitor_ca_file",
            default_text="those of the system",
        ),
    ] = None
    audit_metrics_listen: Annotated[
        str | None,
        AfterValidator(check_metrics_listen),
        Setting(
            "Where Prometheus reads the sealer's [metrics](metrics.md#the-sealer): `host:port` of loopback, or "
            "`unix:/path`.",
            key="audit.metrics_listen",
        ),
    ] = None
    audit_keep_days: Annotated[
        int | None,
        Setting(
            "Segments that were sealed so many days ago are deleted each day, by a [signed "
            "deletion](audit.md#retention). The sealer does it, so it must be able to delete them.",
            key="audit.keep_days",
            unit="days",
            default_text="none: segments stay",
        ),
    ] = Field(default=None, ge=1, le=36_500)
    audit_keep_bytes: Annotated[
        int | None,
        Setting(
            "The oldest segments are deleted until all have so many bytes, at the same time as by "
            "`audit.keep_days`. Until the next run the record can have more.",
            key="audit.keep_bytes",
            unit="bytes",
            default_text="none: segments stay",
        ),
    ] = Field(default=None, ge=64 * 1024**2, le=10**15)

    @model_validator(mode="after")
    def _check_timestamps(self) -> SealSettings:
        if self.audit_timestamp_url and self.audit_timestamp_ca_file is None:
            raise ValueError(f"audit.timestamp_url: {NO_AUTHORITIES}")
        return self
