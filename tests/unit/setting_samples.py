"""A value of every setting that differs from its default, as written in the settings file and in
the environment.
"""

from __future__ import annotations

import json
from typing import Any

from oauth_core.jose.signing_keys import generate_key
from oauth_core.settings import DEFINITIONS, KINDS
from oauth_core.settings.json_schema import file_schema
from tests.support.master_key import CHECK_KEYS, MASTER_KEY, SIGNER

SCHEMA = file_schema(KINDS, DEFINITIONS)
PLAIN = sorted(name for name, one in DEFINITIONS.items() if not one.is_secret and not one.is_table)
SECRET = {
    "redis_password": "hush",
    "redis_sentinel_password": "hush",
    "github_client_secret": "hush",
    "master_key": MASTER_KEY,
    "backup_key": MASTER_KEY,
    "session_key": MASTER_KEY,
    "mail_password": "hush",
    "assertion_key": generate_key("ES256", now=0).to_pem().decode().strip(),
}

_TEXTS: dict[str, str | list[str]] = {
    "issuer": "https://gate.example.com",
    "base_domain": "example.org",
    "default_scopes": ["mcp.time"],
    "allowed_origins": ["https://one.example", "https://two.example"],
    "redis_url": "rediss://redis.example:6379/3",
    "github_url": "https://github.example",
    "github_api_url": "https://github.example/api/v3",
    "github_backchannel_url": "https://github.internal.example",
    "allowed_github_users": ["alice", "bob#7"],
    "allowed_github_orgs": ["acme"],
    "allowed_github_teams": ["acme/sre"],
    "client_registration_permissions": ["registration.read"],
    "redirect_schemes": ["myapp"],
    "client_document_hosts": ["claude.ai", "*.example.com"],
    "jwks_verification_key": SIGNER.verification_key,
    "audit_node": "machine-7",
    "audit_checkpoint_url": "https://checkpoints.example.com/gate",
    "audit_timestamp_url": "https://tsa.example.com/",
    "audit_monitors": ["https://node-2.example.com:9443"],
    "audit_monitor_listen": "127.0.0.1:9443",
    "mail_server": "mail.example.com:587",
    "mail_from": "gate@example.com",
    "mail_user": "gate",
    "alerts_quiet_hours": "22:00-07:00",
    "alerts_time_zone": "Europe/Berlin",
    "acme_email": "operator@example.com",
    "acme_directory": "https://acme.example/directory",
    "tls_client_pins": ["ab" * 32],
    "authz_listen": ["127.0.0.1:7", "unix:/run/authz.sock"],
}
_TLS = ("TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA", "HTTP_REDIRECT_LISTEN", "CERTIFICATE_BOUND_TOKENS")
_LOCAL = {"ISSUER": "http://localhost:8080", **dict.fromkeys(_TLS)}
_BASE: dict[str, str | None] = {
    "ISSUER": "https://auth.example.com",
    "MASTER_KEY": MASTER_KEY,
    "REDIS_PASSWORD": "hush",
    "GITHUB_CLIENT_ID": "app",
    "GITHUB_CLIENT_SECRET": "hush",
    **CHECK_KEYS,
    "ALLOW_SHORT_ACCESS_TOKENS": "true",
    "MAIL_FROM": "gate@example.com",
    "AUDIT_TIMESTAMP_CA_FILE": "/authority.pem",
    "AUDIT_MONITOR_KEYS": "/nodes.pub",
    "AUDIT_MONITOR_CERT": "/node.pem",
    "AUDIT_MONITOR_CERT_KEY": "/node-key.pem",
    "TLS_CERT": "/cert.pem",
    "TLS_KEY": "/key.pem",
    "TLS_CLIENT_CA": "/callers.pem",
    "HTTP_REDIRECT_LISTEN": "127.0.0.1:80",
    "AUTHZ_TLS_CERT": "/check.pem",
    "AUTHZ_TLS_KEY": "/check-key.pem",
    "AUTHZ_UPSTREAM_CA": "/check-ca.pem",
    "AUTHZ_UPSTREAM_CERT": "/envoy.pem",
    "AUTHZ_UPSTREAM_KEY": "/envoy-key.pem",
}
_BESIDE: dict[str, dict[str, str | None]] = {
    "standin_upstream": _LOCAL,
    "allow_loopback_client_documents": _LOCAL,
    "acme_email": {"TLS_CERT": None, "TLS_KEY": None},
    "allow_short_access_tokens": {},
}


def schema_of(name: str) -> dict[str, Any]:
    """The schema of a setting's value."""
    place = SCHEMA
    for part in DEFINITIONS[name].key.split("."):
        place = place["properties"][part]
    return place


def samples(name: str) -> list[Any]:
    """Values of a setting in the settings file: each choice, the bounds of a number, or a text."""
    if name in _TEXTS:
        return [_TEXTS[name]]
    schema = schema_of(name)
    if "enum" in schema:
        return list(schema["enum"])
    if schema.get("type") == "boolean":
        return [True, False]
    if schema.get("type") in {"integer", "number"}:
        low = schema["minimum"] if "minimum" in schema else schema["exclusiveMinimum"] + 1
        return [low, schema.get("maximum", low + 100_000)]
    return ["/some/where"] if schema.get("format") == "path" else ["127.0.0.1:7"]


def in_toml(value: Any) -> str:
    """The value as TOML."""
    return json.dumps(value)


def in_environment(value: Any) -> str:
    """The value as an environment variable."""
    if isinstance(value, list):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def beside(name: str) -> dict[str, str]:
    """Variables with which every program starts, without that of the setting `name`."""
    values = _BASE | _BESIDE.get(name, {})
    return {key: value for key, value in values.items() if value is not None and key != DEFINITIONS[name].variable}
