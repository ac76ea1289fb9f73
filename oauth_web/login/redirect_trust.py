"""Whether a browser may be sent to a client before its person has signed in (RFC 9700 section 4.11.2).

Anybody may register a redirect URI. If an error alone led there, a link to this gateway would be a link to any
page that a stranger registered: an open redirector with a trusted name. So an error that comes before the sign-in
is shown on our page, with a link, unless there is a reason to trust the address.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from oauth_core.clients import redirect_uris

if TYPE_CHECKING:
    from oauth_core.errors import RedirectedError
    from oauth_web.runtime.deps import Deps


async def before_sign_in(deps: Deps, error: RedirectedError, client_id: str) -> RedirectedError:
    """`error` as it is to be answered before a person has signed in.

    It is sent to the client if the address is on the person's own machine, if an operator made the client, pinned
    its document or invited it, or if the client has the consent of a person. Raises `StoreUnavailableError`.
    """
    trusted = (
        redirect_uris.is_on_this_machine(error.redirect_uri)
        or client_id in deps.documents.pinned
        or await _is_invited(deps, client_id)
        or await deps.clients.has_grants(client_id)
    )
    return replace(error, on_page=not trusted)


async def _is_invited(deps: Deps, client_id: str) -> bool:
    client = await deps.clients.look_at(client_id)
    return client is not None and client.invited
