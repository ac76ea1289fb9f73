"""The settings of the check service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from oauth_core.jose.jwk_set_signature import KeySetVerifier
from oauth_core.net.listen_addresses import check_metrics_listen
from oauth_core.policy.session_binding import SessionSealer, read_session_keys
from oauth_core.settings.definitions import Setting
from oauth_core.settings.gateway import CommaList, RedisSettings
from oauth_core.tokens.service_assertions import AssertionSigner


class AuthzSettings(RedisSettings):
    """The settings of the check service: no private key, no GitHub secret, no write access to Redis."""

    jwks_verification_key: Annotated[
        str,
        Setting(
            "The public key that verifies the signature of the published key set, as `portcullis keys "
            "verification-key` prints it (43 characters). It belongs to `master_key` and is no secret. "
            "`portcullis up` fills it in.",
            key="check.jwks_verification_key",
            mounted=True,
        ),
    ]
    authz_listen: Annotated[
        CommaList,
        Setting(
            "Addresses of the check service, `host:port` or `unix:/path`; several are given to the "
            "workers in turn.",
            key="check.listen",
        ),
    ] = ("127.0.0.1:9001",)
    revocation_bound: Annotated[
        float,
        Setting(
            "The longest time for which a revoked token may pass, whatever fails. While nothing fails "
            "it takes milliseconds. Heartbeats are a quarter of it.",
            key="check.revocation_bound",
            unit="seconds",
        ),
    ] = Field(default=1.0, ge=0.05, le=30)
    cached_tokens: Annotated[
        int,
        Setting(
            "Tokens that each process certainly keeps in its cache, 2 KB each; it may keep twice as many.",
            key="check.cached_tokens",
            former="remembered_tokens",
        ),
    ] = Field(default=100_000, ge=1)
    concurrent_reads: Annotated[
        int,
        Setting(
            "Tokens that each process asks Redis about at once; further checks are answered with 503.",
            key="check.concurrent_reads",
        ),
    ] = Field(default=1000, ge=1)
    limit_scope: Annotated[
        Literal["shared", "worker"],
        Setting(
            "Who counts the calls for `rate`, `client_rate` and `quota`, see [limits](limits.md). `shared`: all "
            "processes of all replicas together, in Redis. `worker`: each process alone, so all of them together "
            "permit as many times the limit as there are processes.",
            key="check.limit_scope",
        ),
    ] = "shared"
    audit_allowed: Annotated[
        Literal["all", "none"],
        Setting(
            "`none` leaves allowed requests out of the audit log. Refused ones are always in it.",
            key="check.audit_allowed",
        ),
    ] = "all"
    audit_durability: Annotated[
        Literal["batch", "answer"],
        Setting(
            "When the record of an allowed call is on the disk: `batch` within some 50 ms after the answer, so "
            "a machine that loses power loses so much; `answer` before the answer, which then waits some "
            "milliseconds for the disk. It needs an `audit.dir`.",
            key="audit.durability",
        ),
    ] = "batch"
    stream_seconds: Annotated[
        int,
        Setting(
            "How long an event stream that a client opened, with GET or a POST of "
            "`subscriptions/listen`, may last before it is checked again: for so long may a revoked "
            "token still read.",
            key="check.stream_seconds",
            unit="seconds",
        ),
    ] = Field(default=300, ge=5, le=86400)
    call_seconds: Annotated[
        int,
        Setting(
            "How long the answer to any other request may go on; never longer than the token is valid.",
            key="check.call_seconds",
            unit="seconds",
        ),
    ] = Field(default=900, ge=5, le=86400)
    authz_transport: Annotated[
        Literal["auto", "http2", "grpcio"],
        Setting(
            "`http2`: our own HTTP/2 (fast). `grpcio`: gRPC's C library, which has reflection. `auto`: `http2`.",
            key="check.transport",
        ),
    ] = "auto"
    authz_workers: Annotated[
        int,
        Setting(
            "Processes; 0 for one for each core.",
            key="check.workers",
        ),
    ] = Field(default=0, ge=0, le=256)
    authz_tls_cert: Annotated[
        Path | None,
        Setting(
            "Certificate chain (PEM file) that the check service shows; turns TLS on. `portcullis up` "
            "ignores this and the other files of `check.tls_…` and `envoy.authz_upstream_…`: its "
            "programs use sockets that only their user can reach.",
            key="check.tls_cert",
        ),
    ] = None
    authz_tls_key: Annotated[
        Path | None,
        Setting(
            "The private key (PEM file) of `check.tls_cert`.",
            key="check.tls_key",
        ),
    ] = None
    authz_tls_client_ca: Annotated[
        Path | None,
        Setting(
            "Only callers with a certificate of these authorities (PEM file) are answered: mutual TLS.",
            key="check.tls_client_ca",
        ),
    ] = None
    authz_drain_seconds: Annotated[
        float,
        Setting(
            "How long checks that are under way may take once a worker has the signal to stop. Where an "
            "Envoy asks for its health again and again, the first 1.5 s of it (half, if it is less than "
            "3) pass until that has heard.",
            key="check.drain_seconds",
            unit="seconds",
        ),
    ] = Field(default=5.0, gt=0, le=300)
    authz_hang_seconds: Annotated[
        float,
        Setting(
            "A worker that gives no sign of life for so long is replaced.",
            key="check.hang_seconds",
            unit="seconds",
        ),
    ] = Field(default=5.0, ge=1, le=300)
    assertion_key: Annotated[
        SecretStr | None,
        Setting(
            "The private key (PEM; P-256, P-384 or Ed25519) that signs assertions for services with `assertion`.",
            key="check.assertion_key",
        ),
    ] = None
    session_key: Annotated[
        SecretStr | None,
        Setting(
            "The key that [binds sessions](permissions.md#sessions-belong-to-one-person) of services with "
            "`bind_sessions`: 32 bytes in base64, the same for all check services, as `portcullis keys "
            "session-key` prints it. Of several, separated by commas, the first seals and each opens. "
            "`portcullis up` fills it in.",
            key="check.session_key",
        ),
    ] = None
    metrics_listen: Annotated[
        str | None,
        AfterValidator(check_metrics_listen),
        Setting(
            "Where Prometheus reads the check service's [metrics](metrics.md): `host:port` of loopback, "
            "or `unix:/path`.",
            key="check.metrics_listen",
        ),
    ] = None

    @field_validator("jwks_verification_key")
    @classmethod
    def _is_key(cls, value: str) -> str:
        KeySetVerifier(value)
        return value

    @model_validator(mode="after")
    def _whole_identity(self) -> AuthzSettings:
        if (self.authz_tls_cert is None) != (self.authz_tls_key is None):
            raise ValueError("check.tls_cert and check.tls_key belong together")
        if self.authz_tls_client_ca and not self.authz_tls_cert:
            raise ValueError("check.tls_client_ca needs check.tls_cert and check.tls_key")
        return self

    @model_validator(mode="after")
    def _can_sign(self) -> AuthzSettings:
        if self.assertion_key is None:
            if wanting := [service.name for service in self.services if service.assertion]:
                raise ValueError(
                    f"services want assertions ({', '.join(wanting)}): set ASSERTION_KEY (or ASSERTION_KEY_FILE)"
                )
        else:
            self._signer(self.assertion_key)
        return self

    @field_validator("session_key")
    @classmethod
    def _are_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            read_session_keys(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _can_bind(self) -> AuthzSettings:
        if self.session_key is None and (binding := [one.name for one in self.services if one.bind_sessions]):
            raise ValueError(
                f"services bind sessions ({', '.join(binding)}): set SESSION_KEY (or SESSION_KEY_FILE), which "
                "`portcullis keys session-key` prints, or bind_sessions = false for each"
            )
        return self

    @property
    def session_sealer(self) -> SessionSealer | None:
        """The sealer of sessions; `None` without a key, and then no service needs it."""
        key = self.session_key
        return None if key is None else SessionSealer(*read_session_keys(key.get_secret_value()))

    @property
    def assertion_signer(self) -> AssertionSigner | None:
        """The signer of service assertions; `None` without a key, and then no service needs it."""
        return None if self.assertion_key is None else self._signer(self.assertion_key)

    def _signer(self, key: SecretStr) -> AssertionSigner:
        return AssertionSigner.from_pem(key.get_secret_value().encode(), issuer=self.issuer)
