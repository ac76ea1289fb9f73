"""Finds faults in roles and permissions that are each well-formed, with their places in the file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from oauth_core.policy.globs import is_within
from oauth_core.policy.permissions import OWN, RESERVED, implies, matches
from oauth_core.policy.scopes import of_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from oauth_core.model import NameRule, Service, ToolRules
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
            yield from _idle_way_faults(number, service.name, service.rules)
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
                for needs in _unconditional(wide):
                    if text := _weakness(needs, narrow, lacking):
                        subject = f"{wide.pattern!r} of service {name}"
                        yield ("services", number, "permissions", kind), f"{subject} {text}"
        has_catch_all = any(rule.pattern == "*" for rule in table)  # then `otherwise` decides for no name
        for narrow in () if has_catch_all or kind == "methods" else table:
            if rules.otherwise and (text := _weakness(rules.otherwise, narrow, lacking)):
                place = ("services", number, "permissions", "otherwise")
                yield place, f"otherwise of service {name}, for {kind}, {text}"


def _idle_way_faults(number: int, name: str, rules: ToolRules) -> Iterator[tuple[Place, str]]:
    """Ways whose conditions never count, because a way without conditions needs no more."""
    for kind, table in (("tools", rules.tools), ("prompts", rules.prompts)):
        for rule in table:
            for way in rule.ways:
                enough = [needs for needs in _unconditional(rule) if _reaches(way.permissions, needs)]
                if way.is_conditional and enough:
                    text = f"the conditions of {rule.pattern!r} of service {name} never count for"
                    text = (
                        f"{text} {' and '.join(way.permissions)}: without them {' and '.join(enough[0])} is enough"
                    )
                    yield ("services", number, "permissions", kind, rule.pattern), text


def _unconditional(rule: NameRule) -> list[tuple[str, ...]]:
    """The sets of permissions that are each enough for `rule`, whatever the arguments are."""
    return [way.permissions for way in rule.ways if not way.is_conditional] if rule.ways else [rule.permissions]


def _weakness(
    wide: Sequence[str], narrow: NameRule, lacking: Callable[[Sequence[str], Sequence[str]], list[str]]
) -> str | None:
    """The fault of a rule that needs `wide` for the names of `narrow` in another spelling; `None` without one."""
    found = [lacking(wide, needs) for needs in _unconditional(narrow)]
    if missing := min(found, key=len, default=[]):
        text = f"needs less than {narrow.pattern!r}, whose names it lets pass in another spelling"
        return f"{text}: let it need {' and '.join(missing)} too"
    if any(way.is_conditional and _reaches(way.permissions, wide) for way in narrow.ways):
        text = f"needs no more than {narrow.pattern!r}, whose names it lets pass in another spelling"
        return f"{text} without their conditions: let it need more"
    return None


def _reaches(has: Sequence[str], needs: Sequence[str]) -> bool:
    """Whether a person with all of `has` has all of `needs`."""
    return all(_covers(has, name) for name in needs)


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
