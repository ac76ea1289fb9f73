"""Automatic responses: which actions there are, which rules may have them, and whom a finding lets them concern.

An attacker can cause events on purpose, so that another person is locked out. So an action may concern only an
identity that the events of the rule prove (`PROVEN`): the client id of a failed authentication, for example, is
what any caller claims. All here is pure; `portcullis.alerts.responding` carries actions out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.audit import EventKind
from oauth_core.refusals import DenyReason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oauth_core.settings.detecting import ActionName, AutomaticResponse
    from portcullis.detection.detecting import Finding, Values
    from portcullis.detection.needs import Need
    from portcullis.detection.rules import DetectionRule


@dataclass(frozen=True)
class Action:
    """An action: the field of a finding that it concerns, and the words of the operator's command that does it."""

    field: str
    command: tuple[str, ...]
    prefix: str = ""
    """The prefix of the value in the command."""
    most: int = 1
    """A finding with more values of the field leads to no action: it would not be about one of them."""


ACTIONS: dict[ActionName, Action] = {
    "revoke_token": Action("jti", ("tokens", "revoke"), most=10),
    "revoke_grant": Action("grant_id", ("grants", "revoke"), most=10),
    "revoke_person": Action("user_id", ("users", "revoke"), "id:"),
    "block_person": Action("user_id", ("users", "block"), "id:"),
    "revoke_client": Action("client_id", ("clients", "revoke")),
    "disable_client": Action("client_id", ("clients", "disable")),
    "notify_new_country": Action("user_id", ("users", "notify-new-country"), "id:"),
}

_OF_TOKEN = frozenset({"user_id", "client_id", "jti"})
_OF_ISSUE = frozenset({"user_id", "client_id", "grant_id", "jti"})
_OF_PERSON = frozenset({"user_id"})
_OF_GRANT = frozenset({"grant_id"})
PROVEN: dict[EventKind, frozenset[str]] = {
    # The caller has a valid token, with its key if it is bound to one.
    EventKind.ACCESS_ALLOWED: _OF_TOKEN,
    # The client redeemed a code, a refresh token or an assertion, or proved its own identity.
    EventKind.TOKEN_ISSUED: _OF_ISSUE,
    EventKind.TOKEN_REFRESHED: _OF_ISSUE,
    # The person is signed in.
    EventKind.SIGN_IN_SUCCEEDED: _OF_PERSON,
    EventKind.SESSION_STARTED: _OF_PERSON,
    EventKind.CONSENT_GIVEN: _OF_PERSON,
    EventKind.DEVICE_APPROVED: _OF_PERSON,
    # The caller has a code or a refresh token of the grant, with which it could end the grant anyhow. The
    # token may be old and from anywhere, so it proves no person.
    EventKind.CODE_REPLAYED: _OF_GRANT,
    EventKind.REFRESH_REUSED: _OF_GRANT,
    EventKind.REFRESH_REPEATED_ELSEWHERE: _OF_GRANT,
}
"""The identities that an event of each kind proves. All other kinds prove none."""

PROVEN_REFUSALS: dict[DenyReason, frozenset[str]] = {
    # The caller has a token that this gateway signed. It may be revoked, or without the key that it is bound to.
    reason: frozenset({"jti"})
    for reason in (
        DenyReason.REVOKED,
        DenyReason.WRONG_AUDIENCE,
        DenyReason.INSUFFICIENT_SCOPE,
        DenyReason.FORBIDDEN_BY_POLICY,
    )
}
"""The same for refused calls, by their reason."""


@dataclass(frozen=True)
class Target:
    """One action of a rule on one value: a grant, a token, a person or a client."""

    rule: str
    action: ActionName
    value: str
    last: str
    """The recorded time of the last event of the finding."""
    people: tuple[str, ...] = ()
    """The logins and `id:…` in the finding."""
    clients: tuple[str, ...] = ()
    hindrance: str = ""
    """Why it must not be done, from the finding alone; empty if it may be."""

    @property
    def command(self) -> tuple[str, ...]:
        """The words of the operator's command that does it."""
        action = ACTIONS[self.action]
        return (*action.command, f"{action.prefix}{self.value}")


def proven_by(rule: DetectionRule) -> frozenset[str]:
    """Return the identities that every event of this rule proves."""
    found = [_proven_by(need) for need in rule.needs]
    return frozenset.intersection(*found) if found else frozenset()


def faults(responses: Sequence[AutomaticResponse], rules: Sequence[DetectionRule]) -> list[str]:
    """Return why some of these responses cannot be: an unknown rule, or an identity that is not proven."""
    known = {rule.name: rule for rule in rules}
    found = []
    for one in responses:
        place, field = f"detection.responses: {one.rule}, {one.action}", ACTIONS[one.action].field
        if one.rule not in known:
            found.append(f"{place}: there is no such rule; `portcullis audit rules` lists them")
        elif field not in (proven := proven_by(known[one.rule])):
            fitting = [name for name, action in ACTIONS.items() if action.field in proven]
            allowed = f"it may have {', '.join(fitting)}" if fitting else "it may have no response"
            found.append(
                f"{place}: the events of this rule do not prove {field}, so a caller could cause this for another "
                f"identity; {allowed}"
            )
    return found


def targets(finding: Finding, actions: Sequence[ActionName]) -> list[Target]:
    """Return the targets of the actions of the rule of a finding."""
    found = []
    for name in actions:
        action = ACTIONS[name]
        values = finding.values.get(action.field)
        if values is None:
            continue
        hindrance = _hindrance(name, finding, values.count)
        shown = values.shown[:1] if hindrance else values.shown
        found += [
            Target(
                finding.rule.name,
                name,
                value,
                finding.last.time,
                (*_shown(finding, "user"), *(f"id:{number}" for number in _shown(finding, "user_id"))),
                _shown(finding, "client_id"),
                hindrance or ("" if value.isprintable() else "the value has characters that are not shown"),
            )
            for value in shown
        ]
    return found


def _hindrance(name: ActionName, finding: Finding, count: int) -> str:
    action = ACTIONS[name]
    if count > action.most:
        return f"the finding has {count} values of {action.field}, and the action is for at most {action.most}"
    if action.field == "client_id" and ("user_id" in finding.values or "user" in finding.values):
        # One person could otherwise end the access of all others who use the same app.
        return "the client acted for a person, and not as itself"
    return ""


def _shown(finding: Finding, field: str) -> tuple[str, ...]:
    values: Values | None = finding.values.get(field)
    return () if values is None else values.shown


def _proven_by(need: Need) -> frozenset[str]:
    if need.names is None:
        return frozenset()
    kinds = {str(kind): proven for kind, proven in PROVEN.items()}
    found = [kinds.get(name, frozenset()) for name in need.names - {str(EventKind.ACCESS_DENIED)}]
    if str(EventKind.ACCESS_DENIED) in need.names:
        reasons = {str(reason): proven for reason, proven in PROVEN_REFUSALS.items()}
        found += [reasons.get(reason, frozenset()) for reason in need.reasons or {""}]
    return frozenset.intersection(*found) if found else frozenset()
