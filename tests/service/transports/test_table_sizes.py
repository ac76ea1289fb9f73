"""A peer that changes the size of its HPACK table (RFC 9113 section 4.3.1, RFC 7541 section 4.2)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import hpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ext_authz.grpc_http2 import http2_codec
from ext_authz.grpc_http2.encoder_table import EncoderTable
from ext_authz.grpc_http2.grpc_services import HEALTH_CHECK, HEALTH_WATCH
from tests.service.transports.http2_client import Http2Client
from tests.service.transports.wire import HEAD, Peer, body, call, framed, head, settle
from tests.service.transports.workers import ready
from tests.support.authz_process import environ, running_authz
from tests.support.check_messages import check_request, read_answer
from tests.support.envoy import running_envoy
from tests.support.ports import free_port
from tests.support.programs import until
from tests.support.property_tests import examples

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.authz_process import AuthzProcess, Issue
    from tests.support.redis_server import RedisServer

UPDATE = re.compile(rb"[\x20-\x3e]|\x3f[\x80-\xff]*[\x00-\x7f]")
SIZES = [0, 1, 30, 31, 32, 62, 100, 158, 159, 4000, 4095, 4096, 4097, 65_536, 2**31, 2**32 - 1]


def size_of(update: bytes) -> int:
    """The size in an update, read by another implementation."""
    decoder = hpack.Decoder()
    decoder.max_allowed_table_size = 2**32
    decoder.decode(update)
    return decoder.header_table_size


def updates(block: bytes) -> list[int]:
    """The sizes in the updates at the beginning of a header block."""
    found = []
    while match := UPDATE.match(block):
        found.append(size_of(match[0]))
        block = block[match.end() :]
    return found


def table_size(*values: int) -> bytes:
    return http2_codec.settings_frame([(http2_codec.HEADER_TABLE_SIZE, value) for value in values])


def asking(path: bytes) -> bytes:
    return http2_codec.header_block([(name, path if name == b":path" else value) for name, value in HEAD])


class StrictReader:
    """Decodes our header blocks, and checks that each update is there that the two specifications require."""

    def __init__(self) -> None:
        self.decoder = hpack.Decoder()
        self.announced: list[list[int]] = []
        self._limit = self._size = 4096
        self._smallest: int | None = None

    def read(self, peer: Peer) -> list[list[tuple[bytes, bytes]]]:
        """The fields of each header block that arrived, in order."""
        blocks = []
        for frame in peer.frames():
            if frame.kind == http2_codec.SETTINGS and frame.flags & http2_codec.ACK:
                self._acknowledged(self.announced.pop(0))
            elif frame.kind == http2_codec.HEADERS:
                blocks.append(self._block(frame.payload))
        return blocks

    def _acknowledged(self, values: list[int]) -> None:
        for value in values:
            if value < self._limit:
                self._smallest = value if self._smallest is None else min(value, self._smallest)
            self._limit = value
            self.decoder.max_allowed_table_size = value

    def _block(self, block: bytes) -> list[tuple[bytes, bytes]]:
        found = updates(block)
        assert len(found) <= 2
        if self._smallest is not None:
            assert found, "a reduced limit was acknowledged, and the next block begins with no update"
            assert found[0] <= self._smallest
            self._smallest = None
        elif found:
            assert found != [self._size], "an update without a change"
        assert all(size <= max(self._limit, found[0]) for size in found)
        assert not found or found[-1] <= self._limit
        self._size = found[-1] if found else self._size
        return [(bytes(name), bytes(value)) for name, value in self.decoder.decode(block, raw=True)]


@pytest.mark.requirement("rfc9113:table-update", "rfc7541:update-first", "rfc7541:update-limit")
@pytest.mark.parametrize("size", SIZES)
async def test_the_first_block_after_a_change_begins_with_the_size_and_no_later_one_does(size: int) -> None:
    peer = Peer()
    peer.send(table_size(size), call(1, b"ask"), call(3, b"ask"))
    blocks = [updates(frame.payload) for frame in peer.frames() if frame.kind == http2_codec.HEADERS]
    assert blocks == [[] if size >= 4096 else [size], [], [], []]


@pytest.mark.requirement("rfc7541:update-smallest")
@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([0, 4096], [0, 4096]),
        ([100, 50, 200], [50, 200]),
        ([200, 100, 100], [100]),
        ([4096, 4096], []),
        ([8192, 4096], [4096]),
        ([65_536, 0, 65_536], [0, 4096]),
        ([0, 0, 0], [0]),
    ],
)
@pytest.mark.parametrize("frames", ["one frame", "a frame each"])
async def test_after_several_changes_the_smallest_and_the_last_size_are_announced(
    values: list[int], wanted: list[int], frames: str
) -> None:
    peer = Peer()
    peer.send(*([table_size(*values)] if frames == "one frame" else map(table_size, values)), call(1, b"ask"))
    begin, end = (frame for frame in peer.frames() if frame.kind == http2_codec.HEADERS)
    assert (updates(begin.payload), updates(end.payload)) == (wanted, [])


async def test_without_a_change_an_answer_has_the_same_bytes() -> None:
    plain, same = Peer(), Peer((http2_codec.HEADER_TABLE_SIZE, 4096))
    for peer in (plain, same):
        peer.send(call(1, b"ask"))
    assert plain.transport.written == same.transport.written


ANSWERS: dict[str, tuple[bytes, Callable[[int], bytes]]] = {
    "an answer": (b"0", lambda stream: call(stream, b"ask")),
    "an answer that waits for its decision": (b"0", lambda stream: call(stream, b"later")),
    "an answer larger than a frame": (
        b"0",
        lambda stream: call(stream, b"x" * 7000) + call(stream + 2, b"y" * 9000),
    ),
    "trailers only": (b"13", lambda stream: call(stream, b"break")),
    "an unknown method": (b"12", lambda stream: head(stream, asking(b"/nowhere")) + body(stream, b"")),
    "what is no gRPC": (b"", lambda stream: head(stream, http2_codec.header_block(HEAD[:4])) + body(stream, b"")),
    "health": (b"0", lambda stream: head(stream, asking(HEALTH_CHECK)) + body(stream, b"")),
    "health that is watched": (b"", lambda stream: head(stream, asking(HEALTH_WATCH)) + body(stream, b"")),
}


@pytest.mark.parametrize(("status", "ask"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_every_kind_of_answer_begins_with_the_update(status: bytes, ask: Callable[[int], bytes]) -> None:
    peer, reader = Peer(), StrictReader()
    peer.authorizer.gate.set()
    for round_, size in enumerate((0, 100, 50, 4096)):
        reader.announced.append([size])
        peer.send(table_size(size), ask(1 + 4 * round_))
        await settle()
        fields = [dict(block) for block in reader.read(peer)]
        assert fields
        assert status == next((block[b"grpc-status"] for block in fields if b"grpc-status" in block), b"")


async def test_an_answer_that_waits_for_a_window_uses_the_table_size_at_that_time() -> None:
    peer, reader = Peer((http2_codec.INITIAL_WINDOW_SIZE, 4)), StrictReader()
    peer.send(call(1, b"ask"))
    reader.read(peer)
    reader.announced += [[0], []]
    peer.send(table_size(0), http2_codec.settings_frame([(http2_codec.INITIAL_WINDOW_SIZE, 100)]))
    assert [dict(block) for block in reader.read(peer)] == [{b"grpc-status": b"0"}]


@examples(200)
@given(
    st.lists(
        st.one_of(
            st.lists(st.sampled_from(SIZES), min_size=1, max_size=4),
            st.sampled_from([b"ask", b"later", b"break", b"x" * 300]),
        ),
        max_size=25,
    )
)
async def test_another_decoder_reads_answers_after_any_changes_of_size(
    events: list[list[int] | bytes],
) -> None:
    peer, reader = Peer(), StrictReader()
    peer.authorizer.gate.set()
    stream, blocks = 1, 0
    for event in events:
        if isinstance(event, bytes):
            peer.send(call(stream, event))
            stream += 2
        else:
            reader.announced.append(event)
            peer.send(table_size(*event))
        if event == b"later":
            await settle()
        blocks += len(reader.read(peer))
    assert blocks == sum(2 - (event == b"break") for event in events if isinstance(event, bytes))
    peer.connection.connection_lost(None)


@given(st.lists(st.sampled_from(SIZES), max_size=6), st.lists(st.sampled_from(SIZES), min_size=1, max_size=6))
@example([0], [0, 4096])
def test_the_table_is_never_larger_than_the_peer_allows(before: list[int], values: list[int]) -> None:
    table = EncoderTable()
    for value in before:
        table.limit(value)
    table.take_updates()
    size = min(before[-1], 4096) if before else 4096
    for value in values:
        table.limit(value)
    found = updates(table.take_updates())
    assert all(size <= 4096 for size in found)
    assert (found[-1] if found else size) == min(values[-1], 4096)
    assert min(values) >= size or found[0] <= min(values)
    assert table.take_updates() == b""


async def test_a_block_is_read_with_the_current_table() -> None:
    """A table of size zero cannot hold an entry that a larger one holds, although the block has the same bytes."""
    peer = Peer()
    adds = b"\x40\x01a\x01b"
    block = head(0, http2_codec.header_block(HEAD) + adds)[9:]
    peer.send(head(1, b"\x20" + block), body(1, b"ask"), head(3, block), body(3, b"ask"))
    peer.send(head(5, b"\x3f\xe1\x1f" + http2_codec.header_block(HEAD)), body(5, b"ask"))
    peer.send(head(7, block), body(7, b"ask"), head(9, http2_codec.header_block(HEAD) + b"\xbe"), body(9, b"ask"))
    assert set(peer.answers()) == {1, 3, 5, 7, 9}
    assert not peer.transport.is_closed


@pytest.mark.parametrize("size", [0, 1, 100, 4095, 65_536])
def test_a_client_that_changes_its_table_during_the_connection_reads_every_answer(
    authz: AuthzProcess, issue: Issue, size: int
) -> None:
    good = framed(check_request(token=issue()))
    with Http2Client(Path(authz.address.removeprefix("unix:"))) as client:
        for value in (size, 4096, size):
            client.change_settings({http2_codec.HEADER_TABLE_SIZE: value})
            for _ in range(2):
                outcome = client.call(good)
                assert (outcome.grpc_status, read_answer(outcome.message).status) == (0, 200)
            assert client.call(b"\7").grpc_status == 13
            assert client.call(framed(b""), path=HEALTH_CHECK.decode()).grpc_status == 0


def output(*command: str) -> bytes:
    return subprocess.run(command, capture_output=True, timeout=60, check=True).stdout


@pytest.mark.skipif(shutil.which("h2load") is None, reason="needs the programs of nghttp2")
@pytest.mark.parametrize("size", [0, 100, 4096])
def test_nghttp2_reads_every_answer_with_its_own_table_size(redis: RedisServer, tmp_path: Path, size: int) -> None:
    message = tmp_path / "message"
    message.write_bytes(framed(check_request()))
    address = f"127.0.0.1:{free_port()}"
    url = f"http://{address}/envoy.service.auth.v3.Authorization/Check"
    with running_authz(environ(redis, AUTHZ_LISTEN=address, AUTHZ_TRANSPORT="http2")) as service:
        until(lambda: ready(service))
        asking = ["-H", "content-type: application/grpc", "-H", "te: trailers", "-d", str(message), url]
        load = output("h2load", f"--header-table-size={size}", "-n", "40", "-m", "4", *asking)
        single = output("nghttp", "-v", f"--header-table-size={size}", *asking)
    assert b"40 succeeded, 0 failed, 0 errored" in load
    assert b"grpc-status: 0" in single


@pytest.mark.parametrize("size", [0, 100])
def test_an_envoy_without_a_table_is_answered(
    authz: AuthzProcess, issue: Issue, tmp_path: Path, size: int
) -> None:
    socket = authz.address.removeprefix("unix:")
    with running_envoy(tmp_path, socket, authz_http2={"hpack_table_size": size}) as envoy:
        statuses = [
            envoy.post("/time/mcp", [("Authorization", f"Bearer {token}")]).status
            for token in (issue(), "no.token.atall", issue())
        ]
    assert statuses == [200, 401, 200]
