"""The requirements of RFC 9113 sections 3 to 7 for a server, clause by clause, where no other test shows them."""

from __future__ import annotations

import pytest

from ext_authz.grpc_http2 import http2_codec
from ext_authz.grpc_http2.limits import LARGEST_FRAME
from tests.service.transports.wire import BLOCK, HEAD, Peer, body, call, framed, head, settle

frame, END, FULL = http2_codec.frame, http2_codec.END_STREAM, http2_codec.END_HEADERS
PATH = dict(HEAD)[b":path"]


def request(*changes: tuple[bytes, bytes], more: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """A complete call with other pseudo-headers or more fields."""
    fields = [(name, dict(changes).get(name, value)) for name, value in HEAD]
    return head(1, http2_codec.header_block([*fields, *more])) + body(1, b"ask")


def resets(peer: Peer) -> list[tuple[int, int]]:
    return [(f.stream, http2_codec.number(f.payload)) for f in peer.frames() if f.kind == http2_codec.RST_STREAM]


@pytest.mark.requirement("rfc9113:preface-sent", "rfc9113:preface-acknowledged", "rfc9113:no-push")
async def test_the_first_frame_is_settings_and_the_peers_are_acknowledged_after_it() -> None:
    peer = Peer(greet=False)
    (settings, _) = peer.frames()
    assert (settings.kind, settings.flags, settings.stream) == (http2_codec.SETTINGS, 0, 0)
    names = {name for name, _ in http2_codec.settings(settings.payload)}
    assert http2_codec.ENABLE_PUSH not in names
    peer.send(http2_codec.PREFACE + http2_codec.settings_frame([]))
    assert [(f.kind, f.flags, f.payload) for f in peer.frames()] == [(http2_codec.SETTINGS, http2_codec.ACK, b"")]


@pytest.mark.requirement("rfc9113:settings-order", "rfc9113:settings-acknowledged", "rfc9113:settings-unknown")
async def test_settings_are_applied_in_order_and_acknowledged_before_they_are_used() -> None:
    peer = Peer((http2_codec.INITIAL_WINDOW_SIZE, 0))
    peer.send(call(1, b"ask"))
    peer.frames()
    values = [(http2_codec.INITIAL_WINDOW_SIZE, 0), (0xFFFF, 7), (http2_codec.INITIAL_WINDOW_SIZE, 3)]
    peer.send(http2_codec.settings_frame(values), http2_codec.settings_frame([]))
    first, data, second = peer.frames()
    assert (first.kind, first.flags, second.kind, second.flags) == (http2_codec.SETTINGS, http2_codec.ACK) * 2
    assert (data.kind, len(data.payload)) == (http2_codec.DATA, 3)


@pytest.mark.requirement("rfc9113:unused-flags", "rfc9113:reserved-bit")
async def test_undefined_flags_and_the_reserved_bit_change_nothing() -> None:
    peer = Peer()
    unused = 0xFF & ~(
        http2_codec.END_STREAM | http2_codec.END_HEADERS | http2_codec.PADDED | http2_codec.HAS_PRIORITY
    )
    reserved = 1 << 31
    peer.send(
        frame(http2_codec.HEADERS, FULL | unused, reserved | 1, BLOCK),
        frame(http2_codec.DATA, END | (0xFF & ~(END | http2_codec.PADDED)), reserved | 1, framed(b"ask")),
        frame(http2_codec.WINDOW_UPDATE, 0xFF, reserved, b"\x80\0\0\1"),
        frame(http2_codec.PING, 0xFF & ~http2_codec.ACK, reserved, b"12345678"),
        frame(http2_codec.SETTINGS, 0xFF & ~http2_codec.ACK, reserved),
    )
    got = peer.frames()
    assert [f.payload for f in got if f.kind == http2_codec.DATA] == [framed(b"now:ask")]
    assert [f.payload for f in got if f.kind == http2_codec.PING] == [b"12345678"]
    # Frames that we send have no undefined flag, and the reserved bit is not set.
    meaning = {
        http2_codec.HEADERS: FULL | END,
        http2_codec.DATA: END,
        http2_codec.PING: http2_codec.ACK,
        http2_codec.SETTINGS: http2_codec.ACK,
        http2_codec.WINDOW_UPDATE: 0,
    }
    assert all(not f.flags & ~meaning[f.kind] and f.stream <= http2_codec.LAST_STREAM for f in got)


@pytest.mark.requirement("rfc9113:frame-size")
async def test_a_frame_of_16384_octets_is_read() -> None:
    peer = Peer()
    whole = framed(b"x" * (LARGEST_FRAME - 5))
    peer.send(head(1), frame(http2_codec.DATA, END, 1, whole), frame(0xFA, 0, 0, b"x" * LARGEST_FRAME))
    await settle()
    assert len(peer.answers()[1]) == len(whole) + len(b"now:")


TOO_SHORT = {
    "no pad length": frame(http2_codec.HEADERS, FULL | http2_codec.PADDED, 1),
    "half a priority": frame(http2_codec.HEADERS, FULL | http2_codec.HAS_PRIORITY, 1, b"\0\0\0"),
    "half a priority after a pad length": frame(
        http2_codec.HEADERS, FULL | http2_codec.HAS_PRIORITY | http2_codec.PADDED, 1, b"\0\0\0\0\0"
    ),
}


@pytest.mark.requirement("rfc9113:frame-too-short")
@pytest.mark.parametrize("data", TOO_SHORT.values(), ids=TOO_SHORT.keys())
async def test_a_frame_that_is_too_short_for_its_mandatory_fields_is_a_frame_size_error(data: bytes) -> None:
    peer = Peer()
    peer.send(data)
    assert peer.ended_with == http2_codec.FRAME_SIZE_ERROR


ADDS = b"\x40\x01a\x01b"
DISCARDED = {
    "a stream that we have ended": head(1, BLOCK + http2_codec.header_block([(b"X", b"")]))
    + head(1, ADDS, FULL | END),
    "a malformed request": head(1, ADDS + http2_codec.header_block([*HEAD, (b"connection", b"close")])),
    "a request that depends on itself": frame(
        http2_codec.HEADERS, FULL | http2_codec.HAS_PRIORITY, 1, b"\0\0\0\1\0" + BLOCK + ADDS
    ),
    "one in two frames that depends on itself": frame(
        http2_codec.HEADERS, http2_codec.HAS_PRIORITY, 1, b"\0\0\0\1\0" + BLOCK
    )
    + frame(http2_codec.CONTINUATION, FULL, 1, ADDS),
}


@pytest.mark.requirement("rfc9113:decompress-all", "rfc9113:after-our-reset")
@pytest.mark.parametrize("data", DISCARDED.values(), ids=DISCARDED.keys())
async def test_a_discarded_header_block_still_changes_the_table(data: bytes) -> None:
    peer = Peer()
    peer.send(data)
    assert [stream for stream, _ in resets(peer)] == [1]
    peer.send(head(3, BLOCK + b"\xbe"), body(3, b"ask"))  # entry 62 is what the discarded block added
    assert peer.answers() == {3: framed(b"now:ask")}
    assert not peer.transport.is_closed


@pytest.mark.requirement("rfc9113:data-counted")
async def test_discarded_data_counts_for_the_window_of_the_connection() -> None:
    peer = Peer()
    peer.send(head(1, http2_codec.header_block([*HEAD, (b"X", b"")])))
    peer.frames()
    given = 0
    for _ in range(300):
        peer.send(frame(http2_codec.DATA, 0, 1, b"x" * 16_000))
        given += sum(http2_codec.number(f.payload) for f in peer.frames() if f.kind == http2_codec.WINDOW_UPDATE)
    assert 300 * 16_000 - 2 * 1024 * 1024 <= given <= 300 * 16_000


@pytest.mark.requirement("rfc9113:no-reset-for-reset")
async def test_a_reset_is_never_answered_with_a_reset() -> None:
    peer = Peer()
    peer.send(call(1, b"later"), http2_codec.reset(1, http2_codec.CANCEL), http2_codec.reset(1, 0xDEAD_BEEF))
    await settle()
    assert not peer.frames()


@pytest.mark.requirement("rfc9113:after-a-reset")
async def test_no_frame_is_sent_on_a_stream_that_the_peer_has_reset() -> None:
    peer = Peer((http2_codec.INITIAL_WINDOW_SIZE, 4))
    peer.send(call(1, b"ask"), call(3, b"later"))
    peer.frames()
    peer.send(http2_codec.reset(1, http2_codec.CANCEL), http2_codec.reset(3, http2_codec.CANCEL))
    peer.authorizer.gate.set()
    peer.send(http2_codec.settings_frame([(http2_codec.INITIAL_WINDOW_SIZE, 100)]))
    await settle()
    assert [f for f in peer.frames() if f.stream] == []


@pytest.mark.requirement("rfc9113:extension-in-a-block")
async def test_a_frame_of_an_unknown_type_inside_a_header_block_ends_the_connection() -> None:
    peer = Peer()
    peer.send(head(1, BLOCK[:9], 0), frame(0xFA, 0, 1), frame(http2_codec.CONTINUATION, FULL, 1, BLOCK[9:]))
    assert peer.ended_with == http2_codec.PROTOCOL_ERROR


@pytest.mark.requirement("rfc9113:ping")
async def test_a_ping_is_answered_with_the_same_bytes_and_an_acknowledgement_is_not() -> None:
    peer = Peer()
    peer.send(
        frame(http2_codec.PING, 0, 0, b"\0\1\2\3\4\5\6\7"),
        frame(http2_codec.PING, http2_codec.ACK, 0, b"87654321"),
    )
    assert [(f.kind, f.flags, f.payload) for f in peer.frames()] == [
        (http2_codec.PING, http2_codec.ACK, bytes(range(8)))
    ]


@pytest.mark.requirement("rfc9113:goaway-never-higher", "rfc9113:goaway-discard")
async def test_a_later_goaway_never_names_a_higher_stream() -> None:
    peer = Peer()
    peer.send(call(1, b"ask"))
    peer.connection.start_drain()
    peer.send(
        frame(http2_codec.PING, http2_codec.ACK, 0, b"goodbye!"), head(3, BLOCK + ADDS), head(5, BLOCK + b"\xbe")
    )
    peer.send(frame(http2_codec.PING, 0, 1, b"\0" * 8))
    named = [http2_codec.number(f.payload) for f in peer.frames() if f.kind == http2_codec.GOAWAY]
    assert named == [http2_codec.LAST_STREAM, 1, 1]


@pytest.mark.requirement("rfc9113:unknown-codes")
async def test_unknown_error_codes_have_no_special_effect() -> None:
    peer = Peer()
    peer.send(
        call(1, b"later"),
        http2_codec.reset(1, 0xFFFF_FFFF),
        frame(http2_codec.GOAWAY, 0, 0, b"\0\0\0\0\xff\xff\xff\xff"),
    )
    peer.send(call(3, b"ask"))
    assert peer.answers() == {3: framed(b"now:ask")}


@pytest.mark.requirement("rfc9113:window-by-settings")
@pytest.mark.parametrize("values", [[2**31 - 1], [100, 2**31 - 1, 100]], ids=["one value", "a value in between"])
async def test_settings_that_raise_a_window_over_the_limit_end_the_connection(values: list[int]) -> None:
    peer = Peer((http2_codec.INITIAL_WINDOW_SIZE, 1))
    peer.send(call(1, b"ask"), http2_codec.window_update(2, 1))
    peer.frames()
    peer.send(http2_codec.settings_frame([(http2_codec.INITIAL_WINDOW_SIZE, 2**31 - 3)]))
    assert not peer.transport.is_closed
    peer = Peer((http2_codec.INITIAL_WINDOW_SIZE, 0))
    peer.send(call(1, b"later"), http2_codec.window_update(2, 1))
    peer.send(http2_codec.settings_frame([(http2_codec.INITIAL_WINDOW_SIZE, value) for value in values]))
    assert peer.ended_with == http2_codec.FLOW_CONTROL_ERROR


@pytest.mark.requirement("rfc9113:window-by-settings")
async def test_the_window_of_a_closed_stream_does_not_count() -> None:
    peer = Peer()
    peer.send(call(1, b"later"), http2_codec.window_update(2**30, 1), http2_codec.reset(1, http2_codec.CANCEL))
    peer.send(http2_codec.settings_frame([(http2_codec.INITIAL_WINDOW_SIZE, 2**31 - 1)]), call(3, b"ask"))
    assert peer.answers() == {3: framed(b"now:ask")}


@pytest.mark.requirement("rfc9113:window-update-late")
async def test_a_window_update_for_a_closed_stream_is_no_error() -> None:
    peer = Peer()
    peer.send(call(1, b"ask"), call(3, b"later"))
    peer.frames()
    peer.send(http2_codec.window_update(7, 1), http2_codec.window_update(7, 3))
    assert not peer.frames()
