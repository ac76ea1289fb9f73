"""A budget for the work that control frames of one connection cause. Time and calls refill it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ext_authz.grpc_http2 import http2_codec
from ext_authz.grpc_http2.limits import BURST, PER_CALL, RATE

if TYPE_CHECKING:
    from collections.abc import Callable

_FRAMES_OF_CALLS = frozenset(
    {http2_codec.DATA, http2_codec.HEADERS, http2_codec.RST_STREAM, http2_codec.PUSH_PROMISE}
)


def is_control(kind: int) -> bool:
    """Return whether each frame of this kind costs a unit: all but those whose cost depends on their content."""
    return kind not in _FRAMES_OF_CALLS


class ControlBudget:
    """Limits floods of frames that cost the peer little and this server more, such as SETTINGS, PING and resets.

    HTTP/2 requires no limit here; RFC 9113 section 10.5 asks to watch such use and to treat it as suspicious.
    `clock` returns seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left = float(BURST)
        self._filled = clock()
        self._calls = 0

    def spend(self, units: int, calls: int) -> None:
        """Spend units for a frame; `calls` is the number of calls this connection has begun.

        Raises `http2_codec.ProtocolError` with ENHANCE_YOUR_CALM when no units are left.
        """
        self._left -= units
        if self._left < 0:
            self._fill(calls)
            if self._left < 0:
                raise http2_codec.ProtocolError("too many control frames", http2_codec.ENHANCE_YOUR_CALM)

    def _fill(self, calls: int) -> None:
        """The clock is read only here: most connections never need it."""
        now = self._clock()
        earned = (now - self._filled) * RATE + (calls - self._calls) * PER_CALL
        self._left = min(float(BURST), self._left + earned)
        self._filled, self._calls = now, calls
