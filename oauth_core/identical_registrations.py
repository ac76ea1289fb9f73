"""When two registrations are one and the same, so that clients which register again and again leave one record.

Only public clients share a record: they prove nothing, so their id is all they have, and it is no secret. A secret
is stored hashed and cannot be told twice, and keys would bind strangers together. Nobody may change or delete what
several rely on, or whoever came first could send the others' codes elsewhere; so who comes later gets no
registration token, and the token of the first one only reads from then on. A client that has used its registration
token, or that an operator invited, keeps its record to itself.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from oauth_core import redirect_uris, registration_permissions
from oauth_core.credentials import hash_secret
from oauth_core.errors import DisplayedError, ErrorCode

if TYPE_CHECKING:
    from oauth_core.model import Client

_OF_ONE_ALONE = frozenset({"client_id", "issued_at", "registration_token_hash", "sharing"})


def fingerprint(client: Client) -> str | None:
    """The same for clients that said the same of themselves; `None` for one that shares with nobody."""
    if client.sharing == "never" or client.token_endpoint_auth_method != "none" or client.machine_scopes:
        return None
    said = {name: value for name, value in dataclasses.asdict(client).items() if name not in _OF_ONE_ALONE}
    # A native app registers with the port it got this time, and any port of loopback is the same to us
    # (RFC 8252 section 7.3). Which of them it is sent to, its authorization request says.
    said["redirect_uris"] = sorted({redirect_uris.for_any_port(uri) for uri in client.redirect_uris})
    return hash_secret(json.dumps(said, sort_keys=True))


def check_manageable(client: Client, permission: str) -> None:
    """Pass when managing `client` touches nobody else; else raise `DisplayedError`, 403."""
    if client.sharing == "shared" and permission != registration_permissions.READ:
        raise DisplayedError(
            ErrorCode.INSUFFICIENT_SCOPE,
            "others registered exactly the same and share this client_id; register with a difference to manage it",
            status=403,
            challenge=f'Bearer error="insufficient_scope", scope="{permission}"',
        )
