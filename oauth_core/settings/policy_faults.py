"""What is wrong with roles and permissions that are each well-formed, and where in the file it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.permissions import OWN, RESERVED, implies, matches
from oauth_core.scopes import of_service

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from oauth_core.model import Service
    from oauth_core.settings.roles import RoleSettings

Place = tuple[str | int, ...]
"""Where something stands in the settings, as pydantic says it: `("services", 1, "permissions", "tools")`."""


class PlacedError(ValueError):
    """Faults that know their places. The message has one a line."""

    def __init__(self, faults: Sequence[tuple[Place, str]]) -> None:
        super().__init__("\n".join(f"{dotted(place)}: {message}" for place, message in faults))
        self.faults = tuple(faults)


def dotted(place: Place) -> str:
    """A place in words."""
    return ".".join(str(part) for part in place)


def policy_faults(services: Sequence[Service], roles: Mapping[str, RoleSettings]) -> Iterator[tuple[Place, str]]:
    """Every fault of permissions and roles, with its place."""
    for number, service in enumerate(services):
        yield from _service_faults(number, service)
    known = {*OWN, *(name for service in services for name in of_service(service))}
    for name, role in roles.items():
        for field in ("permissions", "forbids"):
            for pattern in getattr(role, field):
                # Else a misspelt name would give nothing, or worse, forbid nothing, without a word.
                if not any(matches(frozenset({pattern}), permission) for permission in known):
                    yield ("roles", name, field), f"{pattern!r} is no permission of any service, nor of ours"


def _service_faults(number: int, service: Service) -> Iterator[tuple[Place, str]]:
    if service.scope.split(".", maxsplit=1)[0] in RESERVED:
        yield ("services", number, "scope"), f"{service.scope} is not for services: it would speak of clients"
    if not any(implies(frozenset({service.scope}), name) for name in service.permissions):
        # Clients ask for the scope first, and would be refused with every token they get.
        yield (
            ("services", number, "permissions"),
            f"the scope {service.scope} of service {service.name} stands for none of its permissions",
        )
    for name, _ in service.permission_titles:
        if name not in service.permissions:
            # Nobody would ever read it: the name is misspelt, or is that of a bundle.
            yield ("services", number, "permission_titles"), f"{name!r} is no permission of service {service.name}"
