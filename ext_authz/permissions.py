"""What a request that may pass is given on its way: an identity, and a time by which its answer must end.

A check happens when a request begins, but the answer may be an event stream that never ends by itself. So Envoy is
told to end it: when the token expires, and after a while in any case, since the token may have been revoked
meanwhile. Whoever wants to go on asks again, and is checked again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ext_authz import wire
from ext_authz.token_memory import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ext_authz.wire import IncomingRequest, Names, Permission
    from oauth_core.model import AccessClaims, Service

STREAM_SECONDS = 300
CALL_SECONDS = 900


class Permissions:
    """Makes permissions, as the operator set it up."""

    def __init__(
        self,
        names: Names = wire.USUAL_NAMES,
        *,
        stream_seconds: int = STREAM_SECONDS,
        call_seconds: int = CALL_SECONDS,
    ) -> None:
        """`stream_seconds` bounds what a client holds open with GET, `call_seconds` the answer to all else."""
        self.names = names
        self._stream_seconds = stream_seconds
        self._call_seconds = call_seconds

    def make(self, claims: AccessClaims, service: Service, lookalikes: Iterable[str]) -> Answer:
        """The permission for the one `claims` describe to reach `service`."""
        return Answer(service, wire.encode_allowed(claims, service.name, lookalikes, self.names), claims.exp)

    def spell_out(self, permission: Permission, claims: AccessClaims, request: IncomingRequest, now: int) -> bytes:
        """`permission` as it is sent for `request` at second `now`, at which the token has not expired."""
        bound = self._stream_seconds if request.method == "GET" else self._call_seconds
        return permission.lasting(min(bound, claims.exp - now))
