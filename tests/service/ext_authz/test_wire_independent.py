"""The compact definition of Envoy's messages, compared with independent bindings made from Envoy's own definition.

Two proofs. By structure: every field has the name, number and kind that it has in Envoy's definition. By value:
messages with every field set are unchanged after encoding by one and decoding by the other, in both directions.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Any

import betterproto2
import pytest
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.service.auth import v3 as auth
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
from envoy_data_plane.envoy.type import v3 as types
from envoy_data_plane.google.protobuf import Any as AnyMessage
from envoy_data_plane.google.protobuf import Struct, Value
from envoy_data_plane.google.rpc import Status
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from ext_authz.answers.envoy_processing import PROCESSOR
from ext_authz.generated import envoy_ext_authz_pb2 as pb
from ext_authz.generated import envoy_ext_proc_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

PAIRS: dict[str, type[betterproto2.Message]] = {
    "CheckRequest": auth.CheckRequest,
    "CheckResponse": auth.CheckResponse,
    "DeniedHttpResponse": auth.DeniedHttpResponse,
    "OkHttpResponse": auth.OkHttpResponse,
    "AttributeContext": auth.AttributeContext,
    "AttributeContext.Peer": auth.AttributeContextPeer,
    "AttributeContext.Request": auth.AttributeContextRequest,
    "AttributeContext.HttpRequest": auth.AttributeContextHttpRequest,
    "AttributeContext.TLSSession": auth.AttributeContextTlsSession,
    "Address": core.Address,
    "SocketAddress": core.SocketAddress,
    "Pipe": core.Pipe,
    "EnvoyInternalAddress": core.EnvoyInternalAddress,
    "HeaderValue": core.HeaderValue,
    "HeaderMap": core.HeaderMap,
    "HeaderValueOption": core.HeaderValueOption,
    "Metadata": core.Metadata,
    "QueryParameter": core.QueryParameter,
    "HttpStatus": types.HttpStatus,
    "ProcessingRequest": ext_proc.ProcessingRequest,
    "ProcessingResponse": ext_proc.ProcessingResponse,
    "HttpHeaders": ext_proc.HttpHeaders,
    "HttpBody": ext_proc.HttpBody,
    "HttpTrailers": ext_proc.HttpTrailers,
    "HeadersResponse": ext_proc.HeadersResponse,
    "BodyResponse": ext_proc.BodyResponse,
    "TrailersResponse": ext_proc.TrailersResponse,
    "CommonResponse": ext_proc.CommonResponse,
    "HeaderMutation": ext_proc.HeaderMutation,
    "BodyMutation": ext_proc.BodyMutation,
    "StreamedBodyResponse": ext_proc.StreamedBodyResponse,
    "ImmediateResponse": ext_proc.ImmediateResponse,
}
LEFT_OUT = {
    "SocketAddress": {"network_namespace_filepath"},
    "ProcessingRequest": {"attributes", "observability_mode", "protocol_config"},
    "ProcessingResponse": {
        *("streamed_immediate_response", "mode_override", "request_drain", "override_message_timeout"),
    },
    "HttpHeaders": {"attributes"},
    "HttpBody": {"end_of_stream_without_message", "grpc_message_compressed"},
    "StreamedBodyResponse": {"end_of_stream_without_message", "grpc_message_compressed"},
    "CommonResponse": {"status", "trailers", "clear_route_cache"},
    "ImmediateResponse": {"grpc_status"},
}
"""Fields that Envoy defines and we do not: with our configuration it sends none of them, and we need none."""


def all_messages() -> dict[str, Descriptor]:
    found: dict[str, Descriptor] = {}

    def add(descriptor: Descriptor, prefix: str) -> None:
        if descriptor.GetOptions().map_entry:
            return
        found[prefix + descriptor.name] = descriptor
        for nested in descriptor.nested_types:
            add(nested, f"{prefix}{descriptor.name}.")

    for file in (pb.DESCRIPTOR, envoy_ext_proc_pb2.DESCRIPTOR):
        for message in file.message_types_by_name.values():
            add(message, "")
    return found


def their_fields(message: type[betterproto2.Message]) -> dict[str, Any]:
    return {field.name: field.metadata["betterproto"] for field in dataclasses.fields(message)}  # type: ignore[arg-type]


def kind(field: FieldDescriptor) -> str:
    """The kind of one of our fields, under the name that the other bindings use."""
    if field.message_type is not None:
        return "map" if field.message_type.GetOptions().map_entry else "message"
    names = {number: name for name, number in vars(FieldDescriptor).items() if name.startswith("TYPE_")}
    return names[field.type].removeprefix("TYPE_").lower()


def test_every_message_has_its_counterpart() -> None:
    assert all_messages().keys() == PAIRS.keys()


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_every_field_has_the_name_number_and_kind_of_envoys_definition(name: str) -> None:
    ours = all_messages()[name].fields_by_name
    theirs = their_fields(PAIRS[name])
    assert set(theirs) - set(ours) == LEFT_OUT.get(name, set())
    for field_name, field in ours.items():
        other = theirs[field_name]
        assert field.number == other.number
        assert kind(field) == other.proto_type
        repeated = field.is_repeated and kind(field) != "map"
        assert repeated == other.repeated
        group = field.containing_oneof.name if field.containing_oneof else None
        assert group == other.group


def test_every_enumerator_has_the_number_of_envoys_definition() -> None:
    actions = pb.HeaderValueOption.HeaderAppendAction
    assert dict(actions.items()) == {item.name: item.value for item in core.HeaderValueOptionHeaderAppendAction}
    protocols = pb.SocketAddress.Protocol
    assert dict(protocols.items()) == {item.name: item.value for item in core.SocketAddressProtocol}
    statuses = {item.value for item in types.StatusCode}
    assert set(pb.StatusCode.values()) <= statuses


def test_the_service_and_its_method_have_the_names_that_envoy_calls() -> None:
    (service,) = pb.DESCRIPTOR.services_by_name.values()
    assert service.full_name == "envoy.service.auth.v3.Authorization"
    assert [method.name for method in service.methods] == ["Check"]
    (processor,) = envoy_ext_proc_pb2.DESCRIPTOR.services_by_name.values()
    assert processor.full_name == PROCESSOR
    assert [method.name for method in processor.methods] == ["Process"]


def full_metadata(text: str) -> core.Metadata:
    fields = {"list": Value(number_value=1.5), "text": Value(string_value=text), "yes": Value(bool_value=True)}
    return core.Metadata(
        filter_metadata={"envoy.filters.http.mcp": Struct(fields=fields)},
        typed_filter_metadata={"typed": AnyMessage(type_url=f"type.example/{text}", value=b"\x01\x02")},
    )


def full_peer(address: core.Address, text: str) -> auth.AttributeContextPeer:
    return auth.AttributeContextPeer(
        address=address, service=f"s-{text}", labels={"k": text}, principal=f"p-{text}", certificate=f"c-{text}"
    )


def full_request() -> auth.CheckRequest:
    socket = core.SocketAddress(
        protocol=core.SocketAddressProtocol.UDP,
        address="2001:db8::1",
        port_value=65535,
        resolver_name="resolver",
        ipv4_compat=True,
    )
    http = auth.AttributeContextHttpRequest(
        id="id-1",
        method="POST",
        headers={":path": "/a", "authorization": "Bearer x", "x-ü": "ß"},
        header_map=core.HeaderMap(headers=[core.HeaderValue(key="a", value="b", raw_value=b"\xff\x00")] * 2),
        path="/a?b=c",
        host="example.com:443",
        scheme="https",
        query="q",
        fragment="f",
        size=-1,
        protocol="HTTP/2",
        body="body",
        raw_body=b"\x00\xff",
    )
    return auth.CheckRequest(
        attributes=auth.AttributeContext(
            source=full_peer(core.Address(socket_address=socket), "source"),
            destination=full_peer(core.Address(pipe=core.Pipe(path="/run/x.sock", mode=0o600)), "destination"),
            request=auth.AttributeContextRequest(
                time=datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=datetime.UTC), http=http
            ),
            context_extensions={"portcullis.service": "time", "other": ""},
            metadata_context=full_metadata("dynamic"),
            route_metadata_context=full_metadata("route"),
            tls_session=auth.AttributeContextTlsSession(sni="example.com"),
        )
    )


def assert_says_the_same(ours: Any, theirs: betterproto2.Message) -> None:
    """Compare field by field, in both directions, down to the leaves."""
    for name, meta in their_fields(type(theirs)).items():
        if name not in ours.DESCRIPTOR.fields_by_name:
            continue
        value, other = getattr(ours, name), getattr(theirs, name)
        if meta.proto_type == "map":
            assert set(value) == set(other)
            for key in other:
                assert_equal(value[key], other[key])
        elif meta.repeated:
            assert len(value) == len(other)
            for one, two in zip(value, other, strict=True):
                assert_equal(one, two)
        elif other is None:
            assert not ours.HasField(name)
        else:
            assert_equal(value, other)


def assert_equal(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, datetime.datetime):
        assert ours.ToDatetime(datetime.UTC) == theirs
    elif isinstance(theirs, bool) and not isinstance(ours, bool):
        assert ours.value == theirs
    elif isinstance(theirs, betterproto2.Message) and hasattr(ours, "DESCRIPTOR"):
        if ours.DESCRIPTOR.file is pb.DESCRIPTOR:
            assert_says_the_same(ours, theirs)
        else:
            assert ours.SerializeToString(deterministic=True) == canonical(type(ours), bytes(theirs))
    else:
        assert ours == (int(theirs) if isinstance(theirs, betterproto2.Enum) else theirs)


def canonical(kind_of: Any, message: bytes) -> bytes:
    encoded: bytes = kind_of.FromString(message).SerializeToString(deterministic=True)
    return encoded


def set_fields(message: betterproto2.Message) -> set[str]:
    return {
        name
        for name in their_fields(type(message))
        if getattr(message, name) not in (None, "", b"", 0, False, [], {})
    }


@pytest.mark.parametrize("through", ["socket", "named_port", "pipe", "internal", "internal_name"])
def test_a_request_with_every_field_is_decoded_equally(through: str) -> None:
    request = full_request()
    assert request.attributes is not None
    assert set_fields(request.attributes) == set(their_fields(auth.AttributeContext))
    addresses: Mapping[str, core.Address] = {
        "named_port": core.Address(socket_address=core.SocketAddress(address="::1", named_port="https")),
        "pipe": core.Address(pipe=core.Pipe(path="@abstract", mode=0o777)),
        "internal": core.Address(envoy_internal_address=core.EnvoyInternalAddress(endpoint_id="e")),
        "internal_name": core.Address(
            envoy_internal_address=core.EnvoyInternalAddress(server_listener_name="l", endpoint_id="e")
        ),
    }
    if through in addresses:
        assert request.attributes.source is not None
        request.attributes.source.address = addresses[through]
    ours = pb.CheckRequest.FromString(bytes(request))
    assert_says_the_same(ours, request)
    assert ours.SerializeToString(deterministic=True) == canonical(pb.CheckRequest, bytes(request))


def header(key: str, action: int, *, append: bool | None = None) -> pb.HeaderValueOption:
    option = pb.HeaderValueOption(
        header=pb.HeaderValue(key=key, value="v", raw_value=b"\xfe"),
        append_action=pb.HeaderValueOption.HeaderAppendAction.Name(action),
        keep_empty_value=True,
    )
    if append is not None:
        option.append.value = append
    return option


def full_denial() -> pb.DeniedHttpResponse:
    return pb.DeniedHttpResponse(
        status=pb.HttpStatus(code=pb.Unauthorized),
        headers=[header("www-authenticate", 2), header("retry-after", 0, append=True)],
        body='{"error":"ü"}',
    )


def full_answers() -> list[pb.CheckResponse]:
    allowed = pb.CheckResponse(
        ok_response=pb.OkHttpResponse(
            headers=[header(f"h-{action}", action) for action in range(4)],
            headers_to_remove=["authorization", "x_user_id"],
            response_headers_to_add=[header("r", 1, append=False)],
            query_parameters_to_set=[pb.QueryParameter(key="k", value="v")],
            query_parameters_to_remove=["q"],
        )
    )
    allowed.ok_response.dynamic_metadata["old"] = "way"
    answers = [
        allowed,
        pb.CheckResponse(denied_response=full_denial()),
        pb.CheckResponse(error_response=full_denial()),
    ]
    for answer in answers:
        answer.status.code = 7
        answer.status.message = "message"
        answer.status.details.add(type_url="type.example/x", value=b"\x03")
        answer.dynamic_metadata["jti"] = "jti-1"
    return answers


@pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")  # deprecated fields are tested too
@pytest.mark.parametrize("which", [0, 1, 2])
def test_an_answer_with_every_field_is_decoded_equally(which: int) -> None:
    ours = full_answers()[which]
    theirs = auth.CheckResponse.parse(ours.SerializeToString())
    assert_says_the_same(ours, theirs)
    assert canonical(pb.CheckResponse, bytes(theirs)) == ours.SerializeToString(deterministic=True)


def test_the_status_of_an_answer_is_the_grpc_status_message() -> None:
    theirs = auth.CheckResponse(status=Status(code=16, message="no"))
    assert pb.CheckResponse.FromString(bytes(theirs)).status.code == 16
