"""The names of the identity headers, and the header names that must never be used for them.

`ext_authz.decision.envoy_messages` sets and removes these headers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, model_validator

from oauth_core.settings.definitions import Setting

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 64

# Headers that route, frame, authenticate or negotiate a request: overwritten, each would mean something else to
# the service, to Envoy, or to the next check.
_TAKEN = frozenset(
    {"accept", "authorization", "connection", "cookie", "date", "expect", "forwarded", "host", "keep-alive"}
    | {"age", "allow", "baggage", "cache-control", "dpop", "location", "pragma", "range", "server", "set-cookie"}
    | {"last-event-id", "origin", "referer", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "via"}
    | {"x-forwarded-client-cert", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix"}
    | {"x-forwarded-proto", "x-http-method-override", "x-original-url", "x-real-ip", "x-request-id"}
    | {"x-http-method", "x-method", "x-method-override", "x-override-url", "x-rewrite-url"}
)
_TAKEN_FAMILIES = (
    *("accept-", "access-control-", "content-", "grpc-", "http2-", "if-", "mcp-", "proxy-", "sec-", "trace"),
    *("vary", "x-envoy-"),
)


class IdentityHeaders(BaseModel):
    """The `identity_headers` table. Names are lower-case; an empty name leaves that header out."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    user_id: Annotated[
        str,
        Setting("The number of the GitHub account."),
    ] = "x-user-id"
    user_name: Annotated[
        str,
        Setting("The GitHub login."),
    ] = "x-user-name"
    client_id: Annotated[
        str,
        Setting("The OAuth client."),
    ] = "x-client-id"
    scope: Annotated[
        str,
        Setting("The scopes of the token, separated by spaces."),
    ] = "x-token-scope"
    groups: Annotated[
        str,
        Setting("The organisations and teams of the person, as far as roles name them."),
    ] = "x-user-groups"
    assertion: Annotated[
        str,
        Setting("The signed assertion, for services with `assertion`."),
    ] = "x-portcullis-assertion"

    @model_validator(mode="after")
    def _usable(self) -> IdentityHeaders:
        if faults := list(self._faults()):
            raise ValueError("\n".join(faults))
        return self

    def _faults(self) -> Iterator[str]:
        seen: dict[str, str] = {}
        for fact, name in self:
            if not name:
                continue
            if not _NAME.fullmatch(name) or len(name) > _LONGEST:
                form = f"lower-case letters and digits, parted by single hyphens, {_LONGEST} characters at most"
                yield f"{fact}: must be {form}"  # without the name: it may be a secret in the wrong variable
            elif name in _TAKEN or name.startswith(_TAKEN_FAMILIES):
                yield f"{fact}: {name!r} has a meaning of its own in HTTP, in MCP or to Envoy"
            elif name in seen:
                yield f"{fact} and {seen[name]} are both {name!r}"
            seen[name] = fact

    @property
    def guarded(self) -> tuple[str, ...]:
        """Every name that no caller may send: those in use, and the defaults, which a service may expect."""
        in_use = [name for _, name in self if name]
        return tuple(dict.fromkeys([*in_use, *(field.default for field in type(self).model_fields.values())]))


def read_identity_headers(value: object) -> object:
    """Read `user_id=x-a, scope=` from the environment, or a table from the file."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    named = {name.strip(): header.strip() for name, _, header in pairs}
    # Without its `=`, a name would switch its header off; named twice, one of them would be lost.
    is_complete = all(sign for _, sign, _ in pairs) and len(named) == len(pairs)
    if not is_complete or not named.keys() <= IdentityHeaders.model_fields.keys():
        # The message leaves out the value: a secret in the wrong variable must not appear in a log.
        raise ValueError(
            f"must be like user_id=x-user, with different names among {', '.join(IdentityHeaders.model_fields)}"
        )
    return named
