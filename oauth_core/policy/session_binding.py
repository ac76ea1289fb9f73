"""Bound sessions: a client gets the id of an MCP session in a sealed form that only its own subject can use.

An MCP server usually lets every caller that knows an `Mcp-Session-Id` use the session. So the gateway gives the id
of the service to the client behind an authentication code over the service, the subject of the token and the id,
and accepts it only with a token of the same subject. The service gets its own id back. The gateway stores no
session: every process with the key opens what another process sealed, and new tokens of the subject keep its
sessions.
"""

from __future__ import annotations

import base64
import hmac
import re
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from oauth_core.crypto.digests import hmac_sha256
from oauth_core.crypto.sealing import derive_key, read_key

if TYPE_CHECKING:
    from oauth_core.model import AccessClaims

LONGEST_SESSION_ID = 4096
"""Characters of an id that a service chooses. The sealed form has 50 more."""

_PURPOSE = "portcullis sessions"
_KEY_NAME_LENGTH = 6
_LEGAL = re.compile(rf"[\x21-\x7e]{{1,{LONGEST_SESSION_ID}}}\Z")
"""Visible ASCII (MCP, "Streamable HTTP", session management)."""


def session_key(master_key: bytes) -> str:
    """Return the key for sessions that belongs to this master key, in base64."""
    return base64.b64encode(derive_key(master_key, purpose=_PURPOSE)).decode()


def read_session_keys(text: str) -> tuple[bytes, ...]:
    """Parse keys in base64, separated by commas. Raises `ValueError`."""
    return tuple(read_key(part.strip()) for part in text.split(","))


def subject_of(claims: AccessClaims) -> str:
    """The subject that a session is bound to: a person or a machine client, whose ids could be the same."""
    return f"{'client' if claims.github_id is None else 'person'}:{claims.sub}"


class OpenedSession(NamedTuple):
    """A session of the caller: the id as the client has it, and the one that the service gave it."""

    sealed: str
    session_id: str


class ForeignSession(Enum):
    """A session that the caller may not use."""

    FOREIGN = "foreign"
    """Another subject began it, or its id was not sealed here, or was changed since."""


class SessionSealer:
    """Seals ids of sessions with the first of its keys (HMAC-SHA256, RFC 2104), and opens those of each key."""

    def __init__(self, *keys: bytes) -> None:
        """Each key has 256 bits. There must be one at least."""
        # Derived once more, so that a name of a key says nothing about a code.
        named = [(hmac_sha256(key, b"name")[:_KEY_NAME_LENGTH], derive_key(key, purpose=_PURPOSE)) for key in keys]
        self._name, self._key = named[0]
        self._keys = dict(reversed(named))

    def seal(self, service: str, subject: str, session_id: str) -> str | None:
        """Return the sealed form of an id that `service` chose; `None` for one that no service may choose."""
        if not _LEGAL.match(session_id):
            return None
        return f"{self._name}.{_code(self._key, service, subject, session_id)}.{session_id}"

    def open(self, service: str, subject: str, sealed: str) -> OpenedSession | ForeignSession:
        """Return the session if this text was sealed for this service and subject."""
        name, first_dot, rest = sealed.partition(".")
        code, second_dot, session_id = rest.partition(".")
        key = self._keys.get(name)
        if key is None or not first_dot or not second_dot or not _LEGAL.match(session_id) or not code.isascii():
            return ForeignSession.FOREIGN
        if not hmac.compare_digest(code, _code(key, service, subject, session_id)):
            return ForeignSession.FOREIGN
        return OpenedSession(sealed, session_id)


def _code(key: bytes, service: str, subject: str, session_id: str) -> str:
    # The lengths separate the texts: no two sets of them give the same message.
    message = f"{len(service)}:{service}{len(subject)}:{subject}{session_id}"
    return hmac_sha256(key, message.encode("utf-8", "surrogatepass"))
