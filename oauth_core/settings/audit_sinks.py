"""The settings of sinks: the places beyond this machine that get the audit record (`portcullis audit ship`)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from oauth_core.net.listen_addresses import check_metrics_listen
from oauth_core.net.public_urls import is_http_url, is_loopback
from oauth_core.settings.definitions import Setting
from oauth_core.settings.gateway import GatewaySettings

SinkKind = Literal["otlp", "syslog", "webhook", "nats"]

_SCHEMES: dict[str, tuple[str, str]] = {
    "otlp": ("https", "http"),
    "webhook": ("https", "http"),
    "syslog": ("tls", "tcp"),
    "nats": ("tls", "nats"),
}
"""The scheme of each kind with TLS, and the one without it, which is for loopback addresses only."""
_SUBJECT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def address_fault(kind: SinkKind, url: str) -> str | None:
    """The reason why `url` cannot be the address of such a sink, or `None`. It does not show the address."""
    secure, plain = _SCHEMES[kind]
    fault = f"must be {secure}://HOST; only loopback addresses may use {plain}"
    scheme, _, rest = url.partition("://")
    # Parsed strictly, as a URL of the web: the same host and port in each kind.
    as_web = f"{'https' if scheme == secure else 'http'}://{rest}"
    if scheme not in {secure, plain} or not is_http_url(as_web):
        return fault
    parts = urlsplit(as_web)
    if "@" in parts.netloc:
        return "must not have a user or a password: secrets are in files"
    if scheme == plain and not is_loopback(as_web):
        return fault
    if kind in {"syslog", "nats"}:
        if parts.path not in {"", "/"} or parts.query or parts.fragment:
            return f"must be {secure}://HOST:PORT and nothing else"
        if kind == "syslog" and scheme == plain and parts.port is None:
            return "must have a port"
    return None


class AuditSink(BaseModel):
    """One `[[audit.sinks]]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: Annotated[
        str,
        Setting(
            "A short name in lower case, for `portcullis audit sinks`. Its place in the record is kept by it."
        ),
    ] = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")
    kind: Annotated[
        SinkKind,
        Setting(
            "`otlp`: logs of OpenTelemetry by HTTP. `syslog`: RFC 5424 over TLS. `webhook`: signed JSON by POST, "
            "as [Standard Webhooks](https://www.standardwebhooks.com) defines it. `nats`: a stream of NATS "
            "JetStream.",
        ),
    ]
    url: Annotated[
        str,
        Setting(
            "Its address: `https://HOST/v1/logs` of `otlp`, `tls://HOST:6514` of `syslog`, `https://…` of a "
            "`webhook`, `tls://HOST:4222` of `nats`. Without TLS (`http`, `tcp`, `nats`) on this machine only. "
            "It is shown to operators.",
        ),
    ]
    headers_file: Annotated[
        Path | None,
        Setting("For `otlp`: a file of headers, one `Name: value` in each line, such as a token."),
    ] = None
    secret_file: Annotated[
        Path | None,
        Setting(
            "For a `webhook`, always: the file of the secret that signs, `whsec_` and 24 to 64 bytes in base64. "
            "For `nats`: a file with a token, or with `USER:PASSWORD`.",
        ),
    ] = None
    ca_file: Annotated[
        Path | None,
        Setting(
            "The certificates of the authorities that the sink's certificate must be from.",
            default_text="those of the system",
        ),
    ] = None
    cert_file: Annotated[Path | None, Setting("The certificate of this gateway, where the sink asks for one.")] = (
        None
    )
    key_file: Annotated[Path | None, Setting("The private key of `cert_file`.")] = None
    subject: Annotated[
        str,
        Setting("For `nats`: the subject under which records are published. A stream must store it."),
    ] = "portcullis.audit"
    enterprise_number: Annotated[
        int,
        Setting(
            "For `syslog`: the private enterprise number in the name of the structured data, `portcullis@NUMBER`. "
            "Set that of your organization, if it has one: the default is the number for examples.",
            standard="RFC 5424 section 7.2.2",
        ),
    ] = Field(default=32473, ge=1, le=2**32 - 1)
    proof: Annotated[
        Literal["entries", "frames"],
        Setting(
            "What is sent beside the events, so that a sink can "
            "[prove](audit-sinks.md#proving-completeness) that it has all of them. "
            "`entries`: the entries of the sealed tree, and checkpoints. `frames`: also the frames of the "
            "segments, so that the content of each event can be proven too. Not for `syslog`.",
        ),
    ] = "entries"

    @property
    def shown_address(self) -> str:
        """The part of the address that a command may show: a path can have a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def files(self) -> dict[str, Path]:
        """The files that the table names, by their settings."""
        names = ("headers_file", "secret_file", "ca_file", "cert_file", "key_file")
        return {name: path for name in names if (path := getattr(self, name)) is not None}

    @property
    def secret_files(self) -> tuple[Path, ...]:
        """The files that only their owner may read."""
        return tuple(path for path in (self.headers_file, self.secret_file, self.key_file) if path is not None)

    @model_validator(mode="after")
    def _complete(self) -> AuditSink:
        if fault := address_fault(self.kind, self.url):
            raise ValueError(f"url {fault}")
        if self.headers_file is not None and self.kind != "otlp":
            raise ValueError("headers_file is for otlp")
        if self.kind == "webhook" and self.secret_file is None:
            raise ValueError("a webhook needs secret_file, the file of the secret that signs")
        if self.secret_file is not None and self.kind not in {"webhook", "nats"}:
            raise ValueError("secret_file is for a webhook and for nats")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together")
        if self.kind == "syslog" and self.proof == "frames":
            raise ValueError("frames are too long for messages of syslog: proof must be entries")
        if not _SUBJECT.fullmatch(self.subject):
            raise ValueError("subject must be words of letters, digits, _ and - with dots between them")
        return self


def _check_names(sinks: tuple[AuditSink, ...]) -> tuple[AuditSink, ...]:
    if len({one.name for one in sinks}) != len(sinks):
        raise ValueError("two sinks have the same name")
    return sinks


class SinkSettings(GatewaySettings):
    """Where the audit record goes beyond this machine."""

    audit_sinks: Annotated[
        tuple[AuditSink, ...],
        Field(max_length=16),
        AfterValidator(_check_names),
        Setting(
            "One `[[audit.sinks]]` table for each place that gets the record, see below. With one, "
            "`portcullis up` runs `portcullis audit ship`.",
            key="audit.sinks",
        ),
    ] = ()

    audit_sinks_metrics_listen: Annotated[
        str | None,
        AfterValidator(check_metrics_listen),
        Setting(
            "Where Prometheus reads the [metrics](metrics.md#sinks) of `portcullis audit ship`: `host:port` of "
            "loopback, or `unix:/path`.",
            key="audit.sinks_metrics_listen",
        ),
    ] = None
