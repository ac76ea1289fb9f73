"""The events of one client in the gateway's audit record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.gateway import RunningGateway
    from tests.system.clients.person import Person


def events(gateway: RunningGateway, client_id: str, kind: str) -> list[dict[str, Any]]:
    """The audit events of one client, oldest first."""
    program = "ext_authz" if kind.startswith("access.") else "oauth_web"
    return [e for e in gateway.audit(program) if e.get("client_id") == client_id and e["event"] == kind]


def count(gateway: RunningGateway, client_id: str, kind: str) -> int:
    """How many audit events of this kind one client has."""
    return len(events(gateway, client_id, kind))


def client_id_of(person: Person) -> str:
    """The client id that the person's client used. It is the same at every visit."""
    (client_id,) = {visit["client_id"] for visit in person.visits}
    return client_id


def last_jti(gateway: RunningGateway, client_id: str) -> str:
    """The id of the token of the last allowed call of a client."""
    return str(gateway.audited("ext_authz", event="access.allowed", client_id=client_id)["jti"])
