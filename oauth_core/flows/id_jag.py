"""Identity assertions (ID-JAG): an identity provider vouches for a person, to one client, for this server only.

The grant of draft-ietf-oauth-identity-assertion-authz-grant, in MCP's profile of it: enterprise-managed
authorization. The person neither signs in here nor sees a consent page. So the settings define which issuers an
operator trusts, for which clients and for which people. This module checks the claims of an assertion; only the
store can know whether it was used before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from oauth_core.errors import DisplayedError
from oauth_core.jose import external_jwts
from oauth_core.jose.external_jwts import JwtFault
from oauth_core.model import User
from oauth_core.policy import scopes
from oauth_core.policy.permissions import implies
from oauth_core.refusals import OAuthFault, OAuthReason, refused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from oauth_core.jose.client_keys import ClientKeys
    from oauth_core.parameters import Parameters
    from oauth_core.policy.resources import ServiceIndex

PROFILE = "urn:ietf:params:oauth:grant-profile:id-jag"

_TYPES = frozenset({"oauth-id-jag+jwt"})
_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}\Z")
_GITHUB_ID = re.compile(r"[1-9][0-9]{0,17}\Z")

# Each of these restricts the assertion in a way that we cannot enforce, so an assertion with one is refused: proof
# of possession (draft section 9.6), and access in finer terms than scopes (RFC 9396).
_NOT_UNDERSTOOD = ("cnf", "authorization_details")


class IdentityFault(OAuthFault):
    """Why an identity assertion was refused."""

    MALFORMED = OAuthReason.IDENTITY_MALFORMED
    WRONG_TYPE = OAuthReason.IDENTITY_WRONG_TYPE
    WRONG_ALGORITHM = OAuthReason.IDENTITY_WRONG_ALGORITHM
    UNKNOWN_KEY = OAuthReason.IDENTITY_UNKNOWN_KEY
    BAD_SIGNATURE = OAuthReason.IDENTITY_BAD_SIGNATURE
    WRONG_ISSUER = OAuthReason.IDENTITY_WRONG_ISSUER
    WRONG_TENANT = OAuthReason.IDENTITY_WRONG_TENANT
    WRONG_AUDIENCE = OAuthReason.IDENTITY_WRONG_AUDIENCE
    WRONG_CLIENT = OAuthReason.IDENTITY_WRONG_CLIENT
    NO_SUBJECT = OAuthReason.IDENTITY_NO_SUBJECT
    NO_ID = OAuthReason.IDENTITY_NO_ID
    BAD_TIMES = OAuthReason.IDENTITY_BAD_TIMES
    EXPIRED = OAuthReason.IDENTITY_EXPIRED
    NOT_YET_VALID = OAuthReason.IDENTITY_NOT_YET_VALID
    NOT_UNDERSTOOD = OAuthReason.IDENTITY_NOT_UNDERSTOOD
    BAD_LIMITS = OAuthReason.IDENTITY_BAD_LIMITS
    USED_BEFORE = OAuthReason.IDENTITY_USED_BEFORE


@dataclass(frozen=True)
class TrustedIssuer:
    """An identity provider that the operator trusts to identify people, to `clients` and to no others.

    `users` maps subjects to people; for other subjects the two claims do, if they are named. With `tenant` only
    that tenant of the issuer is trusted; without it, assertions with a tenant are refused: a subject is unique
    only within its tenant.
    """

    issuer: str
    clients: frozenset[str]
    jwks_uri: str | None = None
    jwks_file: Path | None = None
    tenant: str | None = None
    users: Mapping[str, User] = field(default_factory=dict)
    github_id_claim: str | None = None
    github_user_claim: str | None = None


@dataclass(frozen=True)
class UnverifiedAssertion:
    """Claims of an assertion before any check. None of them is proven."""

    issuer: str
    kid: str | None


@dataclass(frozen=True)
class IdentityAssertion:
    """A genuine assertion, for this server and for its client. Its `jti` may be used once, until second `until`.

    `scopes` and `resources` are the most it allows; `None` where it has no such claim.
    """

    subject: str
    jti: str
    issued_at: int
    until: int
    scopes: tuple[str, ...] | None
    resources: tuple[str, ...] | None
    claims: Mapping[str, Any] = field(repr=False)


def parse_unverified(assertion: str) -> UnverifiedAssertion | IdentityFault:
    """Read an assertion before its check, to find the issuer whose keys verify it."""
    found = external_jwts.parse_jwt(assertion, _TYPES)
    if isinstance(found, JwtFault):
        return IdentityFault[found.name]
    issuer = found.claims.get("iss")
    return (
        UnverifiedAssertion(str(issuer), found.kid) if external_jwts.is_name(issuer) else IdentityFault.MALFORMED
    )


def check(
    assertion: str, keys: ClientKeys, trusted: TrustedIssuer, *, client_id: str, audience: str, now: int
) -> IdentityAssertion | IdentityFault:
    """Check that `trusted` made `assertion` for `client_id` and for `audience`, this server (section 4.4.1)."""
    unchecked = external_jwts.parse_jwt(assertion, _TYPES)
    claims = (
        unchecked if isinstance(unchecked, JwtFault) else external_jwts.verified_claims(assertion, unchecked, keys)
    )
    if isinstance(claims, JwtFault):
        return IdentityFault[claims.name]
    if fault := _fault_of_parties(claims, trusted, client_id=client_id, audience=audience):
        return fault
    until = external_jwts.check_id_and_times(claims, now=now)
    if isinstance(until, JwtFault):
        return IdentityFault[until.name]
    if "iat" not in claims:
        return IdentityFault.BAD_TIMES
    if any(name in claims for name in _NOT_UNDERSTOOD):
        return IdentityFault.NOT_UNDERSTOOD
    limits = _limits(claims)
    if limits is None:
        return IdentityFault.BAD_LIMITS
    return IdentityAssertion(claims["sub"], claims["jti"], int(claims["iat"]), until, *limits, claims)


def user_of(asserted: IdentityAssertion, trusted: TrustedIssuer) -> User | None:
    """The GitHub account of the subject; `None` when neither the settings nor the assertion name it in full."""
    if (known := trusted.users.get(asserted.subject)) is not None:
        return known
    if trusted.github_id_claim is None or trusted.github_user_claim is None:
        return None
    number = asserted.claims.get(trusted.github_id_claim)
    login = asserted.claims.get(trusted.github_user_claim)
    # Many providers can only assert text. In Python `bool` is an `int`, but it is not a valid id.
    text = number if isinstance(number, str) else str(number) if type(number) is int else ""
    if not _GITHUB_ID.match(text) or not isinstance(login, str) or not _LOGIN.match(login):
        return None
    return User(int(text), login)


def narrowed(
    asserted: IdentityAssertion, form: Parameters, services: ServiceIndex
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Scopes and audience of a token: they exceed neither the assertion, nor the request, nor each other.

    Scopes are the intersection of both (profile section 7.2.1). Raises `DisplayedError`: `invalid_scope` or
    `invalid_target`.
    """
    targets = _targets(asserted, form, services)
    allowed = asserted.scopes
    if allowed is None:
        allowed = tuple(service.scope for service in targets)
    # Clients add scopes of other servers (`openid email`): those are left out, as at the other grants.
    requested = tuple(scope for scope in scopes.parse(form.get("scope")) if scope in services.scopes) or allowed
    granted = frozenset(allowed)
    useful = tuple(
        scope
        for scope in requested
        if scope in services.scopes
        and implies(granted, scope)
        and any(implies(frozenset({scope}), name) for service in targets for name in service.permissions)
    )
    if not useful:
        raise refused(OAuthReason.ASSERTION_WITHOUT_SCOPES)
    reached = services.reached_by(useful)
    return useful, tuple(service.resource for service in targets if service in reached)


