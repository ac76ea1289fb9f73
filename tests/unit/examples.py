"""The issuer, the services and the client of many unit tests."""

from __future__ import annotations

from oauth_core.model import Client, Service
from oauth_core.policy.resources import ServiceIndex

ISSUER = "https://auth.example.com"
TIME = Service("time", "Time", "https://mcp.example.com/time", "http://127.0.0.1:1/mcp", "mcp.time")
NOTES = Service("notes", "Notes", "https://mcp.example.com/notes", "http://127.0.0.1:2/mcp", "mcp.notes")
BARE = Service("bare", "Bare", "https://bare.example.com", "http://127.0.0.1:3/mcp", "mcp.bare")
SERVICES = ServiceIndex((TIME, NOTES, BARE))
CALLBACK = "https://client.example/callback"


def make_client(
    *redirect_uris: str, client_id: str = "client-one", secret_hash: str | None = None, scope: str | None = None
) -> Client:
    """A registered client; public unless it has a secret."""
    return Client(
        client_id=client_id,
        issued_at=0,
        registration_token_hash="",
        token_endpoint_auth_method="none" if secret_hash is None else "client_secret_basic",
        redirect_uris=redirect_uris or (CALLBACK,),
        grant_types=("authorization_code", "refresh_token"),
        response_types=("code",),
        secret_hash=secret_hash,
        scope=scope,
    )
