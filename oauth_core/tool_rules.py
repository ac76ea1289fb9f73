"""Tool rules: which permissions a request to a service needs, by its method and by the name it uses.

Of the rules for one kind of name the most exact decides: a name in full before a glob, a glob with more characters
before one with fewer, and of equally exact ones all together. What no rule names needs what `otherwise` says, and
without that nobody may do it. A request that only opens, keeps or ends a session, or asks what there is, needs any
one permission of the service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.mcp_request import Call, NameKind, Session

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
        # What newer clients ask instead of the session's stream: it tells that something changed, never what.
        "subscriptions/listen",
    }
)
_OPEN_PREFIX = "notifications/"


@dataclass(frozen=True, slots=True)
class Need:
    """Permissions that a request needs: all of them, or (`any_is_enough`) one. None at all is never enough."""

    permissions: tuple[str, ...]
    any_is_enough: bool = False


NOBODY = Need(())
"""No permission is enough."""


def need_of(service: Service, asked: Session | Call) -> Need:
    """What `asked` needs at `service`, which has rules."""
    entry = Need(service.permissions, any_is_enough=True)
    if service.rules is None or isinstance(asked, Session):
        return entry
    found = [_most_exact(service.rules.methods, asked.method)]
    if asked.kind is not None:
        found.append(_most_exact(_rules_for(service.rules, asked.kind), asked.name))
    decided = [needs for needs in found if needs is not None]
    # A method that is named needs its own permission, and its tool's besides; but a rule for `tools/call` alone
    # must not be the only one for tools where there are rules for tools.
    if asked.kind is not None and found[1] is None and (_rules_for(service.rules, asked.kind) or not decided):
        decided.append(service.rules.otherwise)
    elif not decided:
        if asked.method in _OPEN or asked.method.startswith(_OPEN_PREFIX):
            return entry
        decided.append(service.rules.otherwise)
    if not all(decided):
        return NOBODY
    return Need(tuple(dict.fromkeys(name for needs in decided for name in needs)))


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


def _most_exact(rules: Sequence[NameRule], name: str | None) -> tuple[str, ...] | None:
    """What the most exact of `rules` for `name` say it needs; `None` when none is for it."""
    if name is None:
        return None
    matching = [rule for rule in rules if glob_matches(rule.pattern, name)]
    if not matching:
        return None
    most = max(map(_exactness, matching))
    return tuple(
        dict.fromkeys(
            permission for rule in matching if _exactness(rule) == most for permission in rule.permissions
        )
    )


def _exactness(rule: NameRule) -> tuple[bool, int]:
    return "*" not in rule.pattern, len(rule.pattern.replace("*", ""))
