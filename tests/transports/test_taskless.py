"""Calls without a task: the same answers as with one, and whatever goes wrong in them ends the call."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from ext_authz.health import Health
from ext_authz.server import CheckServer
from ext_authz.transports.grpc_asgi import CHECK
from ext_authz.transports.taskless import CALL, TasklessCalls

GRPC = (b"content-type", b"application/grpc")


class Authorizer:
    """Knows what to say at once, or only later, or breaks."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def check_now(self, message: bytes) -> bytes | None:
        if self.kind == "broken":
            raise RuntimeError("a fault of ours")
        return b"now:" + message if self.kind == "known" else None

    async def check(self, message: bytes) -> bytes:
        await asyncio.sleep(0)
        return b"later:" + message


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def call(kind: str, *events: dict[str, Any], path: str = CHECK) -> tuple[list[dict[str, Any]], bool]:
    """What was sent in answer to these events, and whether it took a task."""

    async def scenario() -> tuple[list[dict[str, Any]], bool]:
        loop = asyncio.get_running_loop()
        server = CheckServer(cast("Any", Authorizer(kind)), Health(), loop.create_future())
        calls = TasklessCalls(server)
        calls.prepare(loop)
        waiting: list[asyncio.Future[dict[str, Any]]] = []
        sent: list[dict[str, Any]] = []

        def receive() -> asyncio.Future[dict[str, Any]]:
            waiting.append(loop.create_future())
            return waiting[-1]

        def send(event: dict[str, Any]) -> asyncio.Future[None]:
            sent.append(event)
            done: asyncio.Future[None] = loop.create_future()
            done.set_result(None)
            return done

        scope = {"type": "http", "method": "POST", "path": path, "headers": [GRPC]}
        work = calls(scope, cast("Any", receive), cast("Any", send))
        task = loop.create_task(cast("Any", work))
        for number, event in enumerate(events):
            for _ in range(5):
                await asyncio.sleep(0)
            waiting[number].set_result(event)
        for _ in range(20):
            await asyncio.sleep(0)
        return sent, cast("object", task) is not CALL

    return asyncio.run(scenario())


def request(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_known_answer_is_sent_without_a_task() -> None:
    sent, with_task = call("known", request(framed(b"ask")))
    assert not with_task
    assert [event["type"].rpartition(".")[2] for event in sent] == ["start", "body", "trailers"]
    assert sent[1]["body"] == framed(b"now:ask")
    assert sent[2]["headers"] == [(b"grpc-status", b"0")]


def test_an_answer_that_must_be_waited_for_comes_later() -> None:
    sent, _ = call("unknown", request(framed(b"ask")))
    assert sent[1]["body"] == framed(b"later:ask")
    assert sent[2]["headers"] == [(b"grpc-status", b"0")]


def test_a_message_in_pieces_is_put_together() -> None:
    whole = framed(b"ask")
    sent, _ = call("known", request(whole[:3], more=True), request(whole[3:]))
    assert sent[1]["body"] == framed(b"now:ask")


def test_a_fault_of_ours_ends_the_call_with_an_error() -> None:
    sent, _ = call("broken", request(framed(b"ask")))
    assert (b"grpc-status", b"13") in sent[0]["headers"]
    assert not any(event.get("body") for event in sent)


def test_a_malformed_message_ends_the_call_with_an_error() -> None:
    for body in (b"", b"\0", b"\1" + framed(b"ask")[1:], framed(b"ask") + b"more", b"\2abcd"):
        sent, _ = call("known", request(body))
        assert any(name == b"grpc-status" and value != b"0" for name, value in sent[0]["headers"]), body


def test_a_caller_who_leaves_gets_nothing() -> None:
    sent, _ = call("known", {"type": "http.disconnect"})
    assert sent == []


def test_another_method_is_a_task_as_ever() -> None:
    sent, with_task = call("known", path="/nothing.at.all/Check")
    assert with_task
    assert (b"grpc-status", b"12") in sent[0]["headers"]
