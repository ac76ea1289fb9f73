"""Tool rules: which permissions a request to a service needs, by its method and by the name it uses.

Of the rules for one kind of name that match, the most exact decides: a rule gives way to a more exact one that
lies wholly within it, as `get_*` to `get_time`. Rules of which neither lies within the other, as `get_*` and
`*_secret`, count together. What no rule names needs what `otherwise` says, and without that nobody may do it. A
request that only opens, keeps or ends a session, or asks what there is, needs any one permission of the service.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.policy.mcp_request import LISTEN, Call, NameKind, Session
from oauth_core.policy.resource_uris import (
    canonical,
    may_match_a_form_of,
    names_host,
    other_forms,
    readings_of_host,
)

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
    of_method = _deciding(rules.methods, asked.method)
    decided = [_all_of(of_method)] if of_method else []
    if asked.kind is not None and asked.name is not None:
        decided += _needs_of_name(rules, asked.kind, asked.name, has_method_rule=bool(of_method))
    elif asked.kind is None and not of_method and not _is_open(asked.method):
        if not rules.otherwise and not _OF_NAMES.match(asked.method):
            # No rule is meant for it, so the service answers, if the caller may do everything there.
            return Need(service.permissions)
        decided.append(rules.otherwise)
    for uri in asked.uris:
        decided += _needs_of_name(rules, NameKind.RESOURCE, uri, has_method_rule=bool(of_method))
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
        return [_all_of(_deciding(of_kind, name)) or rules.otherwise]
    form = canonical(name)
    return [()] if form is None else _needs_of_form(rules, form)


def _needs_of_form(rules: ToolRules, form: str) -> list[tuple[str, ...]]:
    """What the rules say that the resource with this canonical form needs, whatever program reads its URI."""
    deciding = _with_other_forms(rules.resources, form)
    needs = [_all_of(deciding) or rules.otherwise]
    # A rule that has the host in full was written for it. What is wider than such a rule stays without effect.
    is_named = any(names_host(rule.pattern, form) for rule in deciding)
    readings = readings_of_host(form)
    for reading in readings:
        found = _with_other_forms(rules.resources, reading)
        if is_named:
            needs += [rule.permissions for rule in found if not glob_matches(rule.pattern, form)]
        else:
            # However exact the rule for `form` is: a glob in the place of the host must not open another host.
            needs.append(_all_of(found) or rules.otherwise)
    if not is_named:
        # And what a server takes a rule's own host for: `note://private:80/*` guards `note://private/a` too.
        hosts = ((rule, pattern) for rule in rules.resources for pattern in readings_of_host(rule.pattern))
        needs += [
            rule.permissions for rule, host in hosts if any(glob_matches(host, text) for text in (form, *readings))
        ]
    return needs


def _with_other_forms(rules: Sequence[NameRule], form: str) -> list[NameRule]:
    """The rules that decide for `form`, and more exact ones for what some program takes for the same resource."""
    deciding = _deciding(rules, form)
    least = max((exactness(rule.pattern) for rule in deciding), default=_LEAST_EXACT)
    # A caller can choose a URI with hundreds of forms, and a hundred such URIs: few of the rules matter to them.
    others = [
        rule for rule in rules if exactness(rule.pattern) > least and may_match_a_form_of(rule.pattern, form)
    ]
    if others:
        deciding += [rule for other in other_forms(form) for rule in _deciding(others, other)]
    return list(dict.fromkeys(deciding))


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


def _deciding(rules: Sequence[NameRule], name: str) -> list[NameRule]:
    """Those of `rules` for `name` that give way to no other one; empty when none is for it."""
    matching = [rule for rule in rules if glob_matches(rule.pattern, name)]
    return [rule for rule in matching if not any(is_within(other.pattern, rule.pattern) for other in matching)]


def _all_of(rules: Sequence[NameRule]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for rule in rules for name in rule.permissions))


def is_within(narrow: str, wide: str) -> bool:
    """Whether `narrow` is more exact than `wide`, which matches every name that `narrow` matches."""
    return exactness(narrow) > exactness(wide) and glob_matches(wide, narrow)


def exactness(pattern: str) -> tuple[bool, int]:
    """How exact a rule with `pattern` is: a name in full before a glob, more characters before fewer."""
    return "*" not in pattern, len(pattern.replace("*", ""))
