"""The access log: one line for each request, in the form of every other audit event.

Requests are frequent, and a flood more so. So their lines are formatted without a library, for a few microseconds
each. Lines of allowed requests are written together a few times a second, a refusal at once. No line is dropped:
when too many wait, they are written at once, and when they cannot be written, no request is allowed until they
can. A killed process loses the lines that it had not written: those of `WRITE_EVERY`, and where the log is a pipe
whose reader is stalled, those of `oauth_core.process.log_stream.STALLED_SECONDS`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import fields
from json.encoder import encode_basestring_ascii as quoted
from operator import attrgetter
from typing import TYPE_CHECKING

from oauth_core.audit import LONGEST_LOGGED, AuditEvent, EventKind
from oauth_core.process.log_stream import PartlyWrittenError

if TYPE_CHECKING:
    from ext_authz.decision.envoy_messages import IncomingRequest
    from oauth_core.audit import AuditSink
    from oauth_core.model import AccessClaims, Service
    from oauth_core.process.logs import Stream

WRITE_EVERY = 0.05
"""Seconds between writes."""

_MOST_WAITING = 10_000

_NAMES = tuple(field.name for field in fields(AuditEvent) if field.name != "kind")
_values = attrgetter(*_NAMES)


class AccessLog:
    """Writes allowed and refused requests to `stream`, in batches.

    Other events go to `others` at once, after the requests that were recorded before them.
    """

    def __init__(self, others: AuditSink, stream: Stream, *, program: str) -> None:
        self._others = others
        self._stream = stream
        self._end = f',"audit":true,"program":{quoted(program)},"level":"info"'
        self._lines: list[str] = []
        self._failure: OSError | ValueError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._second = -1
        self._second_text = ""

    def allowed(self, claims: AccessClaims, service: Service, request: IncomingRequest) -> None:
        """Record that `request` was allowed. While writing fails, it raises the error of the last write."""
        if self._failure is not None:
            raise self._failure
        optional = ""
        if claims.github_user is not None:
            optional = f',"user":{quoted(claims.github_user)},"user_id":{claims.github_id}'
        if request.source:
            optional += f',"source":{quoted(request.source[:LONGEST_LOGGED])}'
        if request.request_id:
            optional += f',"request_id":{quoted(request.request_id[:LONGEST_LOGGED])}'
        self._lines.append(
            f'{{"client_id":{quoted(claims.client_id)},"service":{quoted(service.name)},"jti":{quoted(claims.jti)}'
            f',"method":{quoted(request.method[:LONGEST_LOGGED])}'
            f',"path":{quoted(request.path[:LONGEST_LOGGED])}{optional}{self._end}'
            f',"event":"{EventKind.ACCESS_ALLOWED}","timestamp":"{self._now()}"}}\n'
        )
        if len(self._lines) >= _MOST_WAITING:
            self.flush()
        else:
            self._write_later()

    def record(self, event: AuditEvent) -> None:
        """Record any other event, after all earlier lines. Raises the same errors as `flush`."""
        if event.kind is EventKind.ACCESS_DENIED:
            self._refused(event)
            return
        if self._lines:
            self.flush()
        self._others.record(event)

    def _refused(self, event: AuditEvent) -> None:
        if self._failure is not None and len(self._lines) >= _MOST_WAITING:
            raise self._failure
        members = "".join(
            f',"{name}":{quoted(value) if isinstance(value, str) else value}'
            for name, value in zip(_NAMES, _values(event), strict=True)
            if value is not None
        )
        self._lines.append(
            f'{{"event":"{EventKind.ACCESS_DENIED}"{members}{self._end},"timestamp":"{self._now()}"}}\n'
        )
        try:
            self.flush()
        except (OSError, ValueError):
            self._write_later()
            raise

    def flush(self) -> None:
        """Write the waiting lines. Raises `OSError`, or `ValueError` when the stream is closed."""
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

    def _now(self) -> str:
        """Return the time as ISO 8601 in UTC, to the microsecond."""
        second, fraction = divmod(time.time(), 1)
        if second != self._second:
            self._second = int(second)
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{int(fraction * 1_000_000):06d}Z"