def _targets(asserted: IdentityAssertion, form: Parameters, services: ServiceIndex) -> tuple[Any, ...]:
    """The services of the assertion, or the part of them that the request names (RFC 8707 section 2.2)."""
    named = services.services
    if asserted.resources is not None:
        found = [services.by_resource(resource) for resource in asserted.resources]
        named = tuple(service for service in services.services if service in found)
    for resource in (requested := form.all("resource")):
        if services.by_resource(resource) not in named:
            raise refused(OAuthReason.ASSERTION_FOR_OTHER_RESOURCE)
    if requested:
        wanted = [services.by_resource(resource) for resource in requested]
        named = tuple(service for service in named if service in wanted)
    if not named:
        raise refused(OAuthReason.ASSERTION_FOR_NO_SERVICE)
    return named


def _fault_of_parties(
    claims: Mapping[str, Any], trusted: TrustedIssuer, *, client_id: str, audience: str
) -> IdentityFault | None:
    if claims.get("iss") != trusted.issuer or client_id not in trusted.clients:
        return IdentityFault.WRONG_ISSUER
    if claims.get("tenant") != trusted.tenant:
        return IdentityFault.WRONG_TENANT
    # Another server could replay here an assertion that is valid there too. An array must contain only us.
    if claims.get("aud") not in (audience, [audience]):
        return IdentityFault.WRONG_AUDIENCE
    if claims.get("client_id") != client_id:
        return IdentityFault.WRONG_CLIENT
    return None if external_jwts.is_name(claims.get("sub")) else IdentityFault.NO_SUBJECT


def _limits(claims: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None] | None:
    """Scopes and resources of the assertion; `None` when they are not well-formed, or when both are missing."""
    scope, resource = claims.get("scope"), claims.get("resource")
    resources = [resource] if isinstance(resource, str) else resource
    if not isinstance(scope, str | None) or not isinstance(resources, list | None):
        return None
    if (scope is None and resources is None) or not all(isinstance(one, str) for one in resources or ()):
        return None
    try:
        allowed = None if scope is None else scopes.parse(scope)
    except DisplayedError:
        return None
    return allowed, None if resources is None else tuple(resources)
