"""The folders, files and programs of a gateway on one machine, which exist before the first program starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from portcullis.supervisor.redis_config import OwnRedis


@dataclass(frozen=True, slots=True)
class RuntimePaths:
    """The paths that the plan uses.

    `redis`, `master_key_file`, `assertion_key_file` and `standin_secret_file` are `None` if the operator provides
    their own. `jwks_verification_key` belongs to the master key; it is `None` if that cannot be read.
    `has_own_session_key` is whether the operator provides the key of sessions.
    """

    config: Path
    environ: Mapping[str, str]
    run_dir: Path
    logs: Path
    redis: OwnRedis | None
    master_key_file: Path | None
    assertion_key_file: Path | None
    standin_secret_file: Path | None
    jwks_verification_key: str | None
    has_own_session_key: bool
    acme_dir: Path
    audit_dir: Path
    audit_seal_key: Path
    alerts_outbox: Path
    redis_server: str
    envoy: str

    def log_of(self, name: str) -> Path:
        """The log file of the child `name`, the same as `log_files.LogFiles.of`."""
        return self.logs / f"{name}.log"

    @property
    def web_socket(self) -> Path:
        """The socket of `oauth_web`."""
        return self.run_dir / "web.sock"

    @property
    def authz_socket(self) -> Path:
        """The socket of the first worker of `ext_authz`; those of the others are beside it."""
        return self.run_dir / "authz.sock"

    @property
    def standin_socket(self) -> Path:
        """The socket of the GitHub stand-in."""
        return self.run_dir / "github.sock"

    @property
    def admin_socket(self) -> Path:
        """The socket of Envoy's admin interface: a file, so that only this user reaches it."""
        return self.run_dir / "envoy-admin.sock"

    @property
    def acme_socket(self) -> Path:
        """The socket on which `portcullis acme` answers the certificate authority's challenges."""
        return self.run_dir / "acme.sock"

    @property
    def tls_secret_file(self) -> Path:
        """The file from which Envoy reads the operator's own certificate."""
        return self.run_dir / "tls-secret.json"

    @property
    def assertion_public_file(self) -> Path:
        """The public half of the key in `assertion_key_file`."""
        return self.run_dir / "assertion-key.pub"

    @property
    def session_key_file(self) -> Path:
        """The key that binds sessions, unless the operator provides it; it belongs to the master key."""
        return self.run_dir / "session.key"

    @property
    def makes_session_key(self) -> bool:
        """Whether there is a `session_key_file`."""
        return not self.has_own_session_key and self.jwks_verification_key is not None

    @property
    def envoy_file(self) -> Path:
        """The rendered Envoy configuration."""
        return self.run_dir / "envoy.json"

    @property
    def redis_file(self) -> Path:
        """The rendered Redis configuration."""
        return self.run_dir / "redis.conf"
