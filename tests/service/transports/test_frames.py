"""Calls that no gRPC client sends: none gets an answer that could be read as an allow, and none does harm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.service.transports.http2_client import GRPC, Http2Client
from tests.support.check_messages import check_request, read_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.authz_process import AuthzProcess, Issue

RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 8, 12, 13
MIB = 1024 * 1024
ONLY_GRPC = b"Only gRPC is spoken here.\n"


@pytest.fixture
def http2(authz: AuthzProcess) -> Iterator[Http2Client]:
    with Http2Client(Path(authz.address.removeprefix("unix:"))) as client:
        yield client


def framed(message: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    return bytes([flag]) + (len(message) if length is None else length).to_bytes(4, "big") + message


@pytest.fixture
def good(issue: Issue) -> bytes:
    return check_request(token=issue())


def test_a_handmade_call_is_answered(http2: Http2Client, good: bytes) -> None:
    outcome = http2.call(framed(good))
    assert outcome.grpc_status == 0
    assert outcome.headers["content-type"].startswith("application/grpc")
    assert read_answer(outcome.message).status == 200


def test_a_message_in_many_frames_is_reassembled(http2: Http2Client, good: bytes) -> None:
    stream = http2.begin()
    data = framed(good)
    for number, byte in enumerate(data, 1):
        http2.send(stream, bytes([byte]), end=number == len(data))
    outcome = http2.outcome(stream)
    assert (outcome.grpc_status, read_answer(outcome.message).status) == (0, 200)


def test_a_message_with_a_separate_end_of_stream_is_answered(http2: Http2Client, good: bytes) -> None:
    stream = http2.begin()
    http2.send(stream, framed(good))
    http2.send(stream, b"", end=True)
    outcome = http2.outcome(stream)
    assert (outcome.grpc_status, read_answer(outcome.message).status) == (0, 200)


# gRPC's own server uses the first message of a call and ignores the rest.
MORE_THAN_ONE = {
    "one byte too many": lambda message: framed(message) + b"\0",
    "two messages": lambda message: framed(message) * 2,
    "a length too small": lambda message: framed(message, length=len(message) - 1),
}


@pytest.mark.parametrize("spoil", MORE_THAN_ONE.values(), ids=MORE_THAN_ONE.keys())
def test_data_after_the_message_is_an_error_or_ignored(
    http2: Http2Client, good: bytes, spoil: Callable[[bytes], bytes], transport: str
) -> None:
    outcome = http2.call(spoil(good))
    if transport == "http2":
        assert (outcome.grpc_status, outcome.body) == (INTERNAL, b"")
    else:
        assert len(outcome.message) > 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda _: b"\0",
        lambda _: b"\0\0\0\0",
        lambda message: framed(message)[:-1],
        lambda message: framed(message, length=len(message) + 1),
        lambda message: framed(message, flag=7),
        lambda message: framed(message, flag=255),
        lambda message: framed(message, flag=1),
        lambda message: message,
    ],
    ids=[
        "nothing",
        "one byte",
        "less than a prefix",
        "one byte missing",
        "a length too great",
        "an unknown flag",
        "another unknown flag",
        "compressed with nothing",
        "no prefix",
    ],
)
def test_a_malformed_call_fails_and_the_next_one_does_not(
    authz: AuthzProcess, good: bytes, spoil: Callable[[bytes], bytes]
) -> None:
    with Http2Client(Path(authz.address.removeprefix("unix:"))) as client:
        outcome = client.call(spoil(good))
    if outcome.grpc_status == 0:  # gRPC's own server may pass on an unreadable message as an empty one
        assert read_answer(outcome.message).status == 400
    else:
        assert outcome.body == b""
        assert outcome.grpc_status in {INTERNAL, UNIMPLEMENTED, RESOURCE_EXHAUSTED}
    assert read_answer(authz.check(good)).status == 200


def test_a_message_of_announced_excessive_length_is_refused_before_it_arrives(http2: Http2Client) -> None:
    stream = http2.begin()
    http2.send(stream, framed(b"", length=0xFFFFFFFF))
    assert http2.outcome(stream).grpc_status == RESOURCE_EXHAUSTED


def test_the_largest_message_is_accepted_and_one_byte_more_is_refused(authz: AuthzProcess, issue: Issue) -> None:
    token = issue()
    rest = len(check_request(token=token, headers={"x-big": "a" * (MIB - 4096)})) - (MIB - 4096)
    for more, status in ((0, 200), (1, None)):
        request = check_request(token=token, headers={"x-big": "a" * (MIB - rest + more)})
        assert len(request) == MIB + more
        if status is None:
            with pytest.raises(grpc.RpcError) as refusal:
                authz.check(request)
            assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        else:
            assert read_answer(authz.check(request)).status == status


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_a_compressed_message_is_refused_and_the_supported_encodings_are_named(
    http2: Http2Client, good: bytes, encoding: str, transport: str
) -> None:
    outcome = http2.call(framed(good, flag=1), headers=(*GRPC, ("grpc-encoding", encoding)))
    assert outcome.grpc_status in {UNIMPLEMENTED, INTERNAL}
    assert outcome.body == b""
    if transport == "http2":
        assert outcome.grpc_status == UNIMPLEMENTED
        assert outcome.headers["grpc-accept-encoding"] == "identity"


def test_an_encoding_that_is_named_and_not_used_is_accepted(http2: Http2Client, good: bytes) -> None:
    outcome = http2.call(framed(good), headers=(*GRPC, ("grpc-encoding", "identity")))
    assert (outcome.grpc_status, read_answer(outcome.message).status) == (0, 200)


@pytest.mark.parametrize(
    "headers",
    [
        (("te", "trailers"),),
        (("content-type", "application/json"), ("te", "trailers")),
        (("content-type", "application/grpc-web"), ("te", "trailers")),
        (("content-type", "text/plain"), ("te", "trailers")),
        (("content-type", ""), ("te", "trailers")),
    ],
)
def test_a_request_of_another_content_type_is_415(
    http2: Http2Client, good: bytes, headers: tuple[tuple[str, str], ...], transport: str
) -> None:
    if transport == "grpcio":
        pytest.skip("gRPC's own server does not look at the content type")
    outcome = http2.call(framed(good), headers=headers)
    assert (outcome.headers[":status"], outcome.body) == ("415", ONLY_GRPC)


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto", "application/grpc; a=b"])
def test_every_content_type_of_grpc_with_protobuf_is_accepted(
    http2: Http2Client, good: bytes, content_type: str
) -> None:
    outcome = http2.call(framed(good), headers=(("content-type", content_type), ("te", "trailers")))
    assert (outcome.grpc_status, read_answer(outcome.message).status) == (0, 200)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_another_http_method_is_no_call(http2: Http2Client, good: bytes, method: str) -> None:
    outcome = http2.call(framed(good), method=method)
    assert outcome.grpc_status != 0
    assert outcome.body in {b"", ONLY_GRPC}


def test_a_call_cancelled_half_way_leaves_the_connection_usable(http2: Http2Client, good: bytes) -> None:
    for _ in range(50):
        stream = http2.begin()
        http2.send(stream, framed(good)[:100])
        http2.reset(stream)
    assert http2.call(framed(good)).grpc_status == 0


def test_calls_in_one_connection_do_not_wait_for_a_slow_one(http2: Http2Client, good: bytes) -> None:
    slow = http2.begin()
    http2.send(slow, framed(good)[:-1])
    assert http2.call(framed(good)).grpc_status == 0
    http2.send(slow, framed(good)[-1:], end=True)
    assert http2.outcome(slow).grpc_status == 0
