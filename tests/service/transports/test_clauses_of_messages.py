"""The requirements of RFC 9113 section 8 and RFC 7541 for a server, clause by clause: messages, TLS and header
compression.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import hpack
import pytest

from ext_authz.grpc_http2 import http2_codec
from ext_authz.grpc_http2.limits import LARGEST_HEADERS
from ext_authz.grpc_http2.transport import _tls
from oauth_core.settings import AuthzSettings
from tests.service.transports.wire import BLOCK, HEAD, Peer, body, call, framed, head
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

frame, END, FULL = http2_codec.frame, http2_codec.END_STREAM, http2_codec.END_HEADERS
PATH = dict(HEAD)[b":path"]


def request(*changes: tuple[bytes, bytes], more: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """A complete call with other pseudo-headers or more fields."""
    fields = [(name, dict(changes).get(name, value)) for name, value in HEAD]
    return head(1, http2_codec.header_block([*fields, *more])) + body(1, b"ask")


def resets(peer: Peer) -> list[tuple[int, int]]:
    return [(f.stream, http2_codec.number(f.payload)) for f in peer.frames() if f.kind == http2_codec.RST_STREAM]


ADDS = b"\x40\x01a\x01b"
"""A field that is added to the table."""

FIELDS = {
    "an empty name": (b"", b"1"),
    "a blank in a name": (b"a b", b"1"),
    "a control character in a name": (b"a\x1fb", b"1"),
    "a delete in a name": (b"a\x7f", b"1"),
    "a byte above ASCII in a name": (b"na\xc3\xafve", b"1"),
    "a capital": (b"aB", b"1"),
    "a colon in a name": (b"a:b", b"1"),
    "a line feed at the end of a name": (b"ab\n", b"1"),
    "NUL in a value": (b"a", b"1\x002"),
    "a line feed in a value": (b"a", b"1\n2"),
    "a carriage return in a value": (b"a", b"1\r2"),
    "a line feed at the end of a value": (b"a", b"1\n"),
    "a blank before a value": (b"a", b" 1"),
    "a blank after a value": (b"a", b"1 "),
    "a tab before a value": (b"a", b"\t1"),
    "a tab after a value": (b"a", b"1\t"),
    "connection": (b"connection", b"close"),
    "proxy-connection": (b"proxy-connection", b"close"),
    "keep-alive": (b"keep-alive", b"1"),
    "transfer-encoding": (b"transfer-encoding", b"chunked"),
    "upgrade": (b"upgrade", b"h2c"),
    "te": (b"te", b"trailers, gzip"),
}


@pytest.mark.requirement(
    "rfc9113:field-names", "rfc9113:field-values", "rfc9113:connection-fields", "rfc9113:malformed"
)
@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS.keys())
@pytest.mark.parametrize("place", ["headers", "trailers"])
async def test_an_invalid_field_makes_the_request_malformed(field: tuple[bytes, bytes], place: str) -> None:
    peer = Peer()
    if place == "headers":
        peer.send(request(more=(field,)))
    else:
        data = frame(http2_codec.DATA, 0, 1, framed(b"ask"))
        peer.send(head(1), data, head(1, http2_codec.header_block([field]), FULL | END))
    assert resets(peer) == [(1, http2_codec.PROTOCOL_ERROR)]
    assert not peer.authorizer.asked
    peer.send(call(3, b"ask"))
    assert peer.answers() == {3: framed(b"now:ask")}


TARGETS = {
    "an empty path": ((b":path", b""),),
    "a path without a slash": ((b":path", b"envoy"),),
    "an asterisk": ((b":path", b"*"),),
    "an empty method": ((b":method", b""),),
    "a user in the authority": ((b":authority", b"user@test"),),
    "CONNECT with a path": ((b":method", b"CONNECT"),),
    "NUL in a path": ((b":path", PATH + b"\0"),),
}


@pytest.mark.requirement("rfc9113:path", "rfc9113:authority", "rfc9113:connect", "rfc9113:malformed")
@pytest.mark.parametrize("changes", TARGETS.values(), ids=TARGETS.keys())
async def test_a_request_without_a_complete_target_is_malformed(
    changes: tuple[tuple[bytes, bytes], ...],
) -> None:
    peer = Peer()
    peer.send(request(*changes))
    assert resets(peer) == [(1, http2_codec.PROTOCOL_ERROR)]
    assert not peer.authorizer.asked


@pytest.mark.requirement("rfc9113:connect")
@pytest.mark.parametrize(
    "fields",
    [
        [(b":method", b"CONNECT"), (b":authority", b"test:443")],
        [(b":method", b"OPTIONS"), (b":scheme", b"http"), (b":path", b"*")],
        [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")],
    ],
    ids=["CONNECT", "OPTIONS *", "GET /"],
)
async def test_a_valid_request_that_is_no_grpc_call_is_refused_with_415(fields: list[tuple[bytes, bytes]]) -> None:
    peer = Peer()
    peer.send(head(1, http2_codec.header_block(fields), FULL | END))
    status = dict(hpack.Decoder().decode(peer.frames()[0].payload, raw=True))[b":status"]
    assert status == b"415"


@pytest.mark.requirement("rfc9113:trailers")
async def test_pseudo_headers_in_trailers_make_the_request_malformed() -> None:
    for field in ((b":path", b"/"), (b":status", b"200"), (b":x", b"1")):
        peer = Peer()
        data = frame(http2_codec.DATA, 0, 1, framed(b"ask"))
        peer.send(head(1), data, head(1, http2_codec.header_block([field]), FULL | END))
        assert resets(peer) == [(1, http2_codec.PROTOCOL_ERROR)]
        assert not peer.authorizer.asked


@pytest.mark.requirement("rfc9113:trailers")
async def test_valid_trailers_end_a_call() -> None:
    peer = Peer()
    peer.send(
        head(1),
        frame(http2_codec.DATA, 0, 1, framed(b"ask")),
        head(1, http2_codec.header_block([(b"a", b"b")]), FULL | END),
    )
    assert peer.answers() == {1: framed(b"now:ask")}


@pytest.mark.requirement("rfc9113:content-length")
async def test_two_different_lengths_make_the_request_malformed() -> None:
    peer = Peer()
    peer.send(request(more=((b"content-length", b"8"), (b"content-length", b"9"))))
    assert resets(peer) == [(1, http2_codec.PROTOCOL_ERROR)]


@pytest.mark.requirement("rfc9113:authority")
async def test_the_host_field_is_ignored_when_there_is_an_authority() -> None:
    peer = Peer()
    peer.send(request(more=((b"host", b"elsewhere"),)))
    assert peer.answers() == {1: framed(b"now:ask")}


@pytest.mark.requirement("rfc9113:answers-well-formed")
async def test_answers_have_one_status_and_no_connection_field() -> None:
    peer = Peer()
    peer.send(call(1, b"ask"), call(3, b"break"), head(5, http2_codec.header_block(HEAD[:4]), FULL | END))
    first = set()
    for got in peer.frames():
        if got.kind == http2_codec.HEADERS:
            names = [name for name, _ in hpack.Decoder().decode(got.payload, raw=True)]
            assert all(
                name == name.lower() and name not in {b"connection", b"transfer-encoding"} for name in names
            )
            assert [name for name in names if name.startswith(b":")] == (
                [b":status"] if got.stream not in first else []
            )
            first.add(got.stream)
    assert first == {1, 3, 5}


@pytest.mark.requirement(
    "rfc9113:tls-version", "rfc9113:tls-compression", "rfc9113:tls-ciphers", "rfc9113:tls-client-auth"
)
def test_tls_has_the_settings_that_http2_requires(tmp_path: Path) -> None:
    identity = Authority(tmp_path, "authority").identity("check.internal")
    settings = AuthzSettings.model_construct(
        authz_tls_cert=identity.cert, authz_tls_key=identity.key, authz_tls_client_ca=None
    )
    context = _tls(settings)
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert not context.post_handshake_auth
    names = {cipher["name"] for cipher in context.get_ciphers()}
    assert "ECDHE-RSA-AES128-GCM-SHA256" in names
    assert all(name.startswith(("TLS_", "ECDHE-")) and ("GCM" in name or "CHACHA20" in name) for name in names)


BAD_BLOCKS = {
    "index 0": b"\x80",
    "an index behind both tables": b"\xbe",
    "a name behind both tables": b"\x7f\x00\x01a",
    "an integer without end": b"\xff" + b"\x80" * 4000 + b"\x01",
    "an integer larger than any": b"\xff" + b"\xff" * 4000 + b"\x7f",
    "a length without end": b"\x00\x7f" + b"\x80" * 4000 + b"\x01",
    "a length behind the end": b"\x00\x05abc",
    "an integer that is cut off": b"\xff\x80",
    "a whole byte of padding": b"\x00\x01a\x82\x1f\xff",
    "padding that is no part of EOS": b"\x00\x01a\x81\x18",
    "EOS in a string": b"\x00\x01a\x84\xff\xff\xff\xff",
    "an update behind a field": BLOCK + b"\x20",
    "an update over the limit": b"\x3f\xe2\x1f" + BLOCK,
    "three updates": b"\x20\x3f\xe1\x1f\x20" + BLOCK,
    "updates without end": b"\x20" * 16_000,
}


@pytest.mark.requirement(
    "rfc7541:index-zero",
    "rfc7541:index-limit",
    "rfc7541:integers",
    "rfc7541:padding",
    "rfc7541:eos",
    "rfc7541:size-limit",
    "rfc7541:update-place",
    "rfc9113:compression-error",
)
@pytest.mark.parametrize("block", BAD_BLOCKS.values(), ids=BAD_BLOCKS.keys())
async def test_a_block_that_cannot_be_decoded_ends_the_connection(block: bytes) -> None:
    peer = Peer()
    peer.send(head(1, block))
    assert peer.ended_with == http2_codec.COMPRESSION_ERROR
    assert not peer.authorizer.asked


@pytest.mark.requirement("rfc7541:order", "rfc7541:duplicates", "rfc7541:entry-too-large")
async def test_the_dynamic_table_is_kept_as_specified() -> None:
    # The same entry twice, an entry larger than the table, which empties it, then one that is number 62 again.
    large = b"\x40\x01a" + http2_codec.text(b"x" * 5000)
    for block, is_good in (
        (BLOCK + ADDS + ADDS + b"\xbe\xbf", True),
        (BLOCK + ADDS + large + ADDS + b"\xbe", True),
        (BLOCK + ADDS + large + b"\xbe", False),
    ):
        peer = Peer()
        peer.send(head(1, block), body(1, b"ask"))
        assert bool(peer.answers()) is is_good
    blocks = Peer().connection._streams._blocks
    trailers = blocks.read_trailers(b"\x00\x01b\x011\x00\x01a\x012\x00\x01b\x013")
    assert [(bytes(name), bytes(value)) for name, value in trailers] == [(b"b", b"1"), (b"a", b"2"), (b"b", b"3")]


@pytest.mark.requirement("rfc7541:never-indexed")
async def test_a_never_indexed_field_is_read_and_changes_no_table() -> None:
    peer = Peer()
    peer.send(head(1, BLOCK + b"\x10\x01a\x01b"), body(1, b"ask"), head(3, BLOCK + b"\xbe"))
    assert set(peer.answers()) == {1}
    assert peer.transport.is_closed


@pytest.mark.requirement("rfc9113:large-headers")
async def test_too_large_headers_end_the_connection_so_that_no_table_state_is_lost() -> None:
    peer = Peer()
    peer.send(head(1, BLOCK + http2_codec.header_block([(b"a", b"x" * (LARGEST_HEADERS - 200))])))
    assert peer.ended_with == http2_codec.COMPRESSION_ERROR
