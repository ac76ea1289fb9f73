"""A key is rotated and the old one retired while tokens are issued and used: no token is refused meanwhile."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import jwt

from oauth_core.jose.key_ring import PUBLISHED_FIRST
from tests.support.gateway import WHOAMI_ALONE, RunningGateway, running_gateway
from tests.support.mcp_clients import claims_of, probe
from tests.support.oauth_client import OAuthClient

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

LIFETIME = 6
"""The lifetime of an access token in seconds, so that the old key's last token expires within the test."""

ENVIRON = {"ACCESS_TOKEN_LIFETIME": str(LIFETIME), "ALLOW_SHORT_ACCESS_TOKENS": "true"}
"""For the gateway, and for the operator's command, which needs the lifetime of tokens."""

USERS = 3
_PAUSE = 0.1
_PATIENCE = 60.0


@dataclass
class Traffic:
    """The result of the load so far: uses by the key that signed, and each refusal of an active token."""

    used: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def saw(self, token: str, answer: httpx2.Response) -> None:
        """Count one use. A token that expired on the way proves nothing."""
        kid = str(jwt.get_unverified_header(token)["kid"])
        if answer.status_code == 200:
            self.used[kid] = self.used.get(kid, 0) + 1
        elif time.time() < claims_of(token)["exp"] - 1:
            self.refused.append(f"{kid}: {answer.status_code} {answer.headers.get('WWW-Authenticate')}")


async def one_user(gateway: RunningGateway, oauth: OAuthClient, traffic: Traffic) -> None:
    """Sign in once; then refresh, use the fresh token at once and again a little later, without end."""
    client_id = (await oauth.register()).client_id
    resource = gateway.resource("whoami")
    tokens = await oauth.tokens(client_id, resource=resource)
    while True:
        before = tokens["access_token"]
        refreshed = await oauth.refresh(client_id, tokens["refresh_token"])
        assert refreshed.status_code == 200, refreshed.text
        tokens = refreshed.json()
        for token in (tokens["access_token"], before, tokens["access_token"]):
            traffic.saw(token, await probe(oauth.http, resource, token))
        await asyncio.sleep(_PAUSE)  # the operator's commands need processor time too


async def keys(gateway: RunningGateway, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Run the operator's command. Return its exit code and the ring that it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "portcullis", "keys", "--state-dir", str(gateway.state_dir), *arguments, "--json"),
        env=ENVIRON,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, json.loads(said) if said else []


def _created(key: dict[str, Any]) -> float:
    return datetime.fromisoformat(key["created"]).timestamp()


async def until(load: asyncio.Future[Any], true: Callable[[], bool]) -> None:
    """Wait, while the load continues, until the condition is true."""
    async with asyncio.timeout(_PATIENCE):
        while not true():
            if load.done():
                load.result()
            await asyncio.sleep(0.05)


async def test_no_token_is_refused_while_a_key_is_rotated_and_the_old_one_retired() -> None:
    with running_gateway(config=WHOAMI_ALONE, environ=ENVIRON) as gateway:
        traffic = Traffic()
        users = [OAuthClient(gateway.url) for _ in range(USERS)]
        load = asyncio.gather(*(one_user(gateway, user, traffic) for user in users))
        try:
            await until(load, lambda: sum(traffic.used.values()) >= 3 * USERS)
            code, (new, old) = await keys(gateway, "rotate", "--algorithm", "ES384")
            assert code == 0
            assert old["kid"] in traffic.used
            await until(load, lambda: traffic.used.get(new["kid"], 0) >= 3 * USERS)

            await until(load, lambda: time.time() > _created(new) + PUBLISHED_FIRST + LIFETIME)
            code, ring = await keys(gateway, "retire", old["kid"])
            assert code == 0
            assert [key["kid"] for key in ring] == [new["kid"]]
            used = traffic.used[new["kid"]]
            await until(load, lambda: traffic.used[new["kid"]] >= used + 5 * USERS)
        finally:
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)
            for user in users:
                await user.http.aclose()
        assert traffic.refused == []
        assert traffic.used.keys() == {old["kid"], new["kid"]}
