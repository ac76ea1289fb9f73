"""Sign-ins, and their grants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.oauth_client import OAuthClient


async def signed_in(client: OAuthClient) -> tuple[str, dict[str, Any]]:
    """A new client and the tokens of a person who signs in with it."""
    client_id = (await client.register()).client_id
    return client_id, await client.tokens(client_id)


def grant_of(tokens: dict[str, Any]) -> str:
    """The id of the grant that these tokens belong to."""
    return str(tokens["refresh_token"].partition(".")[0])
