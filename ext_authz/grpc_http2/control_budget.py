"""How much work the control frames of one connection may cause: a budget that time and calls fill again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ext_authz.grpc_http2 import http2_codec

if TYPE_CHECKING:
    from collections.abc import Callable

BURST = 5000
"""Units that a connection may spend at once. A control frame costs one: some two microseconds of work."""

RATE = 2000
"""Units a second that a connection gets back."""

PER_CALL = 2
"""Units that each new call brings: clients answer the data of a call with WINDOW_UPDATE and PING frames."""

RESET = 1 + PER_CALL
"""What a stream costs that ends before its call has come whole. Its call brought units, which do not count."""

LOOKS = 16
"""Values of a SETTINGS frame, or waiting answers, that are looked at for one unit."""

_FRAMES_OF_CALLS = frozenset(
    {http2_codec.DATA, http2_codec.HEADERS, http2_codec.RST_STREAM, http2_codec.PUSH_PROMISE}
)


def is_control(kind: int) -> bool:
    """Whether each frame of this kind costs a unit: all but those whose cost depends on what they say."""
    return kind not in _FRAMES_OF_CALLS


class ControlBudget:
    """Limits floods of frames that cost the peer little and us more, such as SETTINGS, PING and resets.

    HTTP/2 asks for no bound here; RFC 9113 section 10.5 asks to watch such use and to treat it as suspicious.
    `clock` returns seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left = float(BURST)
        self._filled = clock()
        self._calls = 0

    def spend(self, units: int, calls: int) -> None:
        """Pay for a frame; `calls` is how many calls this connection has begun.

        Raises `http2.ProtocolError` with ENHANCE_YOUR_CALM when nothing is left.
        """
        self._left -= units
        if self._left < 0:
            self._fill(calls)
            if self._left < 0:
                raise http2_codec.ProtocolError("too many control frames", http2_codec.ENHANCE_YOUR_CALM)

    def _fill(self, calls: int) -> None:
        """Look at the clock only now: most connections never come here."""
        now = self._clock()
        earned = (now - self._filled) * RATE + (calls - self._calls) * PER_CALL
        self._left = min(float(BURST), self._left + earned)
        self._filled, self._calls = now, calls
