"""Machine clients: their grants and their tokens, and that no other client becomes one by accident."""

from __future__ import annotations

import dataclasses

import jwt
import pytest

from oauth_core.clients import registration
from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.flows.client_credentials import create, grant_for, narrowed
from oauth_core.flows.token_requests import claims_for
from oauth_core.parameters import Parameters
from oauth_core.tokens.access_tokens import TokenFault, Verified, mint, verify
from oauth_web.grants.catalog import GRANT_TYPES
from tests.unit.examples import CALLBACK, ISSUER, NOTES, SERVICES, TIME, make_client
from tests.unit.forged_tokens import CLAIMS, KEY, KEYS, NOW, PAYLOAD, fault, signed

MACHINE = create("Job", "client_secret_basic", ("mcp.time", "mcp.notes"), now=1)
GRANT = grant_for(MACHINE.client, SERVICES, now=NOW)
MACHINE_CLAIMS = dataclasses.replace(CLAIMS, sub="client-1", github_user=None, github_id=None)
MACHINE_PAYLOAD = {name: value for name, value in PAYLOAD.items() if name not in {"github_user", "github_id"}} | {
    "sub": "client-1"
}


def refused(form: list[tuple[str, str]]) -> ErrorCode:
    with pytest.raises(DisplayedError) as caught:
        narrowed(GRANT, Parameters(form), SERVICES)
    return caught.value.code


def test_the_secret_is_in_no_repr_and_is_stored_hashed() -> None:
    assert MACHINE.secret is not None
    assert MACHINE.secret not in repr(MACHINE)
    assert MACHINE.client.secret_hash not in {None, MACHINE.secret}
    assert MACHINE.registration_token is None


@pytest.mark.requirement("rfc9068:sub-machine")
def test_its_tokens_have_the_client_as_the_subject() -> None:
    claims = claims_for(GRANT, issuer=ISSUER, jti="j", audience=("a",), scope=("s",), now=NOW, lifetime=60)
    assert claims.sub == claims.client_id == MACHINE.client.client_id
    assert (claims.github_user, claims.github_id) == (None, None)


def test_without_a_scope_it_gets_all_that_the_operator_chose() -> None:
    scopes, audience = narrowed(GRANT, Parameters([]), SERVICES)
    assert (scopes, audience) == (("mcp.time", "mcp.notes"), (TIME.resource, NOTES.resource))


def test_scope_and_audience_narrow_each_other() -> None:
    assert narrowed(GRANT, Parameters([("resource", NOTES.resource)]), SERVICES)[0] == ("mcp.notes",)
    assert narrowed(GRANT, Parameters([("scope", "mcp.time")]), SERVICES)[1] == (TIME.resource,)
    assert refused([("scope", "mcp.time"), ("resource", NOTES.resource)]) is ErrorCode.INVALID_TARGET
    assert refused([("scope", "mcp.bare")]) is ErrorCode.INVALID_SCOPE


@pytest.mark.parametrize(
    "client",
    [
        make_client(),
        make_client(secret_hash="x"),
        dataclasses.replace(MACHINE.client, machine_scopes=()),
        dataclasses.replace(MACHINE.client, machine_scopes=("mcp.gone",)),
        dataclasses.replace(MACHINE.client, token_endpoint_auth_method="none"),
        dataclasses.replace(MACHINE.client, grant_types=("authorization_code",)),
    ],
    ids=[
        "public",
        "confidential",
        "no scopes",
        "a service that was removed",
        "no authentication",
        "another grant",
    ],
)
def test_a_client_without_any_part_of_it_is_no_machine_client(client: object) -> None:
    with pytest.raises(DisplayedError) as caught:
        grant_for(client, SERVICES, now=NOW)  # type: ignore[arg-type]
    assert caught.value.code is ErrorCode.UNAUTHORIZED_CLIENT


def test_an_update_over_http_removes_the_right_to_act_as_itself() -> None:
    changed = registration.update(
        MACHINE.client,
        {"client_id": MACHINE.client.client_id, "redirect_uris": [CALLBACK], "machine_scopes": ["mcp.time"]},
        grant_types=GRANT_TYPES,
    )
    assert changed.client.machine_scopes == ()
    assert "client_credentials" not in changed.client.grant_types


@pytest.mark.requirement("oauth21:client-id-sub")
def test_a_machine_clients_token_is_verified_and_names_no_person() -> None:
    token = mint(MACHINE_CLAIMS, KEY)
    assert verify(token, KEYS, issuer=ISSUER, now=NOW) == Verified(MACHINE_CLAIMS)
    payload = jwt.decode(token, options={"verify_signature": False})
    assert payload.keys().isdisjoint({"github_user", "github_id"})
    assert fault(signed(MACHINE_PAYLOAD)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"sub": "583231"},
        {"sub": ""},
        {"github_user": "octocat"},
        {"github_id": 583231},
        {"github_user": None},
        {"github_user": None, "github_id": None},
        {"github_user": "octocat", "github_id": True},
    ],
)
def test_a_token_with_incomplete_claims_of_a_person_is_rejected(change: dict[str, object]) -> None:
    """A token without a user name must not be accepted as one of the person whose id it has."""
    assert fault(signed({**MACHINE_PAYLOAD, **change})) is TokenFault.BAD_CLAIMS
