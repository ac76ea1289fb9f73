"""Memberships belong to the person with the GitHub id, even after the login moved to another account."""

from __future__ import annotations

import dataclasses

import httpx2
import pytest

from oauth_core.model import User
from oauth_web.login_providers.github import GitHub, GitHubRefusedError, GitHubUnavailableError

MAREK = User(7, "marek")
NO: dict[str, object] = {"message": "No", "documentation_url": "https://docs.github.com/rest"}
ASKED: dict[str, tuple[int, dict[str, object]]] = {
    "/user": (200, {"id": 7, "login": "marek-the-second"}),
    "/orgs/acme/teams/platform/memberships/marek": (200, {"state": "active"}),
    "/orgs/acme/teams/platform/memberships/marek-the-second": (404, NO),
    "/orgs/acme/teams/on-call/memberships/marek-the-second": (200, {"state": "active"}),
    "/user/memberships/orgs/acme": (200, {"state": "pending"}),
}


def github(answers: dict[str, tuple[int, dict[str, object]]]) -> GitHub:
    def answer(request: httpx2.Request) -> httpx2.Response:
        status, document = answers[request.url.path]
        return httpx2.Response(status, json=document, headers={"X-OAuth-Scopes": "read:org"})

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    url = "https://github.example"
    return GitHub("id", "secret", url, url, url, f"{url}/callback", http)


async def test_a_team_membership_is_requested_with_the_current_login() -> None:
    # Another person has the login `marek` now, and is in the platform team.
    asked = ["acme", "acme/platform", "acme/on-call"]
    current, groups = await github(ASKED).groups("token", MAREK, lambda _: asked)
    assert groups == {"acme/on-call"}
    assert (current.github_id, current.login) == (MAREK.github_id, ASKED["/user"][1]["login"])


async def test_a_token_of_another_person_is_refused() -> None:
    with pytest.raises(GitHubRefusedError):
        await github(ASKED).groups("token", dataclasses.replace(MAREK, github_id=8), lambda _: ["acme/on-call"])


@pytest.mark.parametrize(
    ("who", "error"),
    [
        ((401, NO), GitHubRefusedError),
        ((403, NO), GitHubRefusedError),
        ((401, {}), GitHubUnavailableError),
        ((500, {}), GitHubUnavailableError),
        ((404, {}), GitHubUnavailableError),
        ((200, {"id": "7", "login": "marek"}), GitHubUnavailableError),
    ],
)
async def test_without_the_identity_of_the_person_there_is_no_answer_about_groups(
    who: tuple[int, dict[str, object]], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await github({**ASKED, "/user": who}).groups("token", MAREK, lambda _: ["acme/on-call"])
