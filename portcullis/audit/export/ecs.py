"""Events in the Elastic Common Schema (ECS), version 9.0.

A member that has no field there is in `portcullis`, a field of our own, as ECS allows for custom fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oauth_core.net.special_addresses import is_ip
from portcullis.audit.export.shaping import class_of, without_empty
from portcullis.audit.filters import tool_of

if TYPE_CHECKING:
    from portcullis.audit.reading import StoredEvent

VERSION = "9.0.0"

_OUTCOMES = {"allowed": "success", "success": "success", "denied": "failure", "failure": "failure"}

_CLASSES: tuple[tuple[str, tuple[str, tuple[str, ...]]], ...] = (
    ("access.allowed", ("api", ("access", "allowed"))),
    ("access.denied", ("api", ("access", "denied"))),
    ("rate.limited", ("api", ("denied",))),
    ("request.refused", ("api", ("denied",))),
    ("sign_in.", ("authentication", ("start",))),
    ("session.started", ("session", ("start",))),
    ("session.ended", ("session", ("end",))),
    ("token.issued", ("authentication", ("start",))),
    ("token.revoked", ("session", ("end",))),
    ("grant.revoked", ("session", ("end",))),
    ("token.", ("authentication", ("info",))),
    ("refresh.", ("authentication", ("info",))),
    ("code.", ("authentication", ("info",))),
    ("device.", ("authentication", ("info",))),
    ("consent.", ("authentication", ("info",))),
    ("identity.", ("authentication", ("info",))),
    ("authorization.", ("authentication", ("info",))),
    ("client.authentication_failed", ("authentication", ("start",))),
    ("client.registered", ("iam", ("admin", "creation"))),
    ("client.deleted", ("iam", ("admin", "deletion"))),
    ("client.updated", ("iam", ("admin", "change"))),
    ("client.disabled", ("iam", ("admin", "change"))),
    ("client.enabled", ("iam", ("admin", "change"))),
    ("client.refused", ("authentication", ("start",))),
    ("client.revoked", ("iam", ("admin", "change"))),
    ("client.permissions_changed", ("iam", ("admin", "change"))),
    ("client.", ("iam", ("admin", "info"))),
    ("initial_access_token.issued", ("iam", ("admin", "creation"))),
    ("initial_access_token.revoked", ("iam", ("admin", "deletion"))),
    ("user.", ("iam", ("user", "change"))),
    ("login.", ("iam", ("user", "change"))),
    ("grant.", ("iam", ("user", "change"))),
    ("everybody.", ("iam", ("user", "change"))),
    ("key.created", ("configuration", ("creation",))),
    ("key.retired", ("configuration", ("deletion",))),
    ("service.", ("configuration", ("change",))),
    ("policy.", ("configuration", ("change",))),
    ("sign_ins.", ("configuration", ("change",))),
    ("state.backed_up", ("configuration", ("access",))),
    ("state.", ("configuration", ("change",))),
)
"""Names of events, or their beginnings, with `event.category` and `event.type`; the first that fits counts."""
_OTHER = ("iam", ("info",))

_HAVE_FIELDS = frozenset(
    {
        *("time", "event", "reason", "user", "user_id", "service", "method", "path", "source", "user_agent"),
        *("request_id", "trace_id"),
    }
)


def document(event: StoredEvent, *, is_sealed: bool) -> dict[str, Any]:
    """Return the event as a document of ECS."""
    given = event.fields
    name = str(given.get("event"))
    category, types = class_of(name, _CLASSES) or _OTHER
    own = {key: value for key, value in given.items() if key not in _HAVE_FIELDS}
    own |= {"node": event.node, "writer": event.writer, "boot": event.boot, "sealed": is_sealed}
    found: dict[str, Any] = {
        "@timestamp": given.get("time"),
        "ecs": {"version": VERSION},
        "event": {
            "id": event.place,
            "kind": "event",
            "action": name,
            "category": [category],
            "type": list(types),
            "outcome": _OUTCOMES.get(str(given.get("outcome")), "unknown"),
            "reason": given.get("reason"),
            "sequence": event.sequence,
            "module": "portcullis",
            "dataset": "portcullis.audit",
        },
        "observer": {"vendor": "Portcullis", "product": "Portcullis", "name": event.node},
        "user": {"name": given.get("user") or given.get("operator"), "id": _text(given.get("user_id"))},
        "service": {"name": given.get("service")},
        "http": {"request": {"method": given.get("method"), "id": given.get("request_id")}},
        "url": {"path": given.get("path")},
        "user_agent": {"original": given.get("user_agent")},
        "trace": {"id": given.get("trace_id")},
        "portcullis": own | ({"tool": tool} if (tool := tool_of(given)) else {}),
    }
    if (source := given.get("source")) is not None:
        # `source.ip` takes addresses only, and an index refuses a document with another text there.
        found["source"] = {"address": source, "ip": source if is_ip(str(source)) else None}
    people = [value for value in (given.get("user"), given.get("operator")) if value]
    found["related"] = {"user": people or None, "ip": [source] if source and is_ip(str(source)) else None}
    return without_empty(found)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
