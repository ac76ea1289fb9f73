"""Tool rules: which permissions a request to a service needs, by its method and by the name it uses.

Of the rules for one kind of name the most exact decides: a name in full before a glob, a glob with more characters
before one with fewer, and of equally exact ones all together. What no rule names needs what `otherwise` says, and
without that nobody may do it. A request that only opens, keeps or ends a session, or asks what there is, needs any
one permission of the service.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.policy.mcp_request import LISTEN, Call, NameKind, Session
from oauth_core.policy.resource_uris import canonical, other_forms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oauth_core.model import NameRule, Service, ToolRules

_OPEN = frozenset(
    {
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "logging/setLevel",
        # Besides what its URIs need, each of which is weighed.
        LISTEN,
    }
)
_OPEN_PREFIX = "notifications/"
_OF_NAMES = re.compile(r"(?:tools|prompts|resources|completion)/")
"""Methods that MCP defines, or may define one day, for the things that rules name."""


@dataclass(frozen=True, slots=True)
class Need:
    """Permissions that a request needs: all of them, or (`any_is_enough`) one. None at all is never enough."""

    permissions: tuple[str, ...]
    any_is_enough: bool = False


NOBODY = Need(())
"""No permission is enough."""


def entry_of(service: Service) -> Need:
    """What every request to `service` needs, whatever it asks."""
    return Need(service.permissions, any_is_enough=service.rules is not None)


def need_of(service: Service, asked: Session | Call) -> Need:
    """What `asked` needs at `service`, which has rules."""
    rules = service.rules
    if rules is None or isinstance(asked, Session):
        return Need(service.permissions, any_is_enough=True)
    of_method = _most_exact(rules.methods, asked.method)
    decided = [] if of_method is None else [of_method[1]]
    if asked.kind is not None and asked.name is not None:
        decided += _needs_of_name(rules, asked.kind, asked.name, has_method_rule=of_method is not None)
    elif asked.kind is None and of_method is None and not _is_open(asked.method):
        if not rules.otherwise and not _OF_NAMES.match(asked.method):
            # No rule is meant for it, so the service answers, if the caller may do everything there.
            return Need(service.permissions)
        decided.append(rules.otherwise)
    for uri in asked.uris:
        decided += _needs_of_name(rules, NameKind.RESOURCE, uri, has_method_rule=of_method is not None)
    if asked.names_more:
        decided.append(rules.otherwise)
    if not decided:
        return entry_of(service)
    return Need(tuple(dict.fromkeys(name for needs in decided for name in needs))) if all(decided) else NOBODY


def _needs_of_name(rules: ToolRules, kind: NameKind, name: str, *, has_method_rule: bool) -> list[tuple[str, ...]]:
    """What the rules for a kind of name say that `name` needs; an empty tuple in it means that nobody may."""
    of_kind = _rules_for(rules, kind)
    if not of_kind:
        # A rule for the method speaks for all its names where there is none for names.
        return [] if has_method_rule else [rules.otherwise]
    if kind is not NameKind.RESOURCE:
        found = _most_exact(of_kind, name)
        return [rules.otherwise if found is None else found[1]]
    form = canonical(name)
    if form is None:
        return [()]
    exactness, needs = _most_exact(of_kind, form) or (_LEAST_EXACT, rules.otherwise)
    # What some program takes for the same resource may have a rule of its own, and then that counts too.
    others = [_most_exact(of_kind, other) for other in other_forms(form)]
    return [needs, *(other[1] for other in others if other is not None and other[0] > exactness)]


def _is_open(method: str) -> bool:
    return method in _OPEN or method.startswith(_OPEN_PREFIX)


def glob_matches(pattern: str, text: str) -> bool:
    """Whether `text` is what `pattern` describes, in which `*` stands for any characters, also none.

    In time that grows with the length of the text: it is the caller who chose it.
    """
    first, *others = pattern.split("*")
    if not others:
        return pattern == text
    if not text.startswith(first):
        return False
    place, end = len(first), len(text) - len(others[-1])
    for part in others[:-1]:
        place = text.find(part, place, end)
        if place < 0:
            return False
        place += len(part)
    return place <= end and text.endswith(others[-1])


def _rules_for(rules: ToolRules, kind: NameKind) -> Sequence[NameRule]:
    return {NameKind.TOOL: rules.tools, NameKind.PROMPT: rules.prompts, NameKind.RESOURCE: rules.resources}[kind]


_LEAST_EXACT = (False, -1)


def _most_exact(rules: Sequence[NameRule], name: str) -> tuple[tuple[bool, int], tuple[str, ...]] | None:
    """How exact the most exact of `rules` for `name` is, and what such rules say; `None` when none is for it."""
    matching = [rule for rule in rules if glob_matches(rule.pattern, name)]
    if not matching:
        return None
    most = max(exactness(rule.pattern) for rule in matching)
    needs = [name for rule in matching if exactness(rule.pattern) == most for name in rule.permissions]
    return most, tuple(dict.fromkeys(needs))


def exactness(pattern: str) -> tuple[bool, int]:
    """How exact a rule with `pattern` is: of two that match a name, the one with the greater value decides."""
    return "*" not in pattern, len(pattern.replace("*", ""))
