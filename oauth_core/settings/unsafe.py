"""Settings with which programs refuse to start, each with the reason. Most count only if others reach the gateway.

This module contains only settings that no operator can intend. `oauth_core.settings.production` has those that can
be intended, but need a review before others rely on the gateway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from oauth_core.net.redis_address import is_on_this_machine
from oauth_core.settings.envoy import EnvoySettings
from oauth_core.settings.gateway import RedisSettings
from oauth_core.settings.web import STANDIN_PATH, WebSettings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from oauth_core.settings.gateway import GatewaySettings


def refusals(settings: GatewaySettings, secrets: Collection[str]) -> list[str]:
    """The reasons to refuse `settings`, one line each; `secrets` are the names of the secret fields."""
    faults = list(_secrets_of_services(settings, secrets))
    if settings.is_local:
        return faults
    if isinstance(settings, RedisSettings):
        faults += _redis(settings)
    if isinstance(settings, WebSettings):
        faults += _github(settings)
    if isinstance(settings, EnvoySettings) and settings.standin_upstream:
        faults.append(
            "envoy.standin_upstream lets anyone sign in as any person: "
            "it is only for an issuer on a loopback address"
        )
    return faults


def _secrets_of_services(settings: GatewaySettings, secrets: Collection[str]) -> Iterator[str]:
    for number, service in enumerate(settings.services):
        if ours := [name for name in service.pass_environment if name.removesuffix("_FILE").lower() in secrets]:
            yield f"services.{number}: pass_environment names the gateway's own secrets: {', '.join(ours)}"


def is_open_redis(settings: RedisSettings) -> bool:
    """Whether Redis is on another machine and requires no password."""
    if is_on_this_machine(settings.redis_url):
        return False
    return not urlsplit(settings.redis_url).password and settings.redis_password is None


def _redis(settings: RedisSettings) -> Iterator[str]:
    if is_open_redis(settings):
        yield (
            "redis.url names another machine and there is no password: any program that reaches "
            "that Redis can make tokens active; set REDIS_PASSWORD (or REDIS_PASSWORD_FILE)"
        )


def _github(settings: WebSettings) -> Iterator[str]:
    for name, url in (
        ("github.url", settings.github_url),
        ("github.api_url", settings.github_api_url),
        ("github.backchannel_url", settings.github_backchannel_url),
    ):
        if url is None:
            continue
        if url.startswith("http://"):
            yield f"{name} must use https: plain HTTP exposes the app's secret and the people who sign in"
        if urlsplit(url).path.startswith(STANDIN_PATH):
            yield f"{name} is the local stand-in, where anyone can sign in as any person"
