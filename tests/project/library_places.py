"""Which library may be imported where. A new library needs a line here and a reason to be in one place only."""

from __future__ import annotations

# Every external package, and the only modules (or packages of modules) that may import it.
BELONGS = {
    "acme": ("portcullis.certificates.authority",),
    "apprise": ("portcullis.alerts.services",),
    "anyio": ("portcullis.bridge",),
    "authlib": ("oauth_web.login_providers.github",),
    "betterproto2": ("portcullis.envoy_config",),
    "click": ("portcullis",),
    "cryptography": (
        "oauth_core.jose.jwk_set_signature",
        "oauth_core.jose.signing_keys",
        "oauth_core.audit_log.signed_notes",
        "oauth_core.crypto.sealed_stream",
        "oauth_core.crypto.sealing",
        "oauth_core.process.certificate_ends",
        "portcullis.audit.timestamps",
        "portcullis.certificates",
    ),
    "dns": ("oauth_web.client_documents.names",),
    "duckdb": ("portcullis.audit.parquet", "portcullis.detection"),
    "envoy_data_plane": ("portcullis.envoy_config",),
    "fastmcp": ("portcullis.bridge",),
    # The benchmark is a client: it uses gRPC and Redis as an external program would.
    "google": (
        "ext_authz.generated",
        "ext_authz.grpc_http2",
        "ext_authz.decision.envoy_messages",
        "ext_authz.decision.envoy_refusals",
        "portcullis.bench",
        "portcullis.sinks.otlp",
        "protos",
    ),
    "grpc": ("ext_authz.transports.grpc_aio", "portcullis.bench", "portcullis.supervisor.probes"),
    "grpc_health": (
        "ext_authz.grpc_http2",
        "ext_authz.transports",
        "portcullis.bench",
        "portcullis.supervisor.probes",
    ),
    "grpc_reflection": ("ext_authz.transports.grpc_aio",),
    "grpc_tools": ("protos",),
    "hpack": ("ext_authz.grpc_http2.header_blocks", "portcullis.bench"),
    "httpx2": (
        "oauth_web.client_documents.fetch",
        "oauth_web.runtime.deps",
        "oauth_web.login_providers.github",
        "portcullis",
    ),
    "hypercorn": ("oauth_web.program", "portcullis.programs.serving"),
    "jiter": ("oauth_core.strict_json",),
    "josepy": ("portcullis.certificates.authority",),
    "jwt": (
        "oauth_core.tokens.access_tokens",
        "oauth_core.jose.client_keys",
        "oauth_core.jose.compact_jws",
        "oauth_core.jose.external_jwts",
        "oauth_core.jose.jwk_set_signature",
        "oauth_core.jose.signing_keys",
        "oauth_core.tokens.service_assertions",
    ),
    "mcp": ("portcullis",),
    "nats": ("portcullis.sinks.nats",),
    "opentelemetry": ("portcullis.sinks.otlp",),
    "pydantic": (
        "oauth_core.settings",
        "oauth_core.store.codec",
        "portcullis",
    ),
    "pydantic_core": ("oauth_core.settings",),
    "quart": ("oauth_web", "portcullis.github_standin"),
    "redis": (
        "oauth_core.store",
        "oauth_web.client_documents.client_directory",
        "oauth_web.runtime.deps",
        "portcullis.backup",
        "portcullis.bench",
        "portcullis.config_check",
        # Operators' commands pass it to the stores.
        "portcullis.commands",
        "portcullis.cli.operator_commands",
        "portcullis.cli.automatic_responses",
        "portcullis.supervisor.probes",
    ),
    "maxminddb": ("portcullis.audit.locations",),
    "requests": ("portcullis.certificates.authority",),
    "rfc3161_client": ("portcullis.audit.timestamps",),
    "sigma": ("portcullis.detection",),
    "starlette": ("portcullis",),
    "structlog": (
        "oauth_core.process.logs",
        "oauth_core.process.settings_watcher",
        # A record that cannot be written must be reported elsewhere.
        "oauth_core.process.audit_segments",
        # A record that cannot be decrypted is an attack that must be reported.
        "oauth_core.store.codec",
        "oauth_web",
        "ext_authz",
        "portcullis.certificates.keeper",
    ),
    "uvloop": ("ext_authz.process.worker",),
    "werkzeug": ("oauth_web", "portcullis.github_standin"),
    "zstandard": ("oauth_core.audit_log.frames",),
}

# The same for modules of the standard library that only some modules may use.
STANDARD_BELONGS = {
    "logging": ("oauth_core.process.logs", "oauth_web", "ext_authz", "portcullis"),
    "importlib": ("oauth_core.process.audit_segments", "oauth_core.process.program_imports", "portcullis"),
    "secrets": ("oauth_core.crypto.credentials", "portcullis"),
    "random": (),
    "uuid": (),
    "pickle": (),
    "marshal": (),
    "shelve": (),
}
