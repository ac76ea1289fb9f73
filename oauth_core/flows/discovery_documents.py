"""The discovery documents for clients: RFC 8414 for the authorization server, RFC 9728 for each service.

They are built from the settings only, never from a request's `Host`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.clients.client_metadata import AUTH_METHODS, CERTIFICATE_BOUND
from oauth_core.jose.client_keys import ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oauth_core.grant_types import GrantType
    from oauth_core.model import Service


def authorization_server(
    issuer: str,
    services: Sequence[Service],
    *,
    grant_types: Sequence[GrantType],
    registration: bool = True,
    client_documents: bool = True,
    bound_tokens: bool = False,
) -> dict[str, object]:
    """Authorization server metadata (RFC 8414 section 2).

    `grant_types` are those that this gateway offers. Without `registration`, `client_documents` or `bound_tokens`
    (RFC 8705) the document leaves out the features that would only refuse.
    """
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        **({"registration_endpoint": f"{issuer}/register"} if registration else {}),
        "revocation_endpoint": f"{issuer}/revoke",
        "introspection_endpoint": f"{issuer}/introspect",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        # RFC 9728 section 4: the resources that this server protects.
        "protected_resources": [service.resource for service in services],
        "scopes_supported": sorted({service.scope for service in services}),
        "response_types_supported": [each.response_type for each in grant_types if each.response_type],
        "response_modes_supported": ["query"],
        "grant_types_supported": [each.name for each in grant_types],
        **{name: value for each in grant_types for name, value in each.metadata(issuer).items()},
        "token_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "revocation_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "revocation_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "introspection_endpoint_auth_methods_supported": [method for method in AUTH_METHODS if method != "none"],
        "introspection_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "dpop_signing_alg_values_supported": list(ALGORITHMS),
        "client_id_metadata_document_supported": client_documents,
        **({CERTIFICATE_BOUND: True} if bound_tokens else {}),
    }


def openid_configuration(server: dict[str, object], signing_algorithm: str) -> dict[str, object]:
    """The document `server` with the additional members that OpenID Connect Discovery 1.0 requires (section 3).

    Clients that look for this document check these members. The server issues no ID tokens. The document contains
    the algorithm that it signs with, and RS256, which the specification requires in every list.
    """
    return {
        **server,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": list(dict.fromkeys((signing_algorithm, "RS256"))),
    }


def protected_resource(service: Service, issuer: str) -> dict[str, object]:
    """Metadata of one service (RFC 9728 section 2). Its scopes are the minimum for access."""
    return {
        "resource": service.resource,
        "resource_name": service.title,
        "authorization_servers": [issuer],
        "scopes_supported": [service.scope],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": list(ALGORITHMS),
    }
