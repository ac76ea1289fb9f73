"""The configuration of the Redis of `portcullis up`: one Unix socket, three users, all writes persistent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from oauth_core.crypto.digests import sha256_hex
from oauth_core.store.client_cache.token_status import CHECK_ACL

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OPERATOR, WEB, AUTHZ = "default", "web", "authz"

RULES: Mapping[str, str] = {
    # For the operator, who may `DEL token:<jti>` or inspect records.
    OPERATOR: "~* &* +@all",
    # Reads and writes records; cannot flush, reconfigure, list keys or shut down.
    # Rate limits use Redis' TIME, because the clocks of replicas differ. INFO shows how full Redis is, so that
    # unauthenticated callers are refused before it is full.
    WEB: "~* resetchannels -@all +@read +@write +@connection +@transaction +@scripting -@dangerous +time +info",
    # Reads the token status, the public keys and the disabled services; cannot write.
    AUTHZ: " ".join(CHECK_ACL),
}


@dataclass(frozen=True, slots=True)
class OwnRedis:
    """The Redis that `up` runs: its socket, its data folder and the password file of each user."""

    socket: Path
    data: Path
    passwords: Mapping[str, Path]

    def url(self, user: str) -> str:
        """The URL for `user`, without the password."""
        return f"unix://{user}@{quote(str(self.socket))}"


def render(redis: OwnRedis) -> str:
    """The text of `redis.conf`. It has hashes of the passwords only."""
    lines = [
        "port 0",
        f"unixsocket {_quoted(str(redis.socket))}",
        "unixsocketperm 700",
        f"dir {_quoted(str(redis.data))}",
        "daemonize no",
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        # Eviction would revoke a token or delete a client without an error; a refused write is an error.
        "maxmemory-policy noeviction",
    ]
    for user, rules in RULES.items():
        password = redis.passwords[user].read_text(encoding="utf-8").strip()
        digest = sha256_hex(password.encode())
        lines.append(f"user {user} reset on #{digest} {rules}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'
