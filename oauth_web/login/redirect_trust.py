"""Whether a browser may be sent to a client before its person has signed in (RFC 9700 section 4.11.2).

Anyone may register a redirect URI. If an error alone led there, a link to this gateway would lead to any page that
an attacker registered: an open redirector with a trusted name. So our page shows an error that comes before the
sign-in, with a link, unless there is a reason to trust the address.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from oauth_core.clients import redirect_uris
from oauth_core.crypto.credentials import hash_secret

if TYPE_CHECKING:
    from oauth_core.errors import RedirectedError
    from oauth_web.runtime.deps import Deps


_MOST_GRANTS_READ = 20
"""A limit, because a popular client has many grants, and any web page can cause this lookup."""


async def before_sign_in(deps: Deps, error: RedirectedError, client_id: str) -> RedirectedError:
    """`error` in the form in which it is answered before a person has signed in.

    It is sent to the client if the address is on the person's own machine, if an operator created the client,
    pinned its document or invited it, or if a person consented to the client with exactly this address: a client
    can change its addresses afterwards (RFC 7592 section 2.2). Raises `StoreUnavailableError`.
    """
    trusted = (
        redirect_uris.is_on_this_machine(error.redirect_uri)
        or client_id in deps.documents.pinned
        or await _is_invited(deps, client_id)
        or await _is_consented(deps, client_id, error.redirect_uri)
    )
    return replace(error, on_page=not trusted)


async def _is_consented(deps: Deps, client_id: str, redirect_uri: str) -> bool:
    """Whether one of the newest grants of the client was made with `redirect_uri` and is still active."""
    grants = await deps.grants.get_many(await deps.clients.newest_grants(client_id, most=_MOST_GRANTS_READ))
    wanted = hash_secret(redirect_uri)
    return any(grant.redirect_uri_hash == wanted for grant in grants)


async def _is_invited(deps: Deps, client_id: str) -> bool:
    client = await deps.clients.get_stored(client_id)
    return client is not None and client.invited
