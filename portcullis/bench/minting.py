"""Tokens in quantity: signed by every processor at once, written to Redis as the authorization server does."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

from redis import Redis

from oauth_core.crypto.credentials import new_identifier
from oauth_core.jose.signing_keys import SigningKey
from oauth_core.model import AccessClaims
from oauth_core.process import private_files
from oauth_core.store import keyspace
from oauth_core.tokens import access_tokens
from portcullis.bench import pool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from oauth_core.jose.signing_keys import Algorithm

LIFETIME = 6 * 3600
"""Seconds: longer than any run."""

USERS = 64
"""Users that the tokens belong to, in turns, so that an answer for the wrong user is noticed."""

_FIRST_USER = 583_231
_BATCH = 1000


@dataclass(frozen=True)
class Mint:
    """The values that a token is made of. `pem` is the private key, which is passed on in memory only."""

    issuer: str
    resource: str
    scope: str
    algorithm: Algorithm
    pem: bytes
    redis_url: str


def fill(mint: Mint, count: int, path: Path, progress: Callable[[int], None]) -> None:
    """Issue `count` tokens and write them to a pool. `progress` is called with the number of tokens so far."""
    batches = [(mint, first, min(_BATCH, count - first)) for first in range(0, count, _BATCH)]
    workers = min(len(batches), os.cpu_count() or 1)
    made = 0
    with open(path, "wb", opener=private_files.descriptor) as file:
        if workers == 1:
            for batch in batches:
                file.write(_mint_batch(batch))
            return
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes:
            for lines in processes.map(_mint_batch, batches):
                file.write(lines)
                made = min(count, made + _BATCH)
                progress(made)


def _mint_batch(batch: tuple[Mint, int, int]) -> bytes:
    mint, first, count = batch
    now = int(time.time())
    key = SigningKey.from_pem(mint.pem, mint.algorithm, now)
    lines = []
    with Redis.from_url(mint.redis_url) as redis, redis.pipeline(transaction=False) as pipeline:
        for number in range(first, first + count):
            claims = _claims(mint, number % USERS, now)
            # Value and life as `GrantStore.add_token` gives them; a million calls of it would take minutes.
            pipeline.set(keyspace.token(claims.jti), f"bench-grant-{claims.sub}", exat=claims.exp)
            token = access_tokens.mint(claims, key)
            lines.append(pool.line(pool.Entry(token.encode(), claims.sub.encode(), claims.jti.encode())))
        pipeline.execute()
    return b"".join(lines)


def _claims(mint: Mint, user: int, now: int) -> AccessClaims:
    return AccessClaims(
        iss=mint.issuer,
        sub=str(_FIRST_USER + user),
        aud=(mint.resource,),
        exp=now + LIFETIME,
        iat=now,
        jti=new_identifier(),
        client_id=f"bench-client-{user % 8}",
        scope=mint.scope,
        github_user=f"user-{user}",
        github_id=_FIRST_USER + user,
    )
