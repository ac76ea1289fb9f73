"""Our HTTP/2 with an independent decoder, with input cut anywhere, and with input from a faulty server."""

from __future__ import annotations

import contextlib

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from ext_authz.decision import envoy_messages
from ext_authz.generated import envoy_ext_authz_pb2 as pb
from ext_authz.grpc_http2 import http2_codec
from oauth_core.policy import mcp_request
from oauth_core.policy.mcp_request import Call, NameKind
from portcullis.bench.answer_check import ALLOWED, CheckAnswerChecker, HttpAnswerChecker
from portcullis.bench.connection import Answer, Connection
from portcullis.bench.http2_client import FrameReader
from portcullis.bench.pool import Entry
from portcullis.bench.request_builder import CheckRequestBuilder, HttpRequestBuilder
from tests.bench.check_server import allowed, refused

URL = "http://localhost:8080/bench/mcp"
ENTRY = Entry(b"some.token.text", b"583231", b"jti")
HEADERS = http2_codec.END_HEADERS
LAST = http2_codec.END_HEADERS | http2_codec.END_STREAM

names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=200)
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=400)


def block(*headers: tuple[str, str]) -> bytes:
    """A header block by another encoder, with Huffman codes."""
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode(headers)


def grpc_answer(message: pb.CheckResponse, stream: int = 1, status: str = "0") -> bytes:
    """The frames of an answer."""
    data = message.SerializeToString()
    return (
        http2_codec.frame(
            http2_codec.HEADERS, HEADERS, stream, block((":status", "200"), ("content-type", "application/grpc"))
        )
        + http2_codec.frame(http2_codec.DATA, 0, stream, b"\0" + len(data).to_bytes(4, "big") + data)
        + http2_codec.frame(http2_codec.HEADERS, LAST, stream, block(("grpc-status", status)))
    )


def asking(streams: int = 4) -> Connection:
    """A connection with one request sent."""
    connection = Connection(CheckRequestBuilder(URL), CheckAnswerChecker(identity=True), streams=streams)
    connection.send(ENTRY, 1.5)
    return connection


@given(st.lists(st.tuples(names, values), max_size=8))
def test_another_decoder_reads_our_header_blocks(headers: list[tuple[str, str]]) -> None:
    decoded = Decoder().decode(
        http2_codec.header_block((name.encode(), value.encode()) for name, value in headers)
    )
    assert [(str(name), str(value)) for name, value in decoded] == headers


@given(st.data())
def test_an_answer_cut_anywhere_is_the_same_answer(data: st.DataObject) -> None:
    stream = http2_codec.frame(http2_codec.SETTINGS, 0, 0) + grpc_answer(allowed("583231"))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    connection = asking()
    answers: list[Answer] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        answers += connection.feed(stream[start:end])
    assert answers == [(1.5, ALLOWED)]
    assert connection.waiting == 0


@given(st.binary(max_size=300))
def test_garbage_is_a_protocol_error_or_nothing_but_never_a_right_answer(garbage: bytes) -> None:
    connection = asking()
    with contextlib.suppress(http2_codec.ProtocolError):
        assert all(answer.verdict != ALLOWED for answer in connection.feed(garbage))


def test_a_check_contains_the_token_and_the_url_of_its_service() -> None:
    message = CheckRequestBuilder(URL).message(ENTRY)
    assert message[:5] == b"\0" + (len(message) - 5).to_bytes(4, "big")
    http = pb.CheckRequest.FromString(message[5:]).attributes.request.http
    assert http.headers["authorization"] == "Bearer some.token.text"
    assert (http.host, http.path, http.method) == ("localhost:8080", "/bench/mcp", "POST")


def test_a_check_with_a_body_is_one_that_tool_rules_can_decide_and_the_call_has_the_same_body() -> None:
    message = CheckRequestBuilder(URL, body="call").message(ENTRY)
    request = envoy_messages.decode(message[5:])
    assert request is not None
    assert mcp_request.parse_request(envoy_messages.message_of(request)) == Call(
        "tools/call", NameKind.TOOL, "get_page"
    )
    frames = list(FrameReader().feed(HttpRequestBuilder(URL, body="call").frames(1, ENTRY)))
    assert [(frame.kind, bool(frame.flags & http2_codec.END_STREAM)) for frame in frames] == [
        (http2_codec.HEADERS, False),
        (http2_codec.DATA, True),
    ]
    headers = {str(name): str(value) for name, value in Decoder().decode(frames[0].payload)}
    assert request.http is not None
    assert frames[1].payload == request.http.raw_body
    assert headers["content-length"] == str(len(frames[1].payload))


@given(st.integers(1, 8192))
def test_a_token_of_any_allowed_length_makes_a_readable_check(length: int) -> None:
    entry = Entry(b"t" * length, b"1", b"j")
    message = CheckRequestBuilder(URL).message(entry)
    headers = pb.CheckRequest.FromString(message[5:]).attributes.request.http.headers
    assert headers["authorization"] == f"Bearer {'t' * length}"


