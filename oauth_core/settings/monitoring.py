"""The settings of the monitor (`portcullis audit monitor`), which keeps the checkpoints of other nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, model_validator

from oauth_core.net.listen_addresses import UnixAddress, check_metrics_listen, parse
from oauth_core.settings.definitions import Setting
from oauth_core.settings.gateway import GatewaySettings


def _check_listen(value: str | None) -> str | None:
    """Check the address of the monitor. Raises `ValueError`."""
    if value:
        parse(value)
    return value or None


class MonitorSettings(GatewaySettings):
    """Where this node takes the checkpoints of others, and whose."""

    audit_monitor_listen: Annotated[
        str | None,
        AfterValidator(_check_listen),
        Setting(
            "Where this node takes checkpoints of [other nodes](audit.md#other-nodes): `host:port` or "
            "`unix:/path`. With it, `portcullis up` runs `portcullis audit monitor`. Beyond loopback it needs "
            "`audit.monitor_cert`.",
            key="audit.monitor_listen",
        ),
    ] = None
    audit_monitor_keys: Annotated[
        Path | None,
        Setting(
            "A file with the public keys of the other nodes, one in each line, as `portcullis audit key` prints "
            "them there. Lines that begin with `#` are comments.",
            key="audit.monitor_keys",
        ),
    ] = None
    audit_monitor_cert: Annotated[
        Path | None,
        Setting("The certificate of the monitor for TLS, in PEM.", key="audit.monitor_cert"),
    ] = None
    audit_monitor_cert_key: Annotated[
        Path | None,
        Setting("The private key of `audit.monitor_cert`.", key="audit.monitor_cert_key"),
    ] = None
    audit_monitor_dir: Annotated[
        Path | None,
        Setting(
            "The folder of the checkpoints of other nodes.",
            key="audit.monitor_dir",
            default_text="`audit_monitor` beside the folder of `audit.dir`",
        ),
    ] = None
    audit_monitor_metrics_listen: Annotated[
        str | None,
        AfterValidator(check_metrics_listen),
        Setting(
            "Where Prometheus reads the [metrics](metrics.md#the-monitor) of the monitor: `host:port` of "
            "loopback, or `unix:/path`.",
            key="audit.monitor_metrics_listen",
        ),
    ] = None

    @model_validator(mode="after")
    def _check_monitor(self) -> MonitorSettings:
        if not self.audit_monitor_listen:
            return self
        if self.audit_monitor_keys is None:
            raise ValueError("audit.monitor_listen: needs audit.monitor_keys, the keys of the other nodes")
        if (self.audit_monitor_cert is None) != (self.audit_monitor_cert_key is None):
            raise ValueError("audit.monitor_cert: needs audit.monitor_cert_key, and the other way round")
        address = parse(self.audit_monitor_listen)
        if not isinstance(address, UnixAddress) and not address.is_loopback and self.audit_monitor_cert is None:
            raise ValueError("audit.monitor_listen: other machines need TLS: set audit.monitor_cert")
        return self
