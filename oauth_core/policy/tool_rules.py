"""Tool rules: which permissions a request to a service needs, by its method and by the name it uses.

Of the matching rules for one kind of name, the most exact decides: a more exact rule replaces a rule that fully
contains it, as `get_time` replaces `get_*`. If neither contains the other, as with `get_*` and `*_secret`, both
count. A name without a rule needs the permissions in `otherwise`; without `otherwise` it is refused. A request
that only opens, keeps or ends a session, or lists what exists, needs any one permission of the service.

A rule may have several ways, with conditions on the arguments of the call (`argument_rules`). The ways whose
conditions hold are open, and one of them is enough. If none is open, the call is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.policy.argument_rules import Spellings, unmet
from oauth_core.policy.deciding_rules import decide_among, deciding_rules
from oauth_core.policy.globs import glob_matches, is_within
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

    from oauth_core.model import NameRule, Service, ToolRules, Way
    from oauth_core.policy.argument_rules import Unmet

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
        # In addition to the permissions for its URIs, each of which is evaluated.
        LISTEN,
    }
)
_OPEN_PREFIX = "notifications/"
_OF_NAMES = re.compile(r"(?:tools|prompts|resources|completion)/")
"""Methods that MCP defines, or may define later, for the things that rules name."""


@dataclass(frozen=True, slots=True)
class RequiredPermissions:
    """The permissions that a request needs: all, or (`any_is_enough`) one. An empty set is never satisfied.

    Each of the `choices` needs the permissions of one of its sets in addition. `unmet` are the ways whose
    conditions the arguments do not meet.
    """

    permissions: tuple[str, ...]
    any_is_enough: bool = False
    choices: tuple[tuple[tuple[str, ...], ...], ...] = ()
    unmet: tuple[tuple[Way, Unmet], ...] = ()


NEVER_ALLOWED = RequiredPermissions(())
"""No permission is enough."""


def required_for_entry(service: Service) -> RequiredPermissions:
    """The permissions that every request needs at `service`, independent of its content."""
    return RequiredPermissions(service.permissions, any_is_enough=service.rules is not None)


def required_for(service: Service, request: Session | Call) -> RequiredPermissions:
    """The permissions that `request` needs at `service`, which has rules."""
    rules = service.rules
    if rules is None or isinstance(request, Session):
        return RequiredPermissions(service.permissions, any_is_enough=True)
    of_method = _deciding(rules.methods, request.method)
    decided = [_all_of(of_method)] if of_method else []
    if request.kind is not None and request.name is not None:
        decided += _required_for_name(rules, request.kind, request.name, has_method_rule=bool(of_method))
    elif request.kind is None and not of_method and not _is_open(request.method):
        if not rules.otherwise and not _OF_NAMES.match(request.method):
            # No rule covers it, so the service answers, if the caller has all permissions there.
            return RequiredPermissions(service.permissions)
        decided.append(rules.otherwise)
    for uri in request.uris:
        decided += _required_for_name(rules, NameKind.RESOURCE, uri, has_method_rule=bool(of_method))
    if request.names_more:
        decided.append(rules.otherwise)
    with_ways = deciding_with_ways(rules, request)
    if not decided and not with_ways:
        return required_for_entry(service)
    if len(decided) == 1 and not with_ways:
        return RequiredPermissions(decided[0])
    if not all(decided):
        return NEVER_ALLOWED
    permissions = tuple(dict.fromkeys(name for needs in decided for name in needs))
    return _with_choices(permissions, with_ways, request) if with_ways else RequiredPermissions(permissions)


def required_for_tool(rules: ToolRules, request: Call) -> tuple[str, ...]:
    """The same for the most frequent request, the call of a tool; empty if only `required_for` knows.

    It is a part of `required_for`, for a fraction of its time.
    """
    _, kind, name, uris, names_more, _ = request
    if kind is not NameKind.TOOL or name is None or uris or names_more or rules.methods or rules.reads_arguments:
        return ()
    deciding = _deciding(rules.tools, name)
    return deciding[0].permissions if len(deciding) == 1 else ()


def deciding_with_ways(rules: ToolRules, request: Call) -> list[NameRule]:
    """The rules for the name in `request` that have ways."""
    if not rules.reads_arguments or request.name is None:
        return []
    if request.kind is not NameKind.TOOL and request.kind is not NameKind.PROMPT:
        return []
    return [rule for rule in _deciding(_rules_for(rules, request.kind), request.name) if rule.ways]


def _with_choices(
    permissions: tuple[str, ...], with_ways: Sequence[NameRule], request: Call
) -> RequiredPermissions:
    """The permissions that the call needs, with those of the open ways of each rule."""
    spellings = Spellings()
    found = [[(way, unmet(way, request.arguments, spellings)) for way in rule.ways] for rule in with_ways]
    failing = tuple((way, fault) for ways in found for way, fault in ways if fault is not None)
    choices = tuple(tuple(way.permissions for way, fault in ways if fault is None) for ways in found)
    if not all(choices):
        return RequiredPermissions((), unmet=failing)
    return RequiredPermissions(permissions, choices=choices, unmet=failing)


def _required_for_name(
    rules: ToolRules, kind: NameKind, name: str, *, has_method_rule: bool
) -> list[tuple[str, ...]]:
    """The permissions that `name` needs by the rules for its kind; an empty tuple in the list means that it is
    refused.
    """
    of_kind = _rules_for(rules, kind)
    if not of_kind:
        # Without rules for names, a rule for the method covers all its names.
        return [] if has_method_rule else [rules.otherwise]
    if kind is not NameKind.RESOURCE:
        deciding = _deciding(of_kind, name)
        plain = [rule for rule in deciding if not rule.ways] if rules.reads_arguments else deciding
        return [_all_of(plain) or rules.otherwise] if plain or not deciding else []
    form = canonical(name)
    return [()] if form is None else _required_for_form(rules, form)


def _required_for_form(rules: ToolRules, form: str) -> list[tuple[str, ...]]:
    """The permissions that the resource with this canonical form needs, for every way in which a program may read
    its URI.
    """
    deciding = _with_other_forms(rules.resources, form)
    needs = [_all_of(deciding) or rules.otherwise]
    # A rule with the full host was written for it. A wider rule then has no effect.
    is_named = any(names_host(rule.pattern, form) for rule in deciding)
    readings = readings_of_host(form)
    for reading in readings:
        found = _with_other_forms(rules.resources, reading)
        if is_named:
            needs += [rule.permissions for rule in found if not glob_matches(rule.pattern, form)]
        else:
            # Also if the rule for `form` is exact: a glob in the place of the host must not give another host.
            needs.append(_all_of(found) or rules.otherwise)
    if not is_named:
        # Also the readings of a rule's own host: `note://private:80/*` guards `note://private/a` too.
        hosts = ((rule, pattern) for rule in rules.resources for pattern in readings_of_host(rule.pattern))
        needs += [
            rule.permissions for rule, host in hosts if any(glob_matches(host, text) for text in (form, *readings))
        ]
    return needs


def _with_other_forms(rules: tuple[NameRule, ...], form: str) -> list[NameRule]:
    """The rules that decide for `form`, and those for other forms that none of these replaces.

    If `/public/*` decides, a rule `*.key` counts for `/public/a.key?` too: a program may drop the `?`.
    """
    deciding = list(_deciding(rules, form))
    # A caller can choose a URI with hundreds of forms, and a hundred such URIs: few of the rules matter to them.
    others = [
        rule
        for rule in rules
        if may_match_a_form_of(rule.pattern, form)
        and rule not in deciding
        and not any(is_within(other.pattern, rule.pattern) for other in deciding)
    ]
    if others:
        deciding += [rule for other in other_forms(form) for rule in decide_among(others, other)]
    return list(dict.fromkeys(deciding))


def _is_open(method: str) -> bool:
    return method in _OPEN or method.startswith(_OPEN_PREFIX)


def _rules_for(rules: ToolRules, kind: NameKind) -> tuple[NameRule, ...]:
    if kind is NameKind.TOOL:
        return rules.tools
    return rules.prompts if kind is NameKind.PROMPT else rules.resources


def _deciding(rules: tuple[NameRule, ...], name: str) -> list[NameRule]:
    """The matching rules for `name` that no more exact rule replaces; empty when none matches."""
    return deciding_rules(rules).for_name(name) if rules else []


def _all_of(rules: Sequence[NameRule]) -> tuple[str, ...]:
    if len(rules) == 1:
        return rules[0].permissions
    return tuple(dict.fromkeys(name for rule in rules for name in rule.permissions))
