"""The access log: a record of each request, in the form of every other audit event.

Requests are frequent, and a flood more so. So their events are formatted without a library, for a few microseconds
each, once for both outputs: the segments of the audit record, and lines of text in the log.

Lines of text of allowed requests are written together a few times a second, a refusal at once. Where there are no
segments, the text is the record, and no line is dropped: when too many wait, they are written at once, and when
they cannot be written, no request is allowed until they can. A killed process loses the lines that it had not
written: those of `WRITE_EVERY`, and where the log is a pipe whose reader is stalled, those of
`oauth_core.process.log_stream.STALLED_SECONDS`. With segments, no request is allowed while these cannot be
written, and text that cannot be written is dropped.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, NamedTuple

from ext_authz.decision.envoy_messages import called, parts_of_origin
from oauth_core.audit import FORMAT, LONGEST_LOGGED, PROVIDER, EventKind, NotRecordedError, members, stored_kind
from oauth_core.process.audit_output import Timestamps
from oauth_core.process.log_stream import PartlyWrittenError
from oauth_core.refusals import DenyReason

if TYPE_CHECKING:
    from ext_authz.decision.envoy_messages import IncomingRequest, ParsedRequest
    from oauth_core.audit import AuditEvent, AuditSink
    from oauth_core.model import AccessClaims, Service
    from oauth_core.process.audit_segments import SegmentWriter
    from oauth_core.process.logs import Stream

    _Caller = tuple[str, str, str | None, str | None, str | None]
    """Method, path, source, peer and user agent."""

WRITE_EVERY = 0.05
"""Seconds between writes of text."""

_MOST_WAITING = 10_000
_MOST_COPIES = 1000
"""Lines of text that wait where the segments have them too."""

_OTHERS_OF_CALLER = ("source", "peer", "user_agent")
_MOST_USUAL = 10_000
"""Tokens whose usual members are cached: some 10 MB."""
_LONGEST_USUAL = 1024
"""Characters of an entry. A longer one is made again for each call, so that no caller can fill memory."""

_PROVIDER = quoted(PROVIDER)
_BEGIN = f'{{"v":{FORMAT},"time":"'
_ALLOWED = stored_kind(EventKind.ACCESS_ALLOWED, EventKind.ACCESS_ALLOWED.outcome)
_ALLOWED_TEXT = f'"event":"{EventKind.ACCESS_ALLOWED}"'


class _Usual(NamedTuple):
    """The members of the last call of a token to a service, in two parts around those of its message."""

    caller: _Caller
    before: str
    after: str


class AccessLog:
    """Writes allowed and refused requests to `segments`, and as text to `stream`, whichever there is.

    Other events go to `others` at once, after the requests that were recorded before them.
    """

    def __init__(
        self, others: AuditSink, stream: Stream | None, *, program: str, segments: SegmentWriter | None = None
    ) -> None:
        self._others = others
        self._stream = stream
        self._segments = segments
        self._most_waiting = _MOST_WAITING if segments is None else _MOST_COPIES
        self._end = f',"audit":true,"program":{quoted(program)},"level":"info"'
        self._policy = ""
        self._usual: dict[tuple[str, str], _Usual] = {}
        self._lines: list[str] = []
        self._failure: OSError | ValueError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._now = Timestamps().now

    def use(self, policy_version: str | None) -> None:
        """Write this version of the policy into the records of allowed requests from now on."""
        self._policy = "" if policy_version is None else f',"policy_version":{quoted(policy_version)}'

    def allowed(
        self, claims: AccessClaims, service: Service, request: IncomingRequest, parsed: ParsedRequest | None = None
    ) -> None:
        """Record that `request` was allowed. Raises `NotRecordedError` while nothing can be recorded."""
        segments = self._segments
        if segments is not None:
            if not segments.is_available:
                raise NotRecordedError("the audit record cannot be written")
        elif self._failure is not None:
            raise NotRecordedError(str(self._failure))
        now, fields = self._now(), self._fields(claims, service, request, parsed)
        if segments is not None:
            segments.append(f'{_BEGIN}{now}"{_ALLOWED}{fields}}}')
        if self._stream is None:
            return
        self._lines.append(f'{{{_ALLOWED_TEXT}{fields}{self._end},"timestamp":"{now}"}}\n')
        if len(self._lines) < self._most_waiting:
            self._write_later()
        elif segments is None:
            self.flush()
        else:
            self._write_or_drop()

    def _fields(
        self, claims: AccessClaims, service: Service, request: IncomingRequest, asked: ParsedRequest | None
    ) -> str:
        """Return what `oauth_core.audit.members` does for the event of an allowed request."""
        source, peer, user_agent, request_id, trace_id = parts_of_origin(request)
        key, caller = (claims.jti, service.name), (request.method, request.path, source, peer, user_agent)
        usual = self._usual.get(key)
        if usual is None or usual.caller != caller:
            usual = self._usual_of(key, caller, claims)
        method, name, is_claimed = called(request, asked)
        text = usual.before
        if method:
            text += f',"mcp_method":{quoted(method[:LONGEST_LOGGED])}'
        if name:
            text += f',"mcp_name":{quoted(name[:LONGEST_LOGGED])}'
        if is_claimed:
            text += ',"mcp_claimed":true'
        text += usual.after
        if request_id:
            text += f',"request_id":{quoted(request_id[:LONGEST_LOGGED])}'
        if trace_id:
            text += f',"trace_id":{quoted(trace_id)}'
        return text + self._policy

    def _usual_of(self, key: tuple[str, str], caller: _Caller, claims: AccessClaims) -> _Usual:
        """Return the members that most calls of a token to a service share, and cache them."""
        method, path, *others = caller
        person = ""
        if claims.github_user is not None:
            person = f',"user":{quoted(claims.github_user)},"user_id":{claims.github_id},"provider":{_PROVIDER}'
        before = (
            f',"client_id":{quoted(claims.client_id[:LONGEST_LOGGED])}{person},"service":{quoted(key[1])}'
            f',"jti":{quoted(claims.jti)},"method":{quoted(method[:LONGEST_LOGGED])}'
            f',"path":{quoted(path[:LONGEST_LOGGED])}'
        )
        after = "".join(
            f',"{name}":{quoted(value[:LONGEST_LOGGED])}'
            for name, value in zip(_OTHERS_OF_CALLER, others, strict=True)
            if value
        )
        usual = _Usual(caller, before, after)
        if sum(len(text or "") for text in (*caller, before, after)) <= _LONGEST_USUAL:
            if len(self._usual) >= _MOST_USUAL:
                self._usual.clear()
            self._usual[key] = usual
        return usual

    def record(self, event: AuditEvent) -> None:
        """Record a refused request or another event, after all lines that wait. Allowed ones have `allowed`.

        Without segments it raises the errors of `flush`.
        """
        if event.kind is EventKind.ACCESS_DENIED:
            self._refused(event)
            return
        if self._lines:
            if self._segments is None:
                self.flush()
            else:
                self._write_or_drop()
        self._others.record(event)

    def _refused(self, event: AuditEvent) -> None:
        now, fields = self._now(), members(event)
        segments = self._segments
        if segments is not None:
            if event.reason == DenyReason.AUDIT_UNAVAILABLE:
                # One line for each refused call would use up the room that is kept for revocations.
                segments.note_dropped()
            else:
                segments.record(event, now, fields)
        if self._stream is None:
            return
        if self._failure is not None and len(self._lines) >= _MOST_WAITING and segments is None:
            raise self._failure
        self._lines.append(f'{{"event":"{event.kind}"{fields}{self._end},"timestamp":"{now}"}}\n')
        if segments is not None:
            self._write_or_drop()
            return
        try:
            self.flush()
        except (OSError, ValueError):
            self._write_later()
            raise

    def flush(self) -> None:
        """Write the waiting lines of text. Raises `OSError`, or `ValueError` when the stream is closed."""
        if self._stream is None:
            return
        try:
            self._stream.write("".join(self._lines))
            self._stream.flush()
        except PartlyWrittenError as error:
            del self._lines[: error.lines]
            self._failure = error
            raise
        except (OSError, ValueError) as error:
            self._failure = error
            raise
        self._failure = None
        self._lines.clear()

    def _write_or_drop(self) -> None:
        """Write the waiting lines of text. If that fails, drop the oldest of too many; the segments have them."""
        if self._failure is None:
            with suppress(OSError, ValueError):
                self.flush()
        del self._lines[: -self._most_waiting]
        if self._lines:
            self._write_later()

    def close(self) -> None:
        """Write the waiting lines for the last time. Raises the same errors as `flush`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()

    def _write_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WRITE_EVERY, self._write_waiting)

    def _write_waiting(self) -> None:
        self._timer = None
        try:
            self.flush()
        except (OSError, ValueError):
            self._write_later()
