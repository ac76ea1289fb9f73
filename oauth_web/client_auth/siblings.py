"""A client that registered again continues the grants of its sibling (`oauth_core.clients.siblings`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.audit import EventKind
from oauth_core.clients import siblings

if TYPE_CHECKING:
    from oauth_core.model import Client, Grant
    from oauth_core.store.records.clients import ClientStore
    from oauth_web.runtime.deps import Deps


async def may_act_for(clients: ClientStore, client: Client, owner_id: str) -> bool:
    """Whether `client` may use the rights of `owner_id`: it is that client, or its sibling. Both must exist."""
    if owner_id == client.client_id:
        return True
    return siblings.may_act_for(client, await clients.get_stored(owner_id))


async def record_sibling(deps: Deps, client: Client, grant: Grant) -> None:
    """Keep `client` as long as `grant`, which it uses now, and no longer keep the sibling that used it before.

    So a client that registers at each start leaves one record. The earlier record ends soon, unless it uses other
    grants.
    """
    before = await deps.grants.record_sibling(grant, client.client_id)
    # After that: a sibling that takes the grant over at this moment could remove an earlier note.
    await deps.clients.index_sibling_grant(client.client_id, grant)
    lifetime = deps.settings.client_lifetime
    await deps.clients.keep_for(client.client_id, max(0, grant.expires_at - deps.clock()), lifetime=lifetime)
    if before == client.client_id:
        return
    if before is not None:
        await deps.clients.remove_sibling_grant(before, grant, lifetime=lifetime)
    deps.audit.record(
        EventKind.GRANT_CONTINUED, reason=f"by {client.client_id}, which registered the same metadata", grant=grant
    )
