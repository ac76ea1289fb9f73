"""Reading a Check message and writing an answer: identity headers above all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ext_authz.decision import envoy_messages
from ext_authz.decision.resolver import bearer_token
from ext_authz.generated import envoy_ext_authz_pb2 as pb
from oauth_core.policy.decision import Unverified
from oauth_core.policy.deny_response import deny_response
from oauth_core.refusals import DenyReason
from oauth_core.settings.identity_headers import IdentityHeaders
from tests.support.check_messages import Answer, check_request, read_answer
from tests.support.tokens import claims

if TYPE_CHECKING:
    from oauth_core.model import AccessClaims


ALWAYS_REMOVED = ("authorization", "x-user-groups", "x-portcullis-assertion")
LIFE = {envoy_messages.LIFE: "00300000"}


def allowed(who: AccessClaims | None = None, lookalikes: tuple[str, ...] = (), **options: Any) -> Answer:
    """The answer to Envoy for an allowed caller with these claims."""
    response = envoy_messages.encode_allowed(who or claims(), "time", lookalikes, **options)
    return read_answer(response.lasting(300))


def decode(message: bytes) -> envoy_messages.IncomingRequest:
    request = envoy_messages.decode(message)
    assert request is not None
    return request


@pytest.mark.parametrize(
    ("forwarded", "proxies", "source"),
    [
        ("198.51.100.1:51234,10.0.0.9", 1, "198.51.100.1"),
        ("192.0.2.1, [2001:db8::1]:443 ,10.0.0.9", 1, "2001:db8::1"),
        ("192.0.2.1,198.51.100.1:5,10.0.0.8:7,10.0.0.9", 2, "198.51.100.1"),
        ("nonsense,10.0.0.9", 1, "203.0.113.7"),
        ("10.0.0.9", 1, "203.0.113.7"),
        ("", 1, "203.0.113.7"),
        ("198.51.100.1:51234,10.0.0.9", 0, "203.0.113.7"),
    ],
)
def test_behind_proxies_the_source_is_the_address_that_they_report(
    forwarded: str, proxies: int, source: str
) -> None:
    names = envoy_messages.Names(IdentityHeaders(), trusted_proxies=proxies)
    request = envoy_messages.decode(check_request(headers={"x-forwarded-for": forwarded}), names)
    assert request is not None
    assert request.source == source


def test_a_request_of_envoy_is_decoded() -> None:
    message = check_request(
        path="/time/mcp?a=b?c", extensions={"portcullis.service": "time", "other": "x"}, token="abc"
    )
    request = decode(message)
    assert request is not None
    assert request.http is not None
    assert request.http.path == "/time/mcp?a=b?c"
    assert request.peer is not None
    assert request._replace(http=None, peer=None, extensions={}, headers={}) == envoy_messages.IncomingRequest(
        method="POST",
        host="localhost:8080",
        path="/time/mcp",
        query="a=b?c",
        authorization=("Bearer abc",),
        lookalikes=(),
        routed_as="time",
        source="203.0.113.7",
        request_id="request-1",
    )


def test_raw_headers_are_read_like_others_and_keep_their_duplicates() -> None:
    raw = [("authorization", b"Bearer abc"), ("authorization", b"Bearer \xff"), ("x_user_id", b"1")]
    request = decode(check_request(raw_headers=raw))
    assert request.authorization == ("Bearer abc", "Bearer \xff")
    assert request.lookalikes == ("x_user_id",)


def test_credentials_in_both_header_fields_are_two_credentials() -> None:
    request = decode(check_request(token="abc", raw_headers=[("authorization", b"Bearer def")]))
    assert bearer_token(request) is Unverified.MALFORMED


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x00",
        b"\xff" * 64,
        check_request()[:-3],
        check_request(method=""),
        check_request(host=""),
        check_request(path=""),
        check_request(path="*"),
        check_request(path="http://localhost:8080/time/mcp"),
        pb.CheckRequest().SerializeToString(),
        b"\x0a\x05\x22\x03\x12\x01\x0a",
    ],
    ids=str,
)
def test_a_message_that_is_no_check_of_an_http_request_is_not_decoded(message: bytes) -> None:
    assert envoy_messages.decode(message) is None


@given(st.binary())
@example(check_request())
def test_decoding_never_raises(message: bytes) -> None:
    envoy_messages.decode(message)


@given(st.data())
def test_decoding_a_damaged_message_never_raises(data: st.DataObject) -> None:
    message = bytearray(check_request(token="abc", extensions={"portcullis.service": "time"}))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    envoy_messages.decode(bytes(message))


@pytest.mark.requirement("rfc6750:one-method")
@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER   abc ", "abc"),
        ("Bearer a.b-c_d~e+f/g==", "a.b-c_d~e+f/g=="),
        ("Bearer", Unverified.MISSING),
        ("Bearer ", Unverified.MISSING),
        ("Bearer   ", Unverified.MISSING),
        ("DPoP ", Unverified.MISSING),
        ("Bearer abc def", Unverified.MALFORMED),
        ("Bearer abc,Bearer def", Unverified.MALFORMED),
        ("Bearer abc, def", Unverified.MALFORMED),
        ("Bearer =abc", Unverified.MALFORMED),
        ("Bearer a\u00e4", Unverified.MALFORMED),
        ("Bearer abc\n", Unverified.MALFORMED),
        ("Bearer\tabc", Unverified.MISSING),
        ("Basic YTpi", Unverified.MISSING),
        ("Basic YTpi,Bearer abc", Unverified.MISSING),
        ("BearerX abc", Unverified.MISSING),
        (" Bearer abc", Unverified.MISSING),
        ("abc", Unverified.MISSING),
        ("", Unverified.MISSING),
    ],
)
def test_only_a_single_bearer_credential_is_accepted(credentials: str, expected: str | Unverified) -> None:
    assert bearer_token(decode(check_request(headers={"authorization": credentials}))) == expected


def test_a_request_without_credentials_has_missing_credentials() -> None:
    assert bearer_token(decode(check_request())) is Unverified.MISSING


@pytest.mark.requirement("oauth21:query-token", "rfc6750:query")
@pytest.mark.parametrize(
    "query",
    [
        "access_token=abc",
        "a=b&access_token=abc",
        "access%5Ftoken=abc",
        "Access_Token=abc",
        "a=b;access_token=",
        "access_token",
    ],
)
@pytest.mark.parametrize("token", ["abc", None])
def test_a_token_in_the_url_is_refused_even_beside_a_valid_one(query: str, token: str | None) -> None:
    request = decode(check_request(path=f"/time/mcp?{query}", token=token))
    assert bearer_token(request) is Unverified.IN_QUERY


@pytest.mark.parametrize("query", ["", "token=abc", "a=access_token", "&&=&;", "%", "%ff=%ff"])
def test_other_query_parameters_are_ignored(query: str) -> None:
    assert bearer_token(decode(check_request(path=f"/time/mcp?{query}", token="abc"))) == "abc"


def test_the_service_gets_the_identity_and_not_the_token() -> None:
    answer = allowed(claims(scope="mcp.time mcp.notes"))
    assert answer.status == 200
    assert answer.headers == {
        **LIFE,
        "x-user-id": "583231",
        "x-user-name": "octocat",
        "x-client-id": "client-1",
        "x-token-scope": "mcp.time mcp.notes",
    }
    assert answer.removed == ALWAYS_REMOVED


@pytest.mark.parametrize(
    "name", ["x_user_id", "X_User_Id", "x-user_name", "x.client.id", "x-token scope", "X_TOKEN-SCOPE"]
)
def test_a_header_that_resembles_an_identity_header_is_removed(name: str) -> None:
    request = decode(check_request(headers={name: "forged"}))
    answer = allowed(lookalikes=request.lookalikes)
    assert name in answer.removed


@pytest.mark.parametrize("name", ["x-user-id", "X-User-Id", "X-USER-NAME", "x-token-scope"])
def test_a_header_with_the_exact_name_is_overwritten_and_not_removed(name: str) -> None:
    request = decode(check_request(headers={name: "forged"}))
    answer = allowed(lookalikes=request.lookalikes)
    assert name.lower() in answer.headers
    assert name.lower() not in {removed.lower() for removed in answer.removed}


@pytest.mark.parametrize("name", ["x-user", "x-user-idx", "xx-user-id", "x-request-id", "user-agent", "cookie"])
def test_other_headers_are_not_removed(name: str) -> None:
    request = decode(check_request(headers={name: "kept"}))
    assert allowed(lookalikes=request.lookalikes).removed == ALWAYS_REMOVED


def test_an_identity_header_without_a_value_is_removed() -> None:
    answer = allowed(claims(scope="", github_user=""))
    assert set(answer.headers) == {*LIFE, "x-user-id", "x-client-id"}
    assert set(answer.removed) == {*ALWAYS_REMOVED, "x-user-name", "x-token-scope"}


def test_a_machine_client_has_no_user_name_and_cannot_send_one() -> None:
    machine = claims(sub="client-1", client_id="client-1", github_user=None, github_id=None)
    answer = allowed(machine)
    assert answer.headers == {
        **LIFE,
        "x-user-id": "client-1",
        "x-client-id": "client-1",
        "x-token-scope": "mcp.time",
    }
    assert set(answer.removed) == {*ALWAYS_REMOVED, "x-user-name"}


def test_a_value_cannot_inject_a_header() -> None:
    answer = allowed(claims(github_user="eve\r\nx-user-id: 1"))
    assert answer.headers["x-user-name"] == "eve%0D%0Ax-user-id:%201"


@given(st.text(), st.text())
def test_identities_are_encoded_uniquely_in_printable_ascii(one: str, other: str) -> None:
    headers = [allowed(claims(sub=sub)).headers.get("x-user-id", "") for sub in (one, other)]
    assert (headers[0] == headers[1]) == (one == other)
    assert all(0x21 <= ord(character) <= 0x7E for value in headers for character in value)


def test_groups_are_sent_when_there_are_any_and_a_comma_is_escaped() -> None:
    answer = allowed(claims(groups=("acme", "acme/platform", "a,b%2Cc")))
    assert answer.headers["x-user-groups"] == "acme,acme/platform,a%2Cb%252Cc"
    assert "x-user-groups" not in answer.removed


def test_the_operator_chooses_the_header_names_and_may_leave_some_out() -> None:
    names = envoy_messages.Names(IdentityHeaders(user_id="x-forwarded-user", user_name="", scope="remote-scope"))
    answer = allowed(names=names)
    assert answer.headers == {
        **LIFE,
        "x-forwarded-user": "583231",
        "x-client-id": "client-1",
        "remote-scope": "mcp.time",
    }
    # A service may still trust the usual names, so callers may not send them either.
    assert set(answer.removed) == {*ALWAYS_REMOVED, "x-user-id", "x-user-name", "x-token-scope"}


@pytest.mark.parametrize("name", ["x_forwarded_user", "X.Forwarded.User", "x-user_id"])
def test_a_header_that_resembles_a_chosen_name_is_removed(name: str) -> None:
    names = envoy_messages.Names(IdentityHeaders(user_id="x-forwarded-user"))
    request = envoy_messages.decode(check_request(headers={name: "forged"}), names)
    assert request is not None
    assert name in allowed(lookalikes=request.lookalikes, names=names).removed


@pytest.mark.parametrize(
    ("seconds", "milliseconds"), [(1, "00001000"), (0, "00001000"), (-5, "00001000"), (10**9, "86400000")]
)
def test_a_response_always_has_a_timeout(seconds: int, milliseconds: str) -> None:
    """For Envoy, zero means no timeout."""
    response = envoy_messages.encode_allowed(claims(sub="00000000", client_id="00000000"), "00000000")
    answer = read_answer(response.lasting(seconds))
    assert answer.headers[envoy_messages.LIFE] == milliseconds
    assert (answer.headers["x-user-id"], answer.headers["x-client-id"]) == ("00000000", "00000000")


def test_an_answer_has_the_identity_as_metadata_for_the_access_log() -> None:
    assert allowed().metadata == {
        "decision": "allowed",
        "service": "time",
        "user": "octocat",
        "user_id": "583231",
        "client_id": "client-1",
    }


def test_a_refusal_has_its_reason_and_the_known_identity_as_metadata() -> None:
    refused = envoy_messages.encode_refused(deny_response(DenyReason.REVOKED, None))
    known = read_answer(refused + envoy_messages.encode_metadata("revoked", claims(), "time"))
    assert known.metadata.items() >= {"decision": "denied", "reason": "revoked", "user": "octocat"}.items()
    unknown = read_answer(refused + envoy_messages.encode_metadata("missing_token", None, None))
    assert (unknown.status, unknown.body) == (known.status, known.body)
    assert unknown.metadata == {"decision": "denied", "reason": "missing_token"}


@pytest.mark.parametrize("reason", sorted(DenyReason))
def test_every_refusal_can_be_written_and_read(reason: DenyReason) -> None:
    refused = deny_response(reason, None)
    answer = read_answer(envoy_messages.encode_refused(refused))
    assert answer.grpc_code != 0
    assert (answer.status, answer.headers, answer.body) == (refused.status, dict(refused.headers), refused.body)
