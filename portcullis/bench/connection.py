"""One HTTP/2 connection of a client, without the socket: the bytes to send, and the answers.

The owner calls `send` while `room` is true, sends `outgoing()`, and feeds what arrives. Answers are returned with
their verdict. The connection has no queue: the owner waits with requests that the server's limits do not allow
yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ext_authz.grpc_http2 import http2_codec
from portcullis.bench.http2_client import Frame, FrameReader, opening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portcullis.bench.answer_check import AnswerChecker
    from portcullis.bench.pool import Entry
    from portcullis.bench.request_builder import RequestBuilder

_LAST_STREAM = 2**31 - 3
_REPLENISH = 2**24
"""Bytes of answers after which the server gets the same window back (RFC 9113 section 5.2)."""


class Answer(NamedTuple):
    """The result of one request. `sent_at` is the moment given to `send`."""

    sent_at: float
    verdict: str


class _Waiting:
    """A stream without its answer."""

    __slots__ = ("block", "data", "sent_at", "subject")

    def __init__(self, sent_at: float, subject: bytes) -> None:
        self.sent_at = sent_at
        self.subject = subject
        self.block = b""
        self.data = b""


class Connection:
    """The state of one connection, at most `streams` requests under way at once."""

    def __init__(self, builder: RequestBuilder, checker: AnswerChecker, *, streams: int) -> None:
        self._builder = builder
        self._checker = checker
        self._streams = streams
        self._reader = FrameReader()
        self._out: list[bytes] = [opening()]
        self._waiting: dict[int, _Waiting] = {}
        self._next = 1
        self._window = http2_codec.DEFAULT_WINDOW
        self._stream_window = http2_codec.DEFAULT_WINDOW
        self._taken = 0
        self._unfinished: tuple[Frame, bytes] | None = None
        self.is_settled = False
        """Whether the server's settings have arrived, so that its limits are known."""
        self.got_goaway = False
        """Whether the server announced that this connection takes no more requests."""

    @property
    def waiting(self) -> int:
        """How many requests are under way."""
        return len(self._waiting)

    def room(self, entry: Entry) -> bool:
        """Whether one more request with this token may be sent now."""
        return (
            len(self._waiting) < self._streams
            and self._builder.weight(entry) <= min(self._window, self._stream_window)
            and not self.got_goaway
        )

    def send(self, entry: Entry, sent_at: float) -> None:
        """Ask with a token. `sent_at` comes back with the answer."""
        self._out.append(self._builder.frames(self._next, entry))
        self._window -= self._builder.weight(entry)
        self._waiting[self._next] = _Waiting(sent_at, entry.subject)
        self._next += 2
        if self._next > _LAST_STREAM:
            self.got_goaway = True

    def outgoing(self) -> bytes:
        """The bytes to send now; each byte is returned once."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def lose(self, why: str) -> list[Answer]:
        """Answer every request under way with `why`, because the connection broke."""
        lost = [Answer(waiting.sent_at, why) for waiting in self._waiting.values()]
        self._waiting.clear()
        self.got_goaway = True
        return lost

    def feed(self, data: bytes) -> Iterator[Answer]:
        """The answers that `data` completes. Raises `ProtocolError`."""
        for frame in self._reader.feed(data):
            kind = frame.kind
            if kind in {http2_codec.HEADERS, http2_codec.DATA, http2_codec.CONTINUATION, http2_codec.RST_STREAM}:
                answer = self._on_stream(frame)
                if answer is not None:
                    yield answer
            elif kind == http2_codec.SETTINGS:
                self._on_settings(frame)
            elif kind == http2_codec.WINDOW_UPDATE:
                if frame.stream == 0:
                    self._window += http2_codec.number(frame.payload)
            elif kind == http2_codec.PING:
                if not frame.flags & http2_codec.ACK:
                    self._out.append(http2_codec.frame(http2_codec.PING, http2_codec.ACK, 0, frame.payload))
            elif kind == http2_codec.GOAWAY:
                self.got_goaway = True
                yield from self._refused(http2_codec.number(frame.payload))

    def _on_stream(self, frame: Frame) -> Answer | None:
        waiting = self._waiting.get(frame.stream)
        if frame.kind == http2_codec.DATA:
            self._taken += len(frame.payload)
            if self._taken >= _REPLENISH:
                self._out.append(http2_codec.window_update(self._taken))
                self._taken = 0
            if waiting is not None:
                waiting.data += frame.content
        elif frame.kind == http2_codec.RST_STREAM:
            return self._finish(frame.stream, f"reset with code {http2_codec.number(frame.payload)}")
        else:
            frame, block = self._whole_block(frame)
            if not frame.flags & http2_codec.END_HEADERS:
                return None
            if waiting is not None:
                waiting.block = block
        if frame.flags & http2_codec.END_STREAM and waiting is not None:
            return self._finish(frame.stream, self._checker(waiting.block, waiting.data, waiting.subject))
        return None

    def _whole_block(self, frame: Frame) -> tuple[Frame, bytes]:
        """The complete header block, also when several frames contain it (section 6.10)."""
        if frame.kind == http2_codec.CONTINUATION:
            if self._unfinished is None or self._unfinished[0].stream != frame.stream:
                raise http2_codec.ProtocolError("a CONTINUATION frame continues nothing")
            first, block = self._unfinished
            block += frame.payload
            frame = first._replace(flags=first.flags | frame.flags & http2_codec.END_HEADERS)
        else:
            block = frame.content
        self._unfinished = None if frame.flags & http2_codec.END_HEADERS else (frame, block)
        return frame, block

    def _finish(self, stream: int, verdict: str) -> Answer | None:
        waiting = self._waiting.pop(stream, None)
        return None if waiting is None else Answer(waiting.sent_at, verdict)

    def _on_settings(self, frame: Frame) -> None:
        if frame.flags & http2_codec.ACK:
            return
        settings = dict(http2_codec.settings(frame.payload))
        self._streams = min(self._streams, settings.get(http2_codec.MAX_CONCURRENT_STREAMS, self._streams))
        self._stream_window = settings.get(http2_codec.INITIAL_WINDOW_SIZE, self._stream_window)
        self._out.append(http2_codec.frame(http2_codec.SETTINGS, http2_codec.ACK, 0))
        self.is_settled = True

    def _refused(self, last: int) -> Iterator[Answer]:
        """The server closes the connection and has not processed streams after `last` (section 6.8)."""
        for stream in [stream for stream in self._waiting if stream > last]:
            answer = self._finish(stream, "refused by a server that is going away")
            if answer is not None:
                yield answer
