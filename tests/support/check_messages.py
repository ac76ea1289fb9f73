"""Check messages as an Envoy writes and reads them, made with bindings that are not ours."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    HeaderMap,
    HeaderValue,
    HeaderValueOptionHeaderAppendAction,
    SocketAddress,
)
from envoy_data_plane.envoy.service.auth.v3 import (
    AttributeContext,
    AttributeContextHttpRequest,
    AttributeContextPeer,
    AttributeContextRequest,
    CheckRequest,
    CheckResponse,
)

from ext_authz.generated import envoy_ext_authz_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def check_request(
    *,
    path: str = "/time/mcp",
    host: str = "localhost:8080",
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    raw_headers: Sequence[tuple[str, bytes]] = (),
    extensions: Mapping[str, str] | None = None,
    token: str | None = None,
    body: bytes = b"",
    certificate: str = "",
    source: str = "203.0.113.7",
) -> bytes:
    """The bytes of a `CheckRequest` for an HTTP request. `token` is sent as Bearer credentials."""
    sent = {
        ":method": method,
        ":path": path,
        ":authority": host,
        "user-agent": "test",
        "x-request-id": "request-1",
        **(headers or {}),
    }
    if token is not None:
        sent["authorization"] = f"Bearer {token}"
    raw = [HeaderValue(key=key, raw_value=value) for key, value in raw_headers]
    return bytes(
        CheckRequest(
            attributes=AttributeContext(
                source=AttributeContextPeer(
                    address=Address(socket_address=SocketAddress(address=source, port_value=4711)),
                    certificate=certificate,
                ),
                request=AttributeContextRequest(
                    http=AttributeContextHttpRequest(
                        id="4711",
                        method=method,
                        path=path,
                        host=host,
                        scheme="http",
                        protocol="HTTP/1.1",
                        headers=sent,
                        header_map=HeaderMap(headers=raw) if raw else None,
                        size=-1,
                        raw_body=body,
                    )
                ),
                context_extensions=dict(extensions or {}),
            )
        )
    )


@dataclass(frozen=True)
class Answer:
    """The action of Envoy for a `CheckResponse`. `status` is 200 if it would allow the request."""

    grpc_code: int
    status: int
    headers: dict[str, str]
    removed: tuple[str, ...]
    body: str
    metadata: dict[str, str]
    """The fields for the access log."""
    request_id: str | None
    """The id of the request, as JSON, for answers that Envoy makes itself."""
    called: tuple[str | None, str | None, bool | None]
    """The MCP method and name for the access log, and whether only headers say so."""
    replaced: dict[str, str] = field(default_factory=dict)
    """Headers of the service's answer that Envoy replaces, where the service sends them."""

    @property
    def identity(self) -> dict[str, str]:
        """The identity headers."""
        return {name: value for name, value in self.headers.items() if not name.startswith("x-envoy-")}

    @property
    def json(self) -> dict[str, Any]:
        """The body, decoded."""
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def error(self) -> str:
        """The OAuth code in the body, which is a JSON-RPC error."""
        return str(self.json["error"]["data"]["error"])


def read_answer(message: bytes) -> Answer:
    """Read a `CheckResponse`. Every header must replace existing ones."""
    # Some answers have their metadata in two parts. Every reader of protobuf except these bindings merges them.
    response = CheckResponse.parse(pb.CheckResponse.FromString(message).SerializeToString())
    assert response.status is not None
    assert response.error_response is None, "Envoy may allow a request with an error"
    part = response.denied_response if response.ok_response is None else response.ok_response
    assert part is not None
    assert (response.status.code == 0) == (response.ok_response is not None)
    headers = {}
    for option in part.headers:
        assert option.header is not None
        assert option.header.key not in headers
        assert option.append_action is HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
        headers[option.header.key] = option.header.value
    if response.denied_response is None:
        assert response.ok_response is not None
        removed = tuple(response.ok_response.headers_to_remove)
        replaced = {}
        for option in response.ok_response.response_headers_to_add:
            assert option.header is not None
            assert option.append_action is HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS
            replaced[option.header.key] = option.header.value
        return Answer(response.status.code, 200, headers, removed, "", *_metadata(response), replaced)
    assert response.denied_response.status is not None
    status = int(response.denied_response.status.code)
    return Answer(response.status.code, status, headers, (), response.denied_response.body, *_metadata(response))


def _metadata(
    response: CheckResponse,
) -> tuple[dict[str, str], str | None, tuple[str | None, str | None, bool | None]]:
    fields = response.dynamic_metadata.to_dict() if response.dynamic_metadata else {}
    method, name, is_claimed = (fields.get(f"portcullis.mcp_{part}") for part in ("method", "name", "claimed"))
    return fields.get("portcullis", {}), fields.get("portcullis.request_id"), (method, name, is_claimed)
