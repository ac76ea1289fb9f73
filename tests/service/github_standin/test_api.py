"""The stand-in's REST API, over real HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.service.github_standin.standin_client import StandinClient


def test_the_user_has_a_number_a_login_and_a_name(standin: StandinClient) -> None:
    answer = standin.api("/user")
    document = answer.json()
    assert answer.status_code == 200
    assert document["login"] == "octavia"
    assert document["name"] == "Octavia Reed"
    assert isinstance(document["id"], int)
    assert standin.api("/user").json()["id"] == document["id"]


def test_the_api_is_also_served_at_the_path_of_enterprise_server(standin: StandinClient) -> None:
    assert standin.api("/api/v3/user").json() == standin.api("/user").json()


def test_an_unlisted_person_has_no_name_and_no_organisations(standin: StandinClient) -> None:
    assert standin.api("/user", "new-here").json()["name"] is None
    assert standin.api("/user/memberships/orgs", "new-here").json() == []


@pytest.mark.parametrize("path", ["/user", "/user/emails", "/user/orgs", "/orgs/acme/teams", "/api/v3/user"])
@pytest.mark.parametrize("header", [None, "Bearer gho_wrong", "Basic b2s6b2s=", "Bearer"])
def test_without_a_valid_token_the_api_answers_401(standin: StandinClient, path: str, header: str | None) -> None:
    answer = standin.http.get(f"/_github{path}", headers={"Authorization": header} if header else {})
    assert answer.status_code == 401
    assert answer.json()["message"] in {"Bad credentials", "Requires authentication"}
    assert answer.headers["X-OAuth-Scopes"] == ""


def test_a_wrong_token_is_bad_credentials(standin: StandinClient) -> None:
    answer = standin.http.get("/_github/user", headers={"Authorization": "token gho_wrong"})
    assert answer.json()["message"] == "Bad credentials"


def test_answers_have_headers_with_granted_and_accepted_scopes(standin: StandinClient) -> None:
    answer = standin.api("/user/emails")
    assert answer.headers["X-OAuth-Scopes"] == "read:user, user:email, read:org"
    assert answer.headers["X-Accepted-OAuth-Scopes"] == "user, user:email"


def test_email_addresses_need_their_scope_and_have_their_verification(standin: StandinClient) -> None:
    assert standin.api("/user/emails", scope="read:user").status_code == 404
    assert standin.api("/user/emails", "tove", scope="user").json()[0]["verified"] is False
    assert standin.api("/user/emails").json()[0] == {
        "email": "octavia@example.com",
        "primary": True,
        "verified": True,
        "visibility": "public",
    }


def test_organisations_need_their_scope(standin: StandinClient) -> None:
    for path in ("/user/memberships/orgs", "/user/memberships/orgs/acme", "/user/teams", "/orgs/acme/teams"):
        answer = standin.api(path, scope="read:user")
        assert answer.status_code == 403, path
        assert "read:org" in answer.headers["X-Accepted-OAuth-Scopes"]


def test_an_invitation_is_pending_and_gives_no_access(standin: StandinClient) -> None:
    assert standin.api("/user/memberships/orgs/acme", "ines").json()["state"] == "pending"
    assert standin.api("/user/memberships/orgs?state=active", "ines").json() == []
    assert standin.api("/user/orgs", "ines").json() == []
    assert standin.api("/orgs/acme/teams", "ines").status_code == 404


def test_a_membership_has_its_role_and_names_ignore_case(standin: StandinClient) -> None:
    assert standin.api("/user/memberships/orgs/ACME").json()["role"] == "admin"
    assert standin.api("/user/memberships/orgs/acme", "marek").json()["role"] == "member"
    assert standin.api("/user/memberships/orgs/acme", "tove").status_code == 404


def test_teams_and_their_memberships_are_listed(standin: StandinClient) -> None:
    assert [team["slug"] for team in standin.api("/user/teams").json()] == ["platform", "on-call"]
    assert standin.api("/user/teams").json()[0]["organization"]["login"] == "acme"
    assert standin.api("/orgs/acme/teams/platform").json()["slug"] == "platform"
    assert standin.api("/orgs/acme/teams/platform/memberships/octavia").json()["role"] == "maintainer"
    assert standin.api("/orgs/acme/teams/on-call/memberships/marek", "marek").status_code == 404


def test_lists_are_paginated(standin: StandinClient) -> None:
    first = standin.api("/user/orgs?per_page=1")
    assert len(first.json()) == 1
    assert 'rel="next"' in first.headers["Link"]
    second = standin.api("/user/orgs?per_page=1&page=2")
    assert second.json() != first.json()
    assert "Link" not in second.headers