def test_a_token_too_long_for_a_frame_is_refused_with_a_reason() -> None:
    entry = Entry(b"t" * 20_000, b"1", b"j")
    for question in (CheckRequestBuilder(URL), HttpRequestBuilder(URL)):
        with pytest.raises(ValueError, match="20000 bytes"):
            question.frames(1, entry)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (grpc_answer(allowed("somebody-else")), "allowed as another person"),
        (grpc_answer(pb.CheckResponse()), "allowed as another person"),
        (grpc_answer(refused(pb.Forbidden)), "refused with 403"),
        (grpc_answer(refused(pb.ServiceUnavailable)), "refused with 503"),
        (grpc_answer(allowed("583231"), status="14"), "gRPC status 14"),
        (
            http2_codec.frame(http2_codec.HEADERS, LAST, 1, block((":status", "200"), ("grpc-status", "12"))),
            "gRPC status 12",
        ),
        (http2_codec.frame(http2_codec.HEADERS, LAST, 1, block((":status", "200"))), "no gRPC status"),
        (http2_codec.frame(http2_codec.HEADERS, LAST, 1, b"\xff\xff\xff"), "no gRPC status"),
        (http2_codec.frame(http2_codec.HEADERS, LAST, 1, block(("grpc-status", "0"))), "not one gRPC message"),
        (
            http2_codec.frame(http2_codec.DATA, 0, 1, b"\0\0\0\0\2\xff\xff")
            + http2_codec.frame(http2_codec.HEADERS, LAST, 1, block(("grpc-status", "0"))),
            "not a CheckResponse",
        ),
        (http2_codec.frame(http2_codec.RST_STREAM, 0, 1, b"\0\0\0\7"), "reset with code 7"),
        (http2_codec.frame(http2_codec.GOAWAY, 0, 0, bytes(8)), "refused by a server that is going away"),
    ],
)
def test_a_refusal_or_an_answer_for_another_user_is_wrong(answer: bytes, verdict: str) -> None:
    assert [answer.verdict for answer in asking().feed(answer)] == [verdict]


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ([(":status", "200"), ("x-bench-user", "583231")], ALLOWED),
        ([(":status", "200"), ("x-bench-user", "1")], "allowed as another person"),
        ([(":status", "200")], "allowed as another person"),
        ([(":status", "401")], "HTTP status 401"),
    ],
)
def test_an_answer_through_envoy_counts_only_with_the_callers_own_identity(
    headers: list[tuple[str, str]], verdict: str
) -> None:
    connection = Connection(HttpRequestBuilder(URL), HttpAnswerChecker(identity=True), streams=1)
    connection.send(ENTRY, 0.0)
    answer = http2_codec.frame(http2_codec.HEADERS, HEADERS, 1, block(*headers)) + http2_codec.frame(
        http2_codec.DATA, http2_codec.END_STREAM, 1, b"ok"
    )
    assert [answer.verdict for answer in connection.feed(answer)] == [verdict]


def test_headers_in_several_frames_and_padding_are_read() -> None:
    trailers = block(("grpc-status", "0"))
    message = allowed("583231").SerializeToString()
    data = b"\0" + len(message).to_bytes(4, "big") + message
    padded = http2_codec.frame(http2_codec.DATA, http2_codec.PADDED, 1, b"\3" + data + b"\0\0\0")
    first = http2_codec.frame(
        http2_codec.HEADERS, http2_codec.END_STREAM | http2_codec.HAS_PRIORITY, 1, bytes(5) + trailers[:3]
    )
    rest = http2_codec.frame(http2_codec.CONTINUATION, http2_codec.END_HEADERS, 1, trailers[3:])
    assert [answer.verdict for answer in asking().feed(padded + first + rest)] == [ALLOWED]


def test_at_most_as_many_requests_are_open_as_the_server_allows() -> None:
    connection = asking(streams=10)
    settings = b"\0\3\0\0\0\2"  # MAX_CONCURRENT_STREAMS: 2
    list(connection.feed(http2_codec.frame(http2_codec.SETTINGS, 0, 0, settings)))
    assert connection.room(ENTRY)
    connection.send(ENTRY, 2.0)
    assert not connection.room(ENTRY)


def test_requests_wait_for_the_servers_window() -> None:
    connection = asking(streams=1000)
    asked = 1
    while connection.room(ENTRY):
        connection.send(ENTRY, 0.0)
        asked += 1
    weight = CheckRequestBuilder(URL).weight(ENTRY)
    assert asked == http2_codec.DEFAULT_WINDOW // weight
    list(connection.feed(http2_codec.window_update(weight)))
    assert connection.room(ENTRY)


def test_pings_are_answered_and_a_lost_connection_fails_all_open_requests() -> None:
    connection = asking()
    connection.outgoing()
    list(connection.feed(http2_codec.frame(http2_codec.PING, 0, 0, b"12345678")))
    assert connection.outgoing() == http2_codec.frame(http2_codec.PING, http2_codec.ACK, 0, b"12345678")
    assert connection.lose("connection lost") == [(1.5, "connection lost")]
    assert not connection.room(ENTRY)
