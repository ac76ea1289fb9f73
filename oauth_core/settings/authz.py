"""What the check service needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from oauth_core.jose.jwk_set_signature import KeySetVerifier
from oauth_core.settings.gateway import CommaList, RedisSettings, check_metrics_listen
from oauth_core.tokens.service_assertions import AssertionSigner


class AuthzSettings(RedisSettings):
    """What the check service needs: no private key, no GitHub secret, no writing to Redis."""

    jwks_verification_key: str
    """The public key that verifies the signature of the published key set; it belongs to the master key."""
    authz_listen: CommaList = ("127.0.0.1:9001",)
    revocation_bound: float = Field(default=1.0, ge=0.05, le=30)
    """The longest, in seconds, that a revoked token may pass, whatever breaks. Heartbeats are a quarter of it."""
    remembered_tokens: int = Field(default=100_000, ge=1)
    """How many tokens each process certainly keeps in memory, 2 KB each; it may keep twice as many."""
    concurrent_reads: int = Field(default=1000, ge=1)
    """How many tokens each process asks Redis about at once; who comes on top is told to come again."""
    audit_allowed: Literal["all", "none"] = "all"
    """Whether allowed requests are in the audit log. Refused ones always are."""
    stream_seconds: int = Field(default=300, ge=5, le=86400)
    """How long an event stream that a client opens with GET may live before it is checked again."""
    call_seconds: int = Field(default=900, ge=5, le=86400)
    """How long the answer to any other request may go on."""
    authz_transport: Literal["auto", "http2", "grpcio"] = "auto"
    authz_workers: int = Field(default=0, ge=0, le=256)
    authz_tls_cert: Path | None = None
    authz_tls_key: Path | None = None
    authz_tls_client_ca: Path | None = None
    authz_drain_seconds: float = Field(default=5.0, gt=0, le=300)
    authz_hang_seconds: float = Field(default=5.0, ge=1, le=300)
    assertion_key: SecretStr | None = None
    """The private key (PEM) that signs what services with `assertion` are told."""
    trusted_proxies: int = Field(default=0, ge=0, le=10)
    """How many proxies of the operator's stand before Envoy and name the caller in `X-Forwarded-For`."""
    metrics_listen: Annotated[str | None, AfterValidator(check_metrics_listen)] = None
    """Where Prometheus reads what was counted. This machine only: `host:port` of loopback, or `unix:/path`."""

    @field_validator("jwks_verification_key")
    @classmethod
    def _is_key(cls, value: str) -> str:
        KeySetVerifier(value)
        return value

    @model_validator(mode="after")
    def _whole_identity(self) -> AuthzSettings:
        if (self.authz_tls_cert is None) != (self.authz_tls_key is None):
            raise ValueError("authz_tls_cert and authz_tls_key belong together")
        if self.authz_tls_client_ca and not self.authz_tls_cert:
            raise ValueError("authz_tls_client_ca needs authz_tls_cert and authz_tls_key")
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

    @property
    def assertion_signer(self) -> AssertionSigner | None:
        """Who signs what services are told; `None` without a key, and then no service wants it."""
        return None if self.assertion_key is None else self._signer(self.assertion_key)

    def _signer(self, key: SecretStr) -> AssertionSigner:
        return AssertionSigner.from_pem(key.get_secret_value().encode(), issuer=self.issuer)
