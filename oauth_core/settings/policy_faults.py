"""Finds faults in roles and permissions that are each well-formed, with their places in the file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from oauth_core.policy.globs import is_within
from oauth_core.policy.permissions import OWN, RESERVED, implies, matches
from oauth_core.policy.scopes import of_service

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from oauth_core.model import Service, ToolRules
    from oauth_core.policy.permissions import Permissions
    from oauth_core.settings.roles import RoleSettings

Place = tuple[str | int, ...]
"""A place in the settings, in pydantic's form: `("services", 1, "permissions", "tools")`."""


class PlacedError(ValueError):
    """Faults with their places. The message has one for each line."""

    def __init__(self, faults: Sequence[tuple[Place, str]]) -> None:
        super().__init__("\n".join(f"{dotted(place)}: {message}" for place, message in faults))
        self.faults = tuple(faults)


def dotted(place: Place) -> str:
    """A place as text."""
    return ".".join(str(part) for part in place)


def policy_faults(services: Sequence[Service], roles: Mapping[str, RoleSettings]) -> Iterator[tuple[Place, str]]:
    """Every fault of permissions and roles, with its place."""
    held = [role.named(name).permissions for name, role in roles.items()]
    for number, service in enumerate(services):
        yield from _service_faults(number, service)
        if service.rules is not None:
            yield from _weak_rule_faults(number, service.name, service.rules, held)
    known = {*OWN, *(name for service in services for name in of_service(service))}
    for name, role in roles.items():
        for field in ("permissions", "forbids"):
            for pattern in getattr(role, field):
                # Otherwise a misspelt name would silently give nothing, or worse, forbid nothing.
                if not any(matches(frozenset({pattern}), permission) for permission in known):
                    yield ("roles", name, field), f"{pattern!r} is no permission of any service, nor of ours"


def _service_faults(number: int, service: Service) -> Iterator[tuple[Place, str]]:
    if service.scope.split(".", maxsplit=1)[0] in RESERVED:
        yield ("services", number, "scope"), f"{service.scope} is not for services: it would speak of clients"
    if not any(implies(frozenset({service.scope}), name) for name in service.permissions):
        # Clients request the scope first, and would be refused with every token they get.
        yield (
            ("services", number, "permissions"),
            f"the scope {service.scope} of service {service.name} stands for none of its permissions",
        )
    for name, _ in service.permission_titles:
        if name not in service.permissions:
            # No page would show it: the name is misspelt, or is that of a bundle.
            yield ("services", number, "permission_titles"), f"{name!r} is no permission of service {service.name}"


def _weak_rule_faults(
    number: int, name: str, rules: ToolRules, roles: Sequence[Permissions]
) -> Iterator[tuple[Place, str]]:
    """Rules that need less than a more exact rule among the names that they match.

    If the more exact rule does not match a spelling of its name, the wider rule decides, so that one must be the
    stronger. A URI has many spellings: there a rule must need all that each more exact rule within it needs, and
    so must `otherwise`. A rule for tools, prompts or methods is faulty if it is clearly the weaker; so is
    `otherwise` for their names. Without `otherwise` everything else is refused, which is the strongest.
    """
    tables = {
        "methods": rules.methods,
        "tools": rules.tools,
        "prompts": rules.prompts,
        "resources": rules.resources,
    }
    for kind, table in tables.items():
        lacking = _missing if kind == "resources" else partial(_clearly_missing, roles=roles)
        for wide in table:
            for narrow in table:
                if not is_within(narrow.pattern, wide.pattern):
                    continue
                if missing := lacking(wide.permissions, narrow.permissions):
                    text = f"{wide.pattern!r} of service {name} needs less than {narrow.pattern!r}, whose names"
                    text = f"{text} it lets pass in another spelling: let it need {' and '.join(missing)} too"
                    yield ("services", number, "permissions", kind), text
        has_catch_all = any(rule.pattern == "*" for rule in table)  # then `otherwise` decides for no name
        for narrow in () if has_catch_all or kind == "methods" else table:
            missing = lacking(rules.otherwise, narrow.permissions)
            if rules.otherwise and missing:
                text = f"otherwise of service {name} needs less than {narrow.pattern!r} in {kind}"
                text = f"{text}: let it need {' and '.join(missing)} too"
                yield ("services", number, "permissions", "otherwise"), text


def _covers(needs: Sequence[str], permission: str) -> bool:
    """Whether a person with all of `needs` has `permission`."""
    return implies(frozenset(needs), permission)


def _missing(wide: Sequence[str], narrow: Sequence[str]) -> list[str]:
    return [name for name in narrow if not _covers(wide, name)]


def _clearly_missing(wide: Sequence[str], narrow: Sequence[str], roles: Sequence[Permissions]) -> list[str]:
    """The permissions of `narrow` that `wide` lacks, if all roles that reach `narrow` reach `wide`, but not the
    reverse.
    """
    missing = _missing(wide, narrow)
    if not wide or not missing:
        return []
    if all(_covers(narrow, name) for name in wide):
        return missing
    reach_wide = [role for role in roles if all(map(role.allows, wide))]
    reach_narrow = [role for role in roles if all(map(role.allows, narrow))]
    below = all(role in reach_wide for role in reach_narrow)
    return missing if reach_narrow and below and len(reach_wide) > len(reach_narrow) else []
