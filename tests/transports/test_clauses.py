"""What RFC 9113 sections 3 to 7 ask of a server, clause by clause, where no other test shows it."""

from __future__ import annotations

import pytest

from ext_authz.grpc_http2 import http2
from tests.transports.wire import BLOCK, HEAD, Peer, body, call, framed, head, settle

frame, END, FULL = http2.frame, http2.END_STREAM, http2.END_HEADERS
PATH = dict(HEAD)[b":path"]


def request(*changes: tuple[bytes, bytes], more: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """A whole call with other pseudo-headers or more fields."""
    fields = [(name, dict(changes).get(name, value)) for name, value in HEAD]
    return head(1, http2.header_block([*fields, *more])) + body(1, b"ask")


def resets(peer: Peer) -> list[tuple[int, int]]:
    return [(f.stream, http2.number(f.payload)) for f in peer.frames() if f.kind == http2.RST_STREAM]


@pytest.mark.requirement("rfc9113:preface-sent", "rfc9113:preface-acknowledged", "rfc9113:no-push")
async def test_the_first_frame_is_settings_and_the_peers_are_acknowledged_after_it() -> None:
    peer = Peer(greet=False)
    (settings, _) = peer.frames()
    assert (settings.kind, settings.flags, settings.stream) == (http2.SETTINGS, 0, 0)
    names = {name for name, _ in http2.settings(settings.payload)}
    assert http2.ENABLE_PUSH not in names
    peer.send(http2.PREFACE + http2.settings_frame([]))
    assert [(f.kind, f.flags, f.payload) for f in peer.frames()] == [(http2.SETTINGS, http2.ACK, b"")]


@pytest.mark.requirement("rfc9113:settings-order", "rfc9113:settings-acknowledged", "rfc9113:settings-unknown")
async def test_settings_are_applied_in_order_and_acknowledged_before_they_are_used() -> None:
    peer = Peer((http2.INITIAL_WINDOW_SIZE, 0))
    peer.send(call(1, b"ask"))
    peer.frames()
    values = [(http2.INITIAL_WINDOW_SIZE, 0), (0xFFFF, 7), (http2.INITIAL_WINDOW_SIZE, 3)]
    peer.send(http2.settings_frame(values), http2.settings_frame([]))
    first, data, second = peer.frames()
    assert (first.kind, first.flags, second.kind, second.flags) == (http2.SETTINGS, http2.ACK) * 2
    assert (data.kind, len(data.payload)) == (http2.DATA, 3)


@pytest.mark.requirement("rfc9113:unused-flags", "rfc9113:reserved-bit")
async def test_flags_and_a_bit_without_meaning_change_nothing() -> None:
    peer = Peer()
    unused = 0xFF & ~(http2.END_STREAM | http2.END_HEADERS | http2.PADDED | http2.HAS_PRIORITY)
    reserved = 1 << 31
    peer.send(
        frame(http2.HEADERS, FULL | unused, reserved | 1, BLOCK),
        frame(http2.DATA, END | (0xFF & ~(END | http2.PADDED)), reserved | 1, framed(b"ask")),
        frame(http2.WINDOW_UPDATE, 0xFF, reserved, b"\x80\0\0\1"),
        frame(http2.PING, 0xFF & ~http2.ACK, reserved, b"12345678"),
        frame(http2.SETTINGS, 0xFF & ~http2.ACK, reserved),
    )
    got = peer.frames()
    assert [f.payload for f in got if f.kind == http2.DATA] == [framed(b"now:ask")]
    assert [f.payload for f in got if f.kind == http2.PING] == [b"12345678"]
    # What we send has no flag without a meaning, and the bit is not set.
    meaning = {
        http2.HEADERS: FULL | END,
        http2.DATA: END,
        http2.PING: http2.ACK,
        http2.SETTINGS: http2.ACK,
        http2.WINDOW_UPDATE: 0,
    }
    assert all(not f.flags & ~meaning[f.kind] and f.stream <= http2.LAST_STREAM for f in got)


@pytest.mark.requirement("rfc9113:frame-size")
async def test_a_frame_of_16384_octets_is_read() -> None:
    peer = Peer()
    whole = framed(b"x" * (http2.LARGEST_FRAME - 5))
    peer.send(head(1), frame(http2.DATA, END, 1, whole), frame(0xFA, 0, 0, b"x" * http2.LARGEST_FRAME))
    await settle()
    assert len(peer.answers()[1]) == len(whole) + len(b"now:")


TOO_SHORT = {
    "no pad length": frame(http2.HEADERS, FULL | http2.PADDED, 1),
    "half a priority": frame(http2.HEADERS, FULL | http2.HAS_PRIORITY, 1, b"\0\0\0"),
    "half a priority after a pad length": frame(
        http2.HEADERS, FULL | http2.HAS_PRIORITY | http2.PADDED, 1, b"\0\0\0\0\0"
    ),
}


@pytest.mark.requirement("rfc9113:frame-too-short")
@pytest.mark.parametrize("data", TOO_SHORT.values(), ids=TOO_SHORT.keys())
async def test_a_frame_that_is_too_short_for_what_it_must_hold_is_a_frame_size_error(data: bytes) -> None:
    peer = Peer()
    peer.send(data)
    assert peer.ended_with == http2.FRAME_SIZE_ERROR


ADDS = b"\x40\x01a\x01b"
DISCARDED = {
    "a stream that we have ended": head(1, BLOCK + http2.header_block([(b"X", b"")])) + head(1, ADDS, FULL | END),
    "a malformed request": head(1, ADDS + http2.header_block([*HEAD, (b"connection", b"close")])),
    "a request that depends on itself": frame(
        http2.HEADERS, FULL | http2.HAS_PRIORITY, 1, b"\0\0\0\1\0" + BLOCK + ADDS
    ),
    "one in two frames that depends on itself": frame(http2.HEADERS, http2.HAS_PRIORITY, 1, b"\0\0\0\1\0" + BLOCK)
    + frame(http2.CONTINUATION, FULL, 1, ADDS),
}


@pytest.mark.requirement("rfc9113:decompress-all", "rfc9113:after-our-reset")
@pytest.mark.parametrize("data", DISCARDED.values(), ids=DISCARDED.keys())
async def test_a_header_block_that_is_discarded_still_changes_the_table(data: bytes) -> None:
    peer = Peer()
    peer.send(data)
    assert [stream for stream, _ in resets(peer)] == [1]
    peer.send(head(3, BLOCK + b"\xbe"), body(3, b"ask"))  # entry 62 is what the discarded block added
    assert peer.answers() == {3: framed(b"now:ask")}
    assert not peer.transport.is_closed


@pytest.mark.requirement("rfc9113:data-counted")
async def test_data_that_is_discarded_counts_for_the_window_of_the_connection() -> None:
    peer = Peer()
    peer.send(head(1, http2.header_block([*HEAD, (b"X", b"")])))
    peer.frames()
    given = 0
    for _ in range(300):
        peer.send(frame(http2.DATA, 0, 1, b"x" * 16_000))
        given += sum(http2.number(f.payload) for f in peer.frames() if f.kind == http2.WINDOW_UPDATE)
    assert 300 * 16_000 - 2 * 1024 * 1024 <= given <= 300 * 16_000


@pytest.mark.requirement("rfc9113:no-reset-for-reset")
async def test_a_reset_is_never_answered_with_a_reset() -> None:
    peer = Peer()
    peer.send(call(1, b"later"), http2.reset(1, http2.CANCEL), http2.reset(1, 0xDEAD_BEEF))
    await settle()
    assert not peer.frames()


@pytest.mark.requirement("rfc9113:after-a-reset")
async def test_nothing_is_sent_on_a_stream_that_the_peer_has_reset() -> None:
    peer = Peer((http2.INITIAL_WINDOW_SIZE, 4))
    peer.send(call(1, b"ask"), call(3, b"later"))
    peer.frames()
    peer.send(http2.reset(1, http2.CANCEL), http2.reset(3, http2.CANCEL))
    peer.authorizer.gate.set()
    peer.send(http2.settings_frame([(http2.INITIAL_WINDOW_SIZE, 100)]))
    await settle()
    assert [f for f in peer.frames() if f.stream] == []


@pytest.mark.requirement("rfc9113:extension-in-a-block")
async def test_a_frame_of_an_unknown_kind_between_the_frames_of_a_block_ends_the_connection() -> None:
    peer = Peer()
    peer.send(head(1, BLOCK[:9], 0), frame(0xFA, 0, 1), frame(http2.CONTINUATION, FULL, 1, BLOCK[9:]))
    assert peer.ended_with == http2.PROTOCOL_ERROR


@pytest.mark.requirement("rfc9113:ping")
async def test_a_ping_is_answered_with_the_same_bytes_and_an_answer_is_not() -> None:
    peer = Peer()
    peer.send(frame(http2.PING, 0, 0, b"\0\1\2\3\4\5\6\7"), frame(http2.PING, http2.ACK, 0, b"87654321"))
    assert [(f.kind, f.flags, f.payload) for f in peer.frames()] == [(http2.PING, http2.ACK, bytes(range(8)))]


@pytest.mark.requirement("rfc9113:goaway-never-higher", "rfc9113:goaway-discard")
async def test_a_later_goaway_never_names_a_later_stream() -> None:
    peer = Peer()
    peer.send(call(1, b"ask"))
    peer.connection.leave()
    peer.send(frame(http2.PING, http2.ACK, 0, b"goodbye!"), head(3, BLOCK + ADDS), head(5, BLOCK + b"\xbe"))
    peer.send(frame(http2.PING, 0, 1, b"\0" * 8))
    named = [http2.number(f.payload) for f in peer.frames() if f.kind == http2.GOAWAY]
    assert named == [http2.LAST_STREAM, 1, 1]


@pytest.mark.requirement("rfc9113:unknown-codes")
async def test_unknown_error_codes_mean_nothing_special() -> None:
    peer = Peer()
    peer.send(
        call(1, b"later"), http2.reset(1, 0xFFFF_FFFF), frame(http2.GOAWAY, 0, 0, b"\0\0\0\0\xff\xff\xff\xff")
    )
    peer.send(call(3, b"ask"))
    assert peer.answers() == {3: framed(b"now:ask")}


@pytest.mark.requirement("rfc9113:window-by-settings")
@pytest.mark.parametrize("values", [[2**31 - 1], [100, 2**31 - 1, 100]], ids=["one value", "a value in between"])
async def test_settings_that_lift_a_window_over_the_limit_end_the_connection(values: list[int]) -> None:
    peer = Peer((http2.INITIAL_WINDOW_SIZE, 1))
    peer.send(call(1, b"ask"), http2.window_update(2, 1))
    peer.frames()
    peer.send(http2.settings_frame([(http2.INITIAL_WINDOW_SIZE, 2**31 - 3)]))
    assert not peer.transport.is_closed
    peer = Peer((http2.INITIAL_WINDOW_SIZE, 0))
    peer.send(call(1, b"later"), http2.window_update(2, 1))
    peer.send(http2.settings_frame([(http2.INITIAL_WINDOW_SIZE, value) for value in values]))
    assert peer.ended_with == http2.FLOW_CONTROL_ERROR


@pytest.mark.requirement("rfc9113:window-by-settings")
async def test_a_window_that_is_gone_with_its_stream_does_not_count() -> None:
    peer = Peer()
    peer.send(call(1, b"later"), http2.window_update(2**30, 1), http2.reset(1, http2.CANCEL))
    peer.send(http2.settings_frame([(http2.INITIAL_WINDOW_SIZE, 2**31 - 1)]), call(3, b"ask"))
    assert peer.answers() == {3: framed(b"now:ask")}


@pytest.mark.requirement("rfc9113:window-update-late")
async def test_room_for_a_stream_that_is_over_is_no_error() -> None:
    peer = Peer()
    peer.send(call(1, b"ask"), call(3, b"later"))
    peer.frames()
    peer.send(http2.window_update(7, 1), http2.window_update(7, 3))
    assert not peer.frames()
