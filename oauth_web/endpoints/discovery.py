"""The well-known documents: RFC 8414, OpenID Connect discovery, RFC 9728, and the public keys."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from quart import Blueprint, Response, request

from oauth_core.flows.discovery_documents import authorization_server, openid_configuration, protected_resource
from oauth_core.jose.key_ring import JWKS_MAX_AGE
from oauth_core.net.public_urls import path_of, well_known
from oauth_core.refusals import OAuthReason, refused
from oauth_core.tokens import service_assertions

if TYPE_CHECKING:
    from oauth_web.runtime.deps import Deps

_METADATA_MAX_AGE = 60


def blueprint(deps: Deps) -> Blueprint:
    """The endpoints below `/.well-known`."""
    bp = Blueprint("discovery", __name__)
    issuer = deps.settings.issuer
    server = authorization_server(
        issuer,
        deps.services.services,
        grant_types=deps.grant_types,
        registration=deps.settings.client_registration != "closed",
        client_documents=deps.documents.are_offered,
        bound_tokens=deps.settings.certificate_bound_tokens != "off",
    )
    # A resource's metadata is at its own host and path. Both come from the settings; `Host` only selects.
    resources = {
        (host, urlsplit(service.resource).path): protected_resource(service, issuer)
        for service in deps.services.services
        for host in deps.services.hosts_of(service)
    }

    below = path_of(issuer)
    # For an issuer with a path, the well-known part precedes it (RFC 8414 section 3.1) or follows it (OpenID
    # Connect Discovery section 4.1); clients try both.
    documents = {
        "oauth-authorization-server": server,
        "openid-configuration": openid_configuration(server, deps.settings.signing_algorithm),
    }
    for name, document in documents.items():
        view = partial(_document, json.dumps(document))  # one for both paths: an endpoint has one view
        for place in sorted({path_of(well_known(issuer, name)), f"{below}/.well-known/{name}"}):
            bp.add_url_rule(place, name, view)

    @bp.get("/.well-known/oauth-protected-resource")
    async def root_resource_metadata() -> Response:
        # With several services on this host, its root describes none of them.
        if len(deps.services.services) > 1:
            raise refused(OAuthReason.SEVERAL_SERVICES)
        return _public(json.dumps(protected_resource(deps.services.services[0], issuer)))

    @bp.get("/.well-known/oauth-protected-resource/<path:path>")
    async def resource_metadata(path: str) -> Response:
        document = resources.get((request.host.lower(), f"/{path.removesuffix('/')}"))
        if document is None:
            raise refused(OAuthReason.NO_SUCH_RESOURCE)
        # The document must contain the identifier for which the client asked (RFC 9728 section 3.3).
        slash = "/" if path.endswith("/") else ""
        return _public(json.dumps({**document, "resource": f"{document['resource']}{slash}"}))

    @bp.get(f"{below}/.well-known/jwks.json")
    async def jwks() -> Response:
        return _public(deps.keys.jwks, max_age=JWKS_MAX_AGE)

    @bp.get(f"{below}{service_assertions.PATH}")
    async def service_assertion_jwks() -> Response:
        if deps.assertion_keys is None:
            raise refused(OAuthReason.NO_SERVICE_ASSERTIONS)
        return _public(deps.assertion_keys.jwks)

    return bp


async def _document(text: str) -> Response:
    return _public(text)


def _public(document: str, *, max_age: int = _METADATA_MAX_AGE) -> Response:
    """A document that any cache may keep for `max_age` seconds."""
    return Response(
        document, 200, {"Cache-Control": f"public, max-age={max_age}"}, content_type="application/json"
    )
