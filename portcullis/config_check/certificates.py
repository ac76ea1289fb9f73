"""Whether a certificate in the files that the settings name has ended, or ends soon."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from oauth_core.settings import DEFINITIONS
from oauth_core.settings.production import Advice
from portcullis.certificates.pair import Authorities, Pair, PairError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oauth_core.settings import TlsSettings

_SOON = 14 * 86_400
"""Seconds, as in the alert rule of `docs/prometheus-rules.yaml`."""


def check_certificates(settings: TlsSettings, now: float) -> Iterator[Advice]:
    """Advice about certificates that have ended or end soon, at `now`. Other checks report unusable files."""
    for name, ends in _ends(settings):
        if ends < now + _SOON:
            when = datetime.fromtimestamp(ends, UTC).isoformat(timespec="minutes")
            says = "ended" if ends <= now else "ends"
            yield Advice("note", DEFINITIONS[name].key, f"has a certificate that {says} at {when}: renew it")


def _ends(settings: TlsSettings) -> Iterator[tuple[str, float]]:
    with suppress(PairError):
        if settings.tls_cert is not None and settings.tls_key is not None:
            yield "tls_cert", Pair.read(settings.tls_cert, settings.tls_key).ends
    with suppress(PairError):
        if settings.tls_client_ca is not None:
            yield "tls_client_ca", Authorities.read(settings.tls_client_ca).ends
