"""Settings with which no program starts if the gateway is reachable by others, and which are accepted on a local
one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from oauth_core.errors import SettingsError
from oauth_core.settings import DEFINITIONS, EnvoySettings, GatewaySettings, WebSettings, load
from tests.unit.small_settings import ENVIRONMENT, ONE_SERVICE

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_PASSWORD = {name: value for name, value in ENVIRONMENT.items() if name != "REDIS_PASSWORD"}


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (WebSettings, "REDIS_URL", "redis://redis.example:6379/0"),
        (WebSettings, "REDIS_URL", "rediss://user@redis.example:6379/0"),
        (WebSettings, "GITHUB_URL", "http://github.example"),
        (WebSettings, "GITHUB_API_URL", "http://github.example/api/v3"),
        (WebSettings, "GITHUB_BACKCHANNEL_URL", "http://github.example"),
        (WebSettings, "GITHUB_URL", "https://auth.example.com/_github"),
        (EnvoySettings, "STANDIN_UPSTREAM", "127.0.0.1:9002"),
    ],
)
def test_an_unsafe_setting_is_accepted_only_for_a_local_gateway(
    kind: type[GatewaySettings], name: str, value: str, config: Path
) -> None:
    environ = {**WITHOUT_PASSWORD, name: value}
    config.write_text(f'issuer = "https://auth.example.com"\n{ONE_SERVICE}')
    with pytest.raises(SettingsError) as caught:
        load(kind, config, environ)
    (fault,) = caught.value.faults
    assert DEFINITIONS[name.lower()].key in fault
    config.write_text(f'issuer = "http://localhost:8080"\n{ONE_SERVICE}')
    load(kind, config, environ)


def test_a_remote_redis_with_a_password_is_accepted(config: Path) -> None:
    config.write_text(f'issuer = "https://auth.example.com"\n{ONE_SERVICE}')
    load(WebSettings, config, {**ENVIRONMENT, "REDIS_URL": "rediss://redis.example:6379/0"})
    load(WebSettings, config, {**WITHOUT_PASSWORD, "REDIS_URL": "rediss://:hush@redis.example:6379/0"})


def test_a_domain_in_the_environment_overrides_an_issuer_in_the_file(config: Path) -> None:
    config.write_text(f'issuer = "https://auth.example.com"\n{ONE_SERVICE}')
    assert load(GatewaySettings, config, {"BASE_DOMAIN": "example.org"}).issuer == "https://auth.example.org"
    both = {"BASE_DOMAIN": "example.org", "ISSUER": "https://sign-in.example.org"}
    assert load(GatewaySettings, config, both).issuer == "https://sign-in.example.org"


def test_a_log_level_may_be_in_capitals(config: Path) -> None:
    config.write_text(f'issuer = "https://auth.example.com"\n{ONE_SERVICE}')
    assert load(GatewaySettings, config, {"LOG_LEVEL": "INFO"}).log_level == "info"
    with pytest.raises(SettingsError):
        load(GatewaySettings, config, {"LOG_LEVEL": "LOUD"})


@pytest.mark.parametrize(
    "service",
    [
        'upstream = "http://127.0.0.1:1/mcp"\npass_environment = ["API_KEY"]',
        'command = ["x"]\npass_environment = ["MASTER_KEY"]',
        'command = ["x"]\npass_environment = ["REDIS_PASSWORD_FILE"]',
        'command = ["x"]\npass_environment = ["A=B"]',
    ],
)
def test_a_service_gets_only_its_own_variables(service: str, config: Path) -> None:
    config.write_text(f'issuer = "http://localhost:8080"\n[[services]]\nname = "time"\n{service}\n')
    with pytest.raises(SettingsError):
        load(GatewaySettings, config, {})
