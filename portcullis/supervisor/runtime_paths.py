"""What a gateway on one machine stands on: folders, files and programs that are there before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from portcullis.supervisor.redis_config import OwnRedis


@dataclass(frozen=True, slots=True)
class RuntimePaths:
    """What the plan stands on.

    `redis`, `master_key_file`, `assertion_key_file` and `standin_secret_file` are `None` when the operator brings
    their own. `jwks_verification_key` belongs to the master key; it is `None` when that cannot be read.
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
    acme_dir: Path
    redis_server: str
    envoy: str

    def log_of(self, name: str) -> Path:
        """The log file of the child `name`, in the way of `log_files.LogFiles.of`."""
        return self.logs / f"{name}.log"

    @property
    def web_socket(self) -> Path:
        """Where `oauth_web` listens."""
        return self.run_dir / "web.sock"

    @property
    def authz_socket(self) -> Path:
        """Where the first worker of `ext_authz` listens; the others have theirs beside it."""
        return self.run_dir / "authz.sock"

    @property
    def standin_socket(self) -> Path:
        """Where the GitHub stand-in listens."""
        return self.run_dir / "github.sock"

    @property
    def admin_socket(self) -> Path:
        """Where Envoy's admin interface listens: a file, so that only this user reaches it."""
        return self.run_dir / "envoy-admin.sock"

    @property
    def acme_socket(self) -> Path:
        """Where `portcullis acme` answers the certificate authority's questions."""
        return self.run_dir / "acme.sock"

    @property
    def tls_secret_file(self) -> Path:
        """What tells Envoy where the operator's own certificate is."""
        return self.run_dir / "tls-secret.json"

    @property
    def assertion_public_file(self) -> Path:
        """The public half of the key in `assertion_key_file`."""
        return self.run_dir / "assertion-key.pub"

    @property
    def envoy_file(self) -> Path:
        """The rendered Envoy configuration."""
        return self.run_dir / "envoy.json"

    @property
    def redis_file(self) -> Path:
        """The rendered Redis configuration."""
        return self.run_dir / "redis.conf"
