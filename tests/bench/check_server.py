"""A real gRPC server of `Check` for tests of the load generator. It counts calls, and a test sets its answers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc

from ext_authz.generated import envoy_ext_authz_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Answer = Callable[[pb.CheckRequest, grpc.ServicerContext], pb.CheckResponse]


class CheckServer:
    """`asked` counts the calls that arrived, `tokens` those by token."""

    def __init__(self, answer: Answer) -> None:
        self.address = ""
        self.tokens: dict[str, int] = {}
        self._answer = answer
        self._lock = threading.Lock()

    @property
    def asked(self) -> int:
        """The number of calls that arrived."""
        return sum(self.tokens.values())

    def check(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        """Answer one call."""
        request = pb.CheckRequest.FromString(message)
        token = token_of(request)
        with self._lock:
            self.tokens[token] = self.tokens.get(token, 0) + 1
        return self._answer(request, context).SerializeToString()


def token_of(request: pb.CheckRequest) -> str:
    """The bearer token in a request."""
    return request.attributes.request.http.headers["authorization"].removeprefix("Bearer ")


def allowed(user: str) -> pb.CheckResponse:
    """An answer that allows the request of `user`."""
    response = pb.CheckResponse()
    response.status.code = 0
    response.ok_response.headers.add().header.CopyFrom(pb.HeaderValue(key="x-user-id", value=user))
    return response


def refused(status: pb.StatusCode) -> pb.CheckResponse:
    """An answer that refuses with an HTTP status."""
    response = pb.CheckResponse()
    response.status.code = 7
    response.denied_response.status.code = status
    return response


def by_token(request: pb.CheckRequest, _context: grpc.ServicerContext) -> pb.CheckResponse:
    """Allow each request as the user in its token: tests use tokens like `token-5.user-5`."""
    return allowed(token_of(request).partition(".")[2])


@contextmanager
def serving(answer: Answer = by_token) -> Iterator[CheckServer]:
    """Run a server on a loopback port until the block ends."""
    made = CheckServer(answer)
    server = grpc.server(ThreadPoolExecutor(4))
    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(made.check)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", {"Check": method}),)
    )
    made.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield made
    finally:
        server.stop(0).wait()
