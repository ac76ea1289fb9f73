"""Things that many of the unit tests speak about. Keys are made once: RSA takes its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from oauth_core.errors import OAuthError
from oauth_core.jose.signing_keys import Algorithm, SigningKey, generate_key
from oauth_core.model import Client, Service
from oauth_core.policy.resources import ServiceIndex

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A machine that is busy with something else is no fault of the code.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")

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


def refusal(call: Callable[[], object]) -> OAuthError | None:
    """The protocol's error that `call` ends in, if it does; anything else it raises is raised."""
    try:
        call()
    except OAuthError as error:
        return error
    return None


@pytest.fixture(scope="session")
def signing_keys() -> dict[Algorithm, SigningKey]:
    """One key of each algorithm."""
    algorithms: tuple[Algorithm, ...] = ("ES256", "ES384", "RS256", "EdDSA", "Ed25519")
    return {algorithm: generate_key(algorithm, now=1) for algorithm in algorithms}


@pytest.fixture(scope="session")
def signing_key(signing_keys: dict[Algorithm, SigningKey]) -> SigningKey:
    """The key of the default algorithm."""
    return signing_keys["ES256"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Where a settings file may be written."""
    return tmp_path / "portcullis.toml"
