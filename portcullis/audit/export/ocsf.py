"""Events in the Open Cybersecurity Schema Framework (OCSF), version 1.8.

Three classes are used: Authentication (3002) for sign-ins and for tokens that a client gets, Account Change (3001)
for people and clients that are changed, and API Activity (6003) for calls and for everything else. A member that
has no attribute there is in `unmapped`.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from oauth_core.net.special_addresses import is_ip
from portcullis.audit import moments
from portcullis.audit.export.shaping import class_of, without_empty
from portcullis.audit.filters import tool_of

if TYPE_CHECKING:
    from portcullis.audit.reading import StoredEvent

VERSION = "1.8.0"
AUTHENTICATION, ACCOUNT_CHANGE, API_ACTIVITY = 3002, 3001, 6003
_OTHER = 99

_LOGON, _LOGOFF = 1, 2
_CREATED, _ENABLED, _DISABLED, _DELETED = 1, 2, 5, 6
_API_CREATE, _API_UPDATE, _API_DELETE = 1, 3, 4

_CLASSES: tuple[tuple[str, tuple[int, int]], ...] = (
    ("sign_in.", (AUTHENTICATION, _LOGON)),
    ("session.started", (AUTHENTICATION, _LOGON)),
    ("session.ended", (AUTHENTICATION, _LOGOFF)),
    ("token.issued", (AUTHENTICATION, _OTHER)),
    ("token.refreshed", (AUTHENTICATION, _OTHER)),
    ("token.refused", (AUTHENTICATION, _OTHER)),
    ("refresh.", (AUTHENTICATION, _OTHER)),
    ("code.", (AUTHENTICATION, _OTHER)),
    ("device.", (AUTHENTICATION, _OTHER)),
    ("consent.", (AUTHENTICATION, _OTHER)),
    ("identity.", (AUTHENTICATION, _OTHER)),
    ("authorization.", (AUTHENTICATION, _OTHER)),
    ("client.authentication_failed", (AUTHENTICATION, _LOGON)),
    ("user.blocked", (ACCOUNT_CHANGE, _DISABLED)),
    ("user.unblocked", (ACCOUNT_CHANGE, _ENABLED)),
    ("user.revoked", (ACCOUNT_CHANGE, _OTHER)),
    ("login.", (ACCOUNT_CHANGE, _OTHER)),
    ("client.registered", (ACCOUNT_CHANGE, _CREATED)),
    ("client.deleted", (ACCOUNT_CHANGE, _DELETED)),
    ("client.updated", (ACCOUNT_CHANGE, _OTHER)),
    ("client.permissions_changed", (ACCOUNT_CHANGE, _OTHER)),
    ("client.disabled", (ACCOUNT_CHANGE, _DISABLED)),
    ("client.enabled", (ACCOUNT_CHANGE, _ENABLED)),
    ("client.refused", (AUTHENTICATION, _LOGON)),
    ("client.revoked", (ACCOUNT_CHANGE, _OTHER)),
    ("key.created", (API_ACTIVITY, _API_CREATE)),
    ("key.retired", (API_ACTIVITY, _API_DELETE)),
    ("initial_access_token.issued", (API_ACTIVITY, _API_CREATE)),
    ("initial_access_token.revoked", (API_ACTIVITY, _API_DELETE)),
    ("token.revoked", (API_ACTIVITY, _API_DELETE)),
    ("grant.revoked", (API_ACTIVITY, _API_DELETE)),
    ("everybody.revoked", (API_ACTIVITY, _API_DELETE)),
    ("grant.", (API_ACTIVITY, _API_UPDATE)),
    ("service.", (API_ACTIVITY, _API_UPDATE)),
    ("sign_ins.", (API_ACTIVITY, _API_UPDATE)),
    ("policy.", (API_ACTIVITY, _API_UPDATE)),
)
"""Names of events, or their beginnings, with class and activity. The first that fits counts."""

_UNKNOWN, _SUCCESS, _FAILURE = 0, 1, 2
_STATUS = {"allowed": _SUCCESS, "success": _SUCCESS, "denied": _FAILURE, "failure": _FAILURE}
_INFORMATIONAL, _LOW, _MEDIUM, _HIGH = 1, 2, 3, 4
_SEVERITY = {
    "refresh.reused": _HIGH,
    "code.replayed": _HIGH,
    "audit.interrupted": _HIGH,
    "audit.checkpoint_conflict": _HIGH,
    "refresh.repeated_elsewhere": _MEDIUM,
    "login.changed_hands": _MEDIUM,
}
_USER, _ADMIN, _SERVICE = 1, 2, 4
_OAUTH = 6
_MAPPED = frozenset(
    {
        *("time", "event", "outcome", "reason", "user", "user_id", "operator", "client_id", "service", "source"),
        *("method", "path", "user_agent", "request_id", "mcp_method", "mcp_name", "grant_id", "v"),
    }
)


def document(event: StoredEvent, *, is_sealed: bool) -> dict[str, Any]:
    """Return the event as one of OCSF."""
    given = event.fields
    name = str(given.get("event"))
    class_uid, activity = _class_of(event)
    status = _STATUS.get(str(given.get("outcome")), _UNKNOWN)
    found: dict[str, Any] = {
        "class_uid": class_uid,
        "category_uid": class_uid // 1000,
        "activity_id": activity,
        "activity_name": name,
        "type_uid": class_uid * 100 + activity,
        "time": _milliseconds(event.time),
        "severity_id": _SEVERITY.get(name, _LOW if status == _FAILURE else _INFORMATIONAL),
        "status_id": status,
        "status": str(given.get("outcome")),
        "status_detail": given.get("reason"),
        "message": " ".join(filter(None, (name, str(given.get("outcome")), given.get("reason")))),
        "metadata": {
            "version": VERSION,
            "uid": event.place,
            "event_code": name,
            "sequence": event.sequence,
            "log_name": "audit",
            "log_provider": event.writer,
            "log_version": str(given.get("v", "")) or None,
            "original_time": given.get("time"),
            "product": {"name": "Portcullis", "vendor_name": "Portcullis", "version": version("mcp-portcullis")},
        },
        "http_request": _http_request(event),
        "src_endpoint": _source(event),
        "unmapped": {
            **{key: value for key, value in given.items() if key not in _MAPPED},
            "node": event.node,
            "boot": event.boot,
            "sealed": is_sealed,
        },
    }
    if class_uid == AUTHENTICATION:
        found |= {
            "user": _subject(event),
            "service": {"name": given.get("service") or "portcullis"},
            "auth_protocol_id": _OAUTH,
            "is_remote": True,
            "session": {"uid": given.get("grant_id")},
        }
    elif class_uid == ACCOUNT_CHANGE:
        found["user"] = _subject(event)
    else:
        operation = " ".join(filter(None, (given.get("mcp_method"), tool_of(given)))) or given.get("call") or name
        found |= {
            "api": {"operation": operation, "service": {"name": given.get("service")}},
            "resources": [{"type": "grant", "uid": given["grant_id"]}] if given.get("grant_id") else None,
        }
    found["actor"] = _actor(event)
    return without_empty(found)


def _class_of(event: StoredEvent) -> tuple[int, int]:
    """The class and the activity of an event.

    Authentication and Account Change are about a person or a client. An event that names neither is API Activity.
    """
    found = class_of(str(event.fields.get("event")), _CLASSES) or (API_ACTIVITY, _OTHER)
    return (API_ACTIVITY, _OTHER) if found[0] != API_ACTIVITY and _subject(event) is None else found


def _subject(event: StoredEvent) -> dict[str, Any] | None:
    """The person of the event, or the client where there is none."""
    given = event.fields
    login, number, client = given.get("user"), given.get("user_id"), given.get("client_id")
    if login is not None or number is not None:
        return {"name": login, "uid": None if number is None else str(number), "type_id": _USER}
    return None if client is None else {"uid": str(client), "type_id": _SERVICE}


def _actor(event: StoredEvent) -> dict[str, Any]:
    given = event.fields
    if operator := given.get("operator"):
        return {"user": {"name": operator, "type_id": _ADMIN}}
    actor = {"user": _subject(event), "app_uid": given.get("client_id")}
    return actor if any(actor.values()) else {"app_name": "unknown"}


def _source(event: StoredEvent) -> dict[str, Any]:
    source = event.fields.get("source")
    if source is None:
        # A command runs on the node itself. Otherwise nothing is known.
        return {"name": event.node if event.fields.get("operator") else "unknown"}
    return {"ip": source} if is_ip(str(source)) else {"name": str(source)}


def _http_request(event: StoredEvent) -> dict[str, Any]:
    given = event.fields
    return {
        "uid": given.get("request_id"),
        "http_method": given.get("method"),
        "user_agent": given.get("user_agent"),
        "url": {"path": given.get("path")},
    }


def _milliseconds(time: str) -> int:
    """Milliseconds since the epoch; 0 for an event without a time."""
    try:
        return int(moments.read(time).timestamp() * 1000)
    except ValueError:
        return 0
