"""The address under which a request is counted: the one in the header of the proxy in front of this server."""

from __future__ import annotations

from time import monotonic

import structlog
from quart import has_request_context, request

from oauth_core.audit import Origin, trace_id_of
from oauth_core.limits.rate_limits import read_address, subject_of_address

_ADDRESS = "X-Portcullis-Address"
_REPORT_SECONDS = 60


class _MissingAddress:
    """Logs an error when requests come without the address of their caller, at most once a minute.

    Without it every caller behind the proxy shares the limits that are meant for one address.
    """

    def __init__(self) -> None:
        self._silent_until = 0.0

    def report(self) -> None:
        now = monotonic()
        if now < self._silent_until:
            return
        self._silent_until = now + _REPORT_SECONDS
        structlog.get_logger("rates").error(
            "all callers are counted as one address",
            reason=f"the proxy in front of oauth_web sets no usable {_ADDRESS} header",
            see="docs/own-envoy.md",
        )


_missing = _MissingAddress()


def named_address() -> str | None:
    """The subject of the address that the proxy sets for this request; `None` without one.

    With two such headers the result is `None` too: the caller may have sent one of them.
    """
    named = request.headers.getlist(_ADDRESS)
    return subject_of_address(named[0]) if len(named) == 1 and read_address(named[0]) else None


def caller_address() -> str:
    """The subject under which this request's address is counted.

    Envoy sets the address in a header, and removes the caller's own copy of that header. Where no proxy sets it,
    the peer of the connection is counted and an error is logged.
    """
    if (named := named_address()) is not None:
        return named
    _missing.report()
    return subject_of_address(request.remote_addr)


def origin() -> Origin:
    """Where the present request is from, for the audit log. Outside a request it is empty."""
    if not has_request_context():
        return Origin()
    headers = request.headers
    return Origin(
        # As `caller_address`, without its error.
        named_address() or subject_of_address(request.remote_addr),
        None,  # the other end of Envoy's connection is not known here
        headers.get("User-Agent"),
        headers.get("X-Request-Id"),
        trace_id_of(headers.get("Traceparent")),
    )
