"""Opens the sinks of the settings: reads the files with their secrets and certificates."""

from __future__ import annotations

import ssl
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from oauth_core.errors import SettingsError
from portcullis.outgoing.secret_files import text_of
from portcullis.outgoing.signed_webhooks import secret_of
from portcullis.sinks import syslog
from portcullis.sinks.syslog import SyslogSender
from portcullis.sinks.webhook import WebhookSender

if TYPE_CHECKING:
    from oauth_core.settings.audit_sinks import AuditSink
    from portcullis.sinks.sending import Sender

INSTALL = "pip install --require-hashes -r requirements/audit.txt, or pip install 'mcp-portcullis[audit]'"
_HEADER_NAME = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
"""The characters of a token (RFC 9110 section 5.6.2)."""


def senders(sinks: tuple[AuditSink, ...]) -> dict[str, Sender]:
    """Return a sender for each sink, by its name. Raises `SettingsError` with the faults of all of them."""
    found, faults = {}, []
    for sink in sinks:
        try:
            found[sink.name] = _sender(sink)
        except ValueError as error:
            faults.append(f"audit.sinks {sink.name}: {error}")
    if faults:
        raise SettingsError(faults)
    return found


def _sender(sink: AuditSink) -> Sender:
    """Raises `ValueError`, whose message shows no secret."""
    tls = _tls_of(sink)
    try:
        # Imported here: two of them are extras, and each takes a while.
        if sink.kind == "otlp":
            from portcullis.sinks.otlp import OtlpSender  # noqa: PLC0415

            headers = {} if sink.headers_file is None else headers_of(text_of("headers_file", sink.headers_file))
            return OtlpSender(sink.url, headers, tls, version=_version())
        if sink.kind == "nats":
            from portcullis.sinks.nats import NatsSender  # noqa: PLC0415

            secret = None if sink.secret_file is None else text_of("secret_file", sink.secret_file)
            return NatsSender(sink.url, sink.subject, secret, tls)
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] not in {"opentelemetry", "nats"}:
            raise
        raise ValueError(f"a sink of kind {sink.kind} needs a package that is not installed: {INSTALL}") from None
    if sink.kind == "syslog":
        return _syslog(sink, tls)
    if sink.secret_file is None:
        raise ValueError("has no secret_file")
    text = text_of("secret_file", sink.secret_file)
    try:
        return WebhookSender(sink.url, secret_of(text), tls)
    except ValueError as error:
        raise ValueError(f"secret_file: the text {error}") from None


def _syslog(sink: AuditSink, tls: ssl.SSLContext | None) -> SyslogSender:
    parts = urlsplit(sink.url)
    context = (tls or ssl.create_default_context()) if parts.scheme == "tls" else None
    host, port = parts.hostname or "", parts.port or syslog.DEFAULT_PORT
    return SyslogSender(host, port, context, enterprise=sink.enterprise_number)


def headers_of(text: str) -> dict[str, str]:
    """The headers in the text of a file, one in each line. Raises `ValueError`, whose message shows none."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, colon, value = line.partition(":")
        if not line.strip():
            continue
        if not colon or not name or set(name) - _HEADER_NAME or not value.strip().isascii():
            raise ValueError(f"headers_file: line {number} is no header, NAME: VALUE")
        found[name] = value.strip()
    return found


def _tls_of(sink: AuditSink) -> ssl.SSLContext | None:
    """The context of the connections; `None` for the defaults. Raises `ValueError`."""
    if sink.ca_file is None and sink.cert_file is None:
        return None
    try:
        context = ssl.create_default_context(cafile=sink.ca_file)
    except OSError as error:
        raise ValueError(f"ca_file: {sink.ca_file}: {error.strerror or 'it has no certificate'}") from None
    if sink.cert_file is not None:
        try:
            # The password is a refusal: otherwise OpenSSL would ask for it at the terminal.
            context.load_cert_chain(sink.cert_file, sink.key_file, password="")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "they cannot be used"
            raise ValueError(f"cert_file and key_file: {why}") from None
    return context


def _version() -> str:
    try:
        return version("mcp-portcullis")
    except PackageNotFoundError:
        return ""
