"""The client certificate that the caller presented to Envoy, and whether its tokens are bound to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import request

from oauth_core.jose import certificate_thumbprints
from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from oauth_core.model import Client
    from oauth_core.settings import WebSettings

_HEADER = "X-Forwarded-Client-Cert"


def caller_thumbprint(settings: WebSettings) -> str | None:
    """The thumbprint of the caller's certificate; `None` without one, or where tokens are never bound.

    Envoy writes the header and removes a caller's header of that name. A caller that could forge it could only
    bind its own token to another party's certificate.
    """
    values = request.headers.getlist(_HEADER)
    if settings.certificate_bound_tokens == "off" or len(values) != 1:
        return None
    return certificate_thumbprints.of_forwarded(values[0])


def to_bind(settings: WebSettings, client: Client) -> str | None:
    """The thumbprint to which new tokens of `client` are bound; `None` for unbound tokens (RFC 8705 section 3).

    Raises `DisplayedError` when they must be bound and there is no certificate: it never issues a weaker token.
    """
    if not client.certificate_bound and settings.certificate_bound_tokens != "required":
        return None
    thumbprint = caller_thumbprint(settings)
    if thumbprint is None:
        raise refused(OAuthReason.NO_CERTIFICATE)
    return thumbprint
