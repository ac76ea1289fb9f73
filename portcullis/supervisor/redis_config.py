"""The configuration of the Redis that `portcullis up` runs: one Unix socket, three users, every write kept."""

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
    # A person with the password, who may want to `DEL token:<jti>` or look around.
    OPERATOR: "~* &* +@all",
    # Reads and writes records; cannot flush, reconfigure, list keys or shut down.
    # The time is what rate limits count by: that of Redis, for the clocks of replicas differ. INFO tells how full
    # Redis is, so that strangers are refused before it is full.
    WEB: "~* resetchannels -@all +@read +@write +@connection +@transaction +@scripting -@dangerous +time +info",
    # Learns whether a token lives, the public keys and which services are isolated; writes nothing.
    AUTHZ: " ".join(CHECK_ACL),
}


@dataclass(frozen=True, slots=True)
class OwnRedis:
    """A Redis of our own: its socket, its data folder and the password file of each user."""

    socket: Path
    data: Path
    passwords: Mapping[str, Path]

    def url(self, user: str) -> str:
        """The URL for `user`, without the password."""
        return f"unix://{user}@{quote(str(self.socket))}"


def render(redis: OwnRedis) -> str:
    """The text of `redis.conf`. Passwords are in it as hashes only, which Redis compares with."""
    lines = [
        "port 0",
        f"unixsocket {_quoted(str(redis.socket))}",
        "unixsocketperm 700",
        f"dir {_quoted(str(redis.data))}",
        "daemonize no",
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        # Evicting a record would revoke a token or forget a client in silence; refusing to write is heard.
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
