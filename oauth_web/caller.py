"""Which client is calling an endpoint that clients authenticate at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core import client_authentication
from oauth_core.audit import AuditEvent, EventKind
from oauth_core.errors import DisplayedError
from oauth_web.answers import one_header

if TYPE_CHECKING:
    from oauth_core.model import Client
    from oauth_core.parameters import Parameters
    from oauth_web.deps import Deps


async def authenticated(deps: Deps, form: Parameters) -> Client:
    """The client that proved to be calling (RFC 6749 section 2.3). Raises `DisplayedError`, and audits it."""
    who = client_authentication.presented(one_header("Authorization"), form)
    try:
        return client_authentication.authenticate(await deps.clients.get(who.client_id), who)
    except DisplayedError as error:
        # The id is the caller's claim; its length is bounded by the form, its spelling by the log's JSON.
        deps.audit.record(
            AuditEvent(EventKind.CLIENT_AUTHENTICATION_FAILED, reason=error.description, client_id=who.client_id)
        )
        raise
