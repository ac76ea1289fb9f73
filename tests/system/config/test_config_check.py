"""`portcullis config check`: every setting with its origin, secrets masked, and unsafe settings reported."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.jose.signing_keys import generate_key
from oauth_core.settings import DEFINITIONS, SECRETS
from portcullis.config_check.redis import advice
from tests.support import forks
from tests.support.redis_server import running_redis

if TYPE_CHECKING:
    from pathlib import Path

KEY = base64.b64encode(b"k" * 32).decode()
SECRET_VALUES = {
    **{name: KEY if name.endswith("_key") else f"hush-{name}" for name in SECRETS},
    "assertion_key": generate_key("ES256", now=0).to_pem().decode().strip(),
}
GOOD = """
base_domain = "example.com"
tokens.access_token_lifetime = 900
github.allowed_orgs = ["example"]
clients.registration = "token"
check.metrics_listen = "127.0.0.1:9102"
tls.cert = "/nowhere/cert.pem"
tls.key = "/nowhere/key.pem"
tls.http_redirect_listen = "0.0.0.0:80"

[[services]]
name = "time"
upstream = "http://127.0.0.1:1/mcp"
"""


def check(tmp_path: Path, text: str, environ: dict[str, str], *options: str) -> tuple[int, dict[str, Any], str]:
    """The exit code, the report, and the complete output."""
    config = tmp_path / "portcullis.toml"
    config.write_text(text)
    command = ("portcullis", "config", "check", "--config", str(config), *options)
    shown = forks.run(*command, environment=environ)
    done = forks.run(*command, "--json", environment=environ)
    assert shown.returncode == done.returncode
    return done.returncode, json.loads(done.stdout), shown.stdout + done.stdout + shown.stderr + done.stderr


def secret_files(folder: Path) -> dict[str, str]:
    """Every secret in a separate file that only its owner can read."""
    environ = {"GITHUB_CLIENT_ID": "app"}
    for name, value in SECRET_VALUES.items():
        file = folder / name
        file.write_text(value)
        file.chmod(0o600)
        environ[f"{name.upper()}_FILE"] = str(file)
    return environ


def unsafe(report: dict[str, Any]) -> dict[str, str]:
    return {item["setting"]: item["text"] for item in report["advice"] if item["kind"] == "unsafe"}


def test_every_setting_is_listed_with_its_origin_and_no_secret_is_shown(tmp_path: Path) -> None:
    environ = {**secret_files(tmp_path), "CLIENT_LIFETIME": "86400"}
    code, report, printed = check(tmp_path, GOOD, environ, "--production", "--offline")
    assert (code, unsafe(report), report["faults"]) == (0, {}, [])
    settings = {setting["name"]: setting for setting in report["settings"]}
    assert settings.keys() == {definition.key for definition in DEFINITIONS.values()}
    assert settings["issuer"]["value"] == "https://auth.example.com"
    origins = {name: setting["origin"].removeprefix(f"{tmp_path}/") for name, setting in settings.items()}
    assert origins["issuer"] == "portcullis.toml:2"
    assert origins["tokens.access_token_lifetime"] == "portcullis.toml:3"
    assert origins["services"] == "portcullis.toml:11"
    assert origins["clients.lifetime"] == "CLIENT_LIFETIME"
    assert origins["tokens.refresh_grace"] == "default"
    for name, value in SECRET_VALUES.items():
        assert origins[DEFINITIONS[name].key] == f"{name.upper()}_FILE: {tmp_path}/{name}"
        assert value not in printed


def test_unsafe_settings_are_reported_and_are_an_error_only_with_production(tmp_path: Path) -> None:
    environ = secret_files(tmp_path)
    (tmp_path / "master_key").chmod(0o644)
    text = GOOD.replace('orgs = ["example"]', 'users = "*"').replace("= 900", "= 60")
    environ |= {"REDIS_URL": "redis://:hush-in-url@redis.example:6379", "ALLOW_SHORT_ACCESS_TOKENS": "true"}
    environ |= {"AUDIT_ALLOWED": "none", "HSTS_MAX_AGE": "0", "LOG_LEVEL": "DEBUG"}
    code, report, printed = check(tmp_path, text, environ, "--production", "--offline")
    assert code == 1
    assert unsafe(report).keys() == {
        "github.allowed_users",
        "tokens.access_token_lifetime",
        "redis.url",
        "check.audit_allowed",
        "tls.hsts_max_age",
        "log.level",
        "server.master_key",
    }
    assert "hush" not in printed.replace("hush-in-url", "hush") or "hush-in-url" not in printed
    assert check(tmp_path, text, environ, "--offline")[0] == 0


def test_files_of_alert_destinations_that_others_can_read_are_unsafe(tmp_path: Path) -> None:
    for name, mode in (("open.url", 0o644), ("closed.url", 0o600)):
        (tmp_path / name).write_text("json://hush@127.0.0.1/", encoding="utf-8")
        (tmp_path / name).chmod(mode)
    text = GOOD + "".join(
        f'\n[[alerts.destinations]]\nname = "{name}"\nkind = "apprise"\nurl_file = "{tmp_path}/{name}.url"\n'
        for name in ("open", "closed")
    )
    code, report, printed = check(tmp_path, text, secret_files(tmp_path), "--production", "--offline")
    assert code == 1
    found = f"open: {tmp_path}/open.url can be read by every user of this machine: chmod 600"
    assert unsafe(report) == {"alerts.destinations": found}
    assert "hush@" not in printed


def test_every_reason_why_the_gateway_would_not_start_is_reported(tmp_path: Path) -> None:
    environ = {name: value for name, value in secret_files(tmp_path).items() if "REDIS" not in name}
    environ |= {"REDIS_URL": "redis://redis.example:6379", "STANDIN_UPSTREAM": "127.0.0.1:1"}
    environ |= {"GITHUB_URL": "http://auth.example.com/_github"}
    code, report, _ = check(tmp_path, GOOD, environ, "--offline")
    assert code == 2
    for told in (
        "REDIS_PASSWORD",
        "envoy.standin_upstream",
        "github.url must use https",
        "github.url is the local",
    ):
        assert any(told in fault for fault in report["faults"]), told


def test_old_names_are_read_and_the_new_ones_are_reported(tmp_path: Path) -> None:
    environ = secret_files(tmp_path)
    text = GOOD.replace("tokens.access_token_lifetime", "access_token_lifetime").replace("tls.cert", "tls_cert")
    code, report, printed = check(tmp_path, text, environ, "--production", "--offline")
    assert (code, report["faults"]) == (0, [])
    assert [line.removeprefix(f"{tmp_path}/portcullis.toml: ") for line in report["outdated"]] == [
        "access_token_lifetime is an old name: write access_token_lifetime in the table [tokens]",
        "tls_cert is an old name: write cert in the table [tls]",
    ]
    assert printed.count("warning ") == 2
    settings = {setting["name"]: setting for setting in report["settings"]}
    assert settings["tokens.access_token_lifetime"]["value"] == "900"
    assert settings["tokens.access_token_lifetime"]["origin"] == f"{tmp_path}/portcullis.toml:3"
    _, report, printed = check(tmp_path, GOOD, environ, "--offline")
    assert report["outdated"] == []
    assert "warning" not in printed


def test_redis_is_queried(tmp_path: Path) -> None:
    with running_redis(password=SECRET_VALUES["redis_password"]) as redis:
        environ = {**secret_files(tmp_path), "REDIS_URL": redis.url(), "REDIS_TIMEOUT": "20"}
        code, report, _ = check(tmp_path, GOOD, environ, "--production")
        assert code == 1
        assert "in memory only" in unsafe(report)["redis.url"]
        with redis.client() as client:
            client.config_set("appendonly", "yes")
            client.config_set("maxmemory-policy", "allkeys-lru")
        _, report, _ = check(tmp_path, GOOD, environ, "--production")
        assert "evicts" in unsafe(report)["redis.url"]
    _, report, _ = check(tmp_path, GOOD, environ)
    assert "does not answer" in unsafe(report)["redis.url"]


@pytest.mark.parametrize(
    ("about", "saves", "kinds"),
    [
        ({"aof_enabled": 1, "maxmemory": 100, "used_memory": 10}, "", []),
        ({"aof_enabled": 1, "maxmemory": 0}, "", ["note"]),
        ({"aof_enabled": 0, "maxmemory": 100}, "3600 1", ["unsafe"]),
        ({"aof_enabled": 0, "maxmemory": 100}, None, ["note"]),
        ({"aof_enabled": 1, "maxmemory": 100, "used_memory": 90}, "", ["unsafe"]),
        ({"aof_enabled": 1, "maxmemory": 100, "aof_last_write_status": "err"}, "", ["unsafe"]),
        ({"aof_enabled": 1, "maxmemory": 100, "maxmemory_policy": "volatile-ttl"}, "", ["unsafe"]),
    ],
)
def test_the_state_of_redis_is_evaluated(about: dict[str, Any], saves: str | None, kinds: list[str]) -> None:
    assert [item.kind for item in advice(about, saves)] == kinds


def test_quotas_that_would_fill_more_than_half_of_redis_are_reported() -> None:
    about = {"aof_enabled": 1, "maxmemory": 200 * 1_048_576}
    assert list(advice(about, "", quotas=100 * 1_048_576)) == []
    (item,) = advice(about, "", quotas=101 * 1_048_576)
    assert item.kind == "unsafe"
    assert "200 MB" in item.text
    assert "101 MB" in item.text


def test_it_names_the_missing_settings_that_up_makes(tmp_path: Path) -> None:
    code, _, said = check(tmp_path, GOOD, {})
    assert code == 2
    assert "`portcullis up` sets server.master_key and check.jwks_verification_key by itself" in said
    _, _, said = check(tmp_path, GOOD, secret_files(tmp_path))
    assert "by itself" not in said


def test_secret_files_of_sinks_that_others_can_read_are_unsafe(tmp_path: Path) -> None:
    for name, mode in (("open", 0o644), ("closed", 0o600)):
        (tmp_path / name).write_text("Authorization: Bearer hush", encoding="utf-8")
        (tmp_path / name).chmod(mode)
    text = GOOD + "".join(
        f'\n[[audit.sinks]]\nname = "{name}"\nkind = "otlp"\nurl = "https://otel.example.com/v1/logs"\n'
        f'headers_file = "{tmp_path}/{name}"\n'
        for name in ("open", "closed")
    )
    code, report, printed = check(tmp_path, text, secret_files(tmp_path), "--production", "--offline")
    assert code == 1
    found = f"open: {tmp_path}/open can be read by every user of this machine: chmod 600"
    assert unsafe(report) == {"audit.sinks": found}
    assert "Bearer hush" not in printed


def test_limits_on_calls_are_listed(tmp_path: Path) -> None:
    limits = 'rate = "60/minute"\ntool_quotas = { "send" = "5/day" }\n'
    text = f'{GOOD}{limits}[roles.all]\npermissions = ["*"]\nquota = "9/day"\n'
    _, report, _ = check(tmp_path, text, secret_files(tmp_path), "--offline")
    values = {setting["name"]: setting["value"] for setting in report["settings"]}
    assert values["services.time.rate"] == "60/minute"
    assert values["services.time.tool_quotas"] == "send 5/day"
    assert values["roles.all.quota"] == "9/day"
    assert values["check.limit_scope"] == "shared"
