"""Envoy checking the token by itself: `jwt_authn` with its cache, and a rule for the scope.

The fastest way, and without revocation: a token is valid until it expires, whatever is in Redis.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from portcullis.bench import gateway
from portcullis.bench.fixture import ISSUER, RESOURCE, SCOPE, SERVICE
from portcullis.bench.plan import Target
from portcullis.bench.target import MeasuredService

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portcullis.bench.fixture import BenchFixture

_FILTER = "envoy.filters.http.jwt_authn"
_TYPE = "type.googleapis.com/envoy.extensions.filters.http"
_HEADERS = {"x-user-id": "sub", "x-user-name": "github_user", "x-client-id": "client_id", "x-token-scope": "scope"}


@contextmanager
def running(fixture: BenchFixture, url: str, workers: int) -> Iterator[MeasuredService]:
    """An Envoy of `workers` threads. Raises `BenchFixtureError`."""
    with gateway.running(configuration(fixture), "jwt_authn", fixture, workers) as (address, pid):
        yield MeasuredService("jwt_authn", Target(address, "http", url), fixture.pool, {"envoy": pid})


def configuration(fixture: BenchFixture) -> dict[str, Any]:
    """The product's configuration with `jwt_authn` in the place of the check."""
    config = gateway.configuration(fixture, "127.0.0.1:1")
    gateway.without_later_checks(config)
    manager = gateway.manager(config)
    filters = manager["http_filters"]
    at = next(number for number, entry in enumerate(filters) if entry["name"] == gateway.CHECK_FILTER)
    filters[at : at + 1] = [
        {"name": _FILTER, "typed_config": _jwt_authn(fixture)},
        {"name": "portcullis.scope", "typed_config": _scope_rule()},
    ]
    for route in gateway.routes(config):
        route.get("typed_per_filter_config", {}).pop(gateway.CHECK_FILTER, None)
    return config


def _jwt_authn(fixture: BenchFixture) -> dict[str, Any]:
    provider = {
        "issuer": ISSUER,
        "audiences": [RESOURCE],
        "local_jwks": {"inline_string": fixture.jwks},
        "forward": False,
        "payload_in_metadata": "jwt",
        "normalize_payload_in_metadata": {"space_delimited_claims": ["scope"]},
        "claim_to_headers": [{"header_name": name, "claim_name": claim} for name, claim in _HEADERS.items()],
        "jwt_cache_config": {"jwt_cache_size": fixture.tokens + 100},
    }
    return {
        "@type": f"{_TYPE}.jwt_authn.v3.JwtAuthentication",
        "providers": {"portcullis": provider},
        "rules": [{"match": {"prefix": f"/{SERVICE}/"}, "requires": {"provider_name": "portcullis"}}],
    }


def _scope_rule() -> dict[str, Any]:
    has_scope = {
        "filter": _FILTER,
        "path": [{"key": "jwt"}, {"key": "scope"}],
        "value": {"list_match": {"one_of": {"string_match": {"exact": SCOPE}}}},
    }
    return {
        "@type": f"{_TYPE}.rbac.v3.RBAC",
        "rules": {
            "action": "ALLOW",
            "policies": {"scope": {"permissions": [{"metadata": has_scope}], "principals": [{"any": True}]}},
        },
    }
