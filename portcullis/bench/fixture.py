"""The fixture of a run: Redis, keys, tokens and settings in a folder that is deleted afterwards.

Redis listens on a Unix socket that only this user can reach and keeps nothing on disk. It has the records that the
authorization server would have written, under the keys of the store.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from redis import Redis
from redis.exceptions import RedisError

from oauth_core.crypto.credentials import new_key
from oauth_core.jose.jwk_set_signature import KeySetSigner
from oauth_core.jose.signing_keys import generate_key, public_jwks
from oauth_core.policy.session_binding import session_key
from oauth_core.store import keyspace
from portcullis.bench import children, minting
from portcullis.programs.redis import redis_server
from portcullis.supervisor.environment import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from oauth_core.jose.signing_keys import Algorithm

ISSUER = "http://localhost:8080"
SERVICE = "bench"
RESOURCE = f"{ISSUER}/{SERVICE}/mcp"
SCOPE = f"mcp.{SERVICE}"

CONFIG = f"""\
issuer = "{ISSUER}"

[[services]]
name = "time"
url = "/time/mcp"
upstream = "http://127.0.0.1:1/mcp"

[[services]]
name = "{SERVICE}"
url = "/{SERVICE}/mcp"
upstream = "http://127.0.0.1:1/mcp"
"""
TOOL_RULES = f"""\

[services.permissions]
tools = {{ "get_*" = "mcp.{SERVICE}.read", "*" = "mcp.{SERVICE}.write" }}
otherwise = "mcp.{SERVICE}.write"
"""
"""Goes behind `CONFIG`, for the last of its services. The tokens' scope implies both permissions."""


@dataclass(frozen=True)
class BenchFixture:
    """The addresses and files of the fixture. `redis_pid` is for measuring processor time."""

    folder: Path
    config: Path
    redis_url: str
    redis_pid: int
    algorithm: Algorithm
    jwks: str
    jwks_verification_key: str
    session_key: str
    pool: Path
    tokens: int

    def with_tool_rules(self) -> BenchFixture:
        """The same with rules for the tools of the service."""
        config = self.folder / "tool-rules.toml"
        config.write_text(CONFIG + TOOL_RULES, encoding="utf-8")
        return replace(self, config=config)

    def redis(self) -> Redis:
        """A plain blocking client, as an operator's would be."""
        return Redis.from_url(self.redis_url, decode_responses=True)


@contextmanager
def make_fixture(*, tokens: int, algorithm: Algorithm, progress: Callable[[str], None]) -> Iterator[BenchFixture]:
    """A fixture with this many live tokens. Raises `BenchFixtureError`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portcullis-bench-")))
        config = folder / "portcullis.toml"
        config.write_text(CONFIG, encoding="utf-8")
        redis_url = f"unix://{folder}/redis.sock"
        redis_pid = stack.enter_context(_redis(folder, redis_url))
        # The public half, for the check service. The private half stays in memory: there is no rotation here.
        key = generate_key(algorithm, now=int(time.time()))
        master_key = new_key()
        jwks, signer = public_jwks((key,)), KeySetSigner(master_key)
        with Redis.from_url(redis_url) as redis:
            redis.set(keyspace.JWKS, signer.sign(jwks, version=1))
        mint = minting.Mint(ISSUER, RESOURCE, SCOPE, algorithm, key.to_pem(), redis_url)
        progress(f"minting {tokens:,} tokens")
        minting.fill(
            mint, tokens, folder / "tokens", lambda made: progress(f"minted {made:,} of {tokens:,} tokens")
        )
        yield BenchFixture(
            folder=folder,
            config=config,
            redis_url=redis_url,
            redis_pid=redis_pid,
            algorithm=algorithm,
            jwks=jwks,
            jwks_verification_key=signer.verification_key,
            session_key=session_key(master_key),
            pool=folder / "tokens",
            tokens=tokens,
        )


@contextmanager
def _redis(folder: Path, url: str) -> Iterator[int]:
    config = folder / "redis.conf"
    lines = ("port 0", f"unixsocket {folder}/redis.sock", "unixsocketperm 700", 'save ""', f"dir {folder}")
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def answers() -> bool:
        try:
            with Redis.from_url(url) as redis:
                return bool(redis.ping())
        except RedisError:
            return False

    command = [redis_server(os.environ), str(config)]
    with children.running("redis", command, plain(os.environ), folder, answers) as pid:
        yield pid
