"""Advice before a gateway goes into production: settings that work, but that an operator should change or review.

The functions are pure: `portcullis.config_check` looks up what files and Redis contain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from oauth_core.net.public_urls import is_loopback
from oauth_core.net.redis_address import is_on_this_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oauth_core.settings.authz import AuthzSettings
    from oauth_core.settings.envoy import EnvoySettings
    from oauth_core.settings.gateway import GatewaySettings, RedisSettings
    from oauth_core.settings.web import WebSettings

_LONG_ACCESS_TOKEN = 3600
_SHORT_ACCESS_TOKEN = 300
_LONG_BOUND = 5.0
_LONG_GRACE = 60


@dataclass(frozen=True)
class Advice:
    """Advice about one setting. `unsafe` must not go into production; `note` names a task for the operator."""

    kind: Literal["unsafe", "note"]
    setting: str
    text: str


def common_advice(settings: GatewaySettings) -> Iterator[Advice]:
    """Advice about the settings of all programs."""
    if settings.is_local:
        yield Advice("unsafe", "issuer", "is on a loopback address: this gateway serves this machine only")
    if settings.log_level == "debug":
        yield Advice("unsafe", "log.level", "debug logs more about people than a log should contain")
    if not settings.roles:
        yield Advice("note", "roles", "is empty: every eligible person may use every service")
    for service in settings.resolved_services:
        parts = urlsplit(service.upstream)
        if parts.scheme == "http" and not is_loopback(service.upstream):
            yield Advice(
                "note",
                "services",
                f"{service.name} is reached by plain HTTP at {parts.netloc}: that network must be private, "
                "and only Envoy may reach it",
            )


def redis_advice(settings: RedisSettings) -> Iterator[Advice]:
    """Advice about the connection to Redis."""
    parts = urlsplit(settings.redis_url)
    if parts.scheme == "unix":
        return
    if parts.password:
        yield Advice("unsafe", "redis.url", "contains a password, which belongs in REDIS_PASSWORD_FILE")
    if not parts.password and settings.redis_password is None:
        yield Advice("unsafe", "redis.password", "is not set: any program on that machine can make tokens active")
    if parts.scheme.partition("+")[0] == "redis" and not is_on_this_machine(settings.redis_url):
        yield Advice("unsafe", "redis.url", "connects to another machine without TLS; use rediss://")


def web_advice(settings: WebSettings) -> Iterator[Advice]:
    """Advice about the authorization server."""
    if settings.uses_standin:
        yield Advice("unsafe", "github.url", "is the local stand-in for GitHub: anyone can sign in as any person")
    elif "*" in settings.allowed_github_users:
        yield Advice("unsafe", "github.allowed_users", "* makes every GitHub user eligible")
    elif not (settings.allowed_github_users or settings.allowed_github_orgs or settings.allowed_github_teams):
        yield Advice(
            "unsafe", "github.allowed_users", "no person may sign in: name people, organisations or teams"
        )
    if settings.access_token_lifetime < _SHORT_ACCESS_TOKEN:
        yield Advice("unsafe", "tokens.access_token_lifetime", "is so short that clients refresh all the time")
    if settings.access_token_lifetime > _LONG_ACCESS_TOKEN:
        yield Advice(
            "note", "tokens.access_token_lifetime", "is over an hour: groups and scopes are as old as the token"
        )
    if settings.membership_check_interval == 0 and (settings.allowed_github_orgs or settings.allowed_github_teams):
        yield Advice(
            "unsafe", "github.membership_check_interval", "0: a person who left keeps access until a refresh"
        )
    if settings.refresh_grace > _LONG_GRACE:
        yield Advice("unsafe", "tokens.refresh_grace", "a stolen refresh token that was used works for so long")
    if settings.refresh_reuse == "refuse":
        yield Advice(
            "note",
            "tokens.refresh_reuse",
            "refuse: after the theft of a refresh token the thief may keep the grant",
        )
    if settings.assertion_public_keys is None and any(service.assertion for service in settings.services):
        yield Advice(
            "note",
            "server.assertion_public_keys",
            "is not set: services must get the keys of assertions elsewhere",
        )
    if settings.client_registration == "open":
        yield Advice("note", "clients.registration", "anyone may register clients (people still have to consent)")
    yield from _listens("server.listen", settings.web_listen)


def check_service_advice(settings: AuthzSettings) -> Iterator[Advice]:
    """Advice about the check service."""
    if settings.audit_allowed == "none":
        yield Advice("unsafe", "check.audit_allowed", "none: the log does not contain who called which service")
    if settings.revocation_bound > _LONG_BOUND:
        yield Advice(
            "unsafe", "check.revocation_bound", "a revoked token may pass for so long when Redis does not answer"
        )
    if settings.authz_tls_cert is None:
        for address in settings.authz_listen:
            yield from _listens("check.listen", address)
    if settings.metrics_listen is None:
        yield Advice("note", "check.metrics_listen", "is not set: there are no metrics for dashboards and alerts")


def envoy_advice(settings: EnvoySettings) -> Iterator[Advice]:
    """Advice about Envoy."""
    if not settings.terminates_tls and not settings.is_local:
        yield Advice(
            "note",
            "tls.cert",
            "is not set: the proxy before Envoy must terminate TLS, forward Host, and be the only way to Envoy",
        )
    if settings.terminates_tls and settings.hsts_max_age == 0:
        yield Advice("unsafe", "tls.hsts_max_age", "0: an attacker can make browsers use plain HTTP")
    if settings.terminates_tls and not settings.http_redirect_listen:
        yield Advice("note", "tls.http_redirect_listen", "is not set: people who type http:// get no answer")
    if settings.tls_min_version == "1.2":
        yield Advice("note", "tls.min_version", "1.2 is for clients without TLS 1.3")
    if settings.uses_acme and "staging" in settings.acme_directory:
        yield Advice("unsafe", "acme.directory", "is for tests: no browser trusts its certificates")
    if settings.standin_upstream:
        yield Advice("unsafe", "envoy.standin_upstream", "anyone can sign in as any person")


def _listens(setting: str, address: str) -> Iterator[Advice]:
    if not address.startswith("unix:") and not is_loopback(f"http://{address}"):
        yield Advice(
            "note",
            setting,
            f"{address} is open to other machines: only Envoy may reach it (a network of their own)",
        )
