"""A small real check service over gRPC. It uses the classes of envoy-data-plane and shares no code with ours.

It follows the routing rules of the real one: the token `good` gives access to every service, and a request
whose host and path do not belong to the service that its route names is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
)
from envoy_data_plane.envoy.service.auth.v3 import (
    CheckRequest,
    CheckResponse,
    DeniedHttpResponse,
    OkHttpResponse,
)
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode
from envoy_data_plane.google.protobuf import Struct
from envoy_data_plane.google.rpc import Status

from oauth_core.policy.resources import ServiceIndex

if TYPE_CHECKING:
    from pathlib import Path

    from oauth_core.model import Service

SERVICE, STEP = "portcullis.service", "portcullis.step"
GOOD = {"authorization": "Bearer good"}
IDENTITY = {"x-user-id": "1", "x-user-name": "ada", "x-client-id": "c", "x-token-scope": "mcp.time"}
TOLD = {"decision": "allowed", "service": "time", "user": "ada", "user_id": "1", "client_id": "c"}
"""The fields of the access log for an allowed request."""
Decide = Callable[["Check"], CheckResponse]


@dataclass(frozen=True)
class Check:
    """One check request as it arrived: the service and the step that the route names, and the headers of the
    request.
    """

    service: str | None
    step: str | None
    method: str
    host: str
    path: str
    headers: dict[str, str]


@dataclass
class CheckService:
    """A running check service with the check requests it received and its decision, `decide`, which a test may
    replace.
    """

    decide: Decide
    usual: Decide
    asked: list[Check] = field(default_factory=list)


def allow(headers: dict[str, str] | None = None) -> CheckResponse:
    """Allow the request, with the identity of the caller and further headers."""
    options = [
        HeaderValueOption(
            header=HeaderValue(key=name, value=value),
            append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
        )
        for name, value in (IDENTITY | (headers or {})).items()
    ]
    return CheckResponse(
        status=Status(code=0),
        ok_response=OkHttpResponse(headers=options, headers_to_remove=["authorization"]),
        dynamic_metadata=Struct.from_dict({"portcullis": TOLD}),
    )


def undecided() -> CheckResponse:
    """Allow the request up to the second check, which receives its body."""
    return CheckResponse(
        status=Status(code=0),
        ok_response=OkHttpResponse(),
        dynamic_metadata=Struct.from_dict({"portcullis": {"decision": "undecided"}}),
    )


def deny(status: StatusCode, headers: dict[str, str], told: dict[str, str] | None = None) -> CheckResponse:
    """Refuse the request, and write `told` to the access log."""
    options = [HeaderValueOption(header=HeaderValue(key=name, value=value)) for name, value in headers.items()]
    return CheckResponse(
        status=Status(code=7),
        denied_response=DeniedHttpResponse(
            status=HttpStatus(code=status), headers=options, body='{"error":"refused"}'
        ),
        dynamic_metadata=Struct.from_dict({"portcullis": {"decision": "denied", **(told or {})}}),
    )


@contextlib.contextmanager
def checking(place: Path, services: tuple[Service, ...]) -> Iterator[CheckService]:
    """Run the check service on the Unix socket `place` for as long as the context lasts."""
    index = ServiceIndex(services)

    def usual(check: Check) -> CheckResponse:
        found = index.by_request(check.host, check.path.partition("?")[0])
        if found is None or found.name != check.service:
            return deny(StatusCode.NotFound, {})
        if check.headers.get("authorization") != GOOD["authorization"]:
            told = {"reason": "missing_token", "service": found.name}
            return deny(StatusCode.Unauthorized, {"www-authenticate": "Bearer"}, told)
        return allow()

    service = CheckService(usual, usual)

    def handle(message: bytes, _: grpc.ServicerContext) -> bytes:
        attributes = CheckRequest.parse(message).attributes
        assert attributes is not None
        assert attributes.request is not None
        http = attributes.request.http
        assert http is not None
        check = Check(
            service=attributes.context_extensions.get(SERVICE),
            step=attributes.context_extensions.get(STEP),
            method=http.method,
            host=http.host,
            path=http.path,
            headers=dict(http.headers),
        )
        service.asked.append(check)
        return bytes(service.decide(check))

    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(
                "envoy.service.auth.v3.Authorization", {"Check": grpc.unary_unary_rpc_method_handler(handle)}
            )
        ]
    )
    server.add_insecure_port(f"unix:{place}")
    server.start()
    try:
        yield service
    finally:
        server.stop(grace=None).wait(timeout=60)
