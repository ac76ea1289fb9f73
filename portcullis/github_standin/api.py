"""The REST calls about a person: the user, their addresses, organisations and teams."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from quart import Blueprint, Response, g, jsonify, request

from portcullis.github_standin.people import Membership, Person, Team, stable_id

if TYPE_CHECKING:
    from portcullis.github_standin.memory import Memory, Token
    from portcullis.github_standin.people import Changes

_IMPLIES = {"user": {"read:user", "user:email", "user:follow"}, "admin:org": {"write:org", "read:org"}}
_IMPLIES["write:org"] = {"read:org"}
_ORG_SCOPES = ("admin:org", "read:org", "repo", "user", "write:org")
_ORG_READERS = ("admin:org", "read:org", "write:org")
_PAGE, _LARGEST_PAGE = 30, 100


class _RefusalError(Exception):
    """A refusal: its status, and the message that GitHub's clients expect."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def blueprint(name: str, memory: Memory, changes: Changes) -> Blueprint:
    """The API; mounted at the root of the stand-in and, as on Enterprise Server, below `/api/v3`."""
    routes = Blueprint(name, __name__)

    @routes.before_request
    async def authenticate() -> None:
        scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
        token = memory.token(credential.strip()) if scheme.lower() in {"bearer", "token"} else None
        person = None if token is None else changes.current(token.person)
        g.accepted = ()
        if token is None or person is None:
            g.granted = ()
            raise _RefusalError(401, "Bad credentials" if credential else "Requires authentication")
        g.token, g.granted = replace(token, person=person), token.scopes

    @routes.errorhandler(_RefusalError)
    async def refuse(error: _RefusalError) -> Response:
        answer = jsonify(
            message=str(error), documentation_url="https://docs.github.com/rest", status=str(error.status)
        )
        answer.status_code = error.status
        return _with_scopes(answer)

    @routes.after_request
    async def set_scope_headers(answer: Response) -> Response:
        return _with_scopes(answer)

    @routes.get("/user")
    async def user() -> Response:
        _accept()
        return jsonify(_user(_token().person, own=_has("read:user")))

    @routes.get("/user/emails")
    async def emails() -> Response:
        _accept("user", "user:email", is_explained=False)
        person = _token().person
        visibility = "public" if person.public_email else "private"
        own = {"email": person.email, "primary": True, "verified": person.email_verified, "visibility": visibility}
        return _page([own] if person.email else [])

    @routes.get("/user/orgs")
    async def organizations() -> Response:
        _accept(*_ORG_SCOPES)
        return _page([_organization(m.organization) for m in _active(_token().person)])

    @routes.get("/user/memberships/orgs")
    async def memberships() -> Response:
        _accept(*_ORG_READERS)
        person, state = _token().person, request.args.get("state")
        return _page([_membership(person, m) for m in person.memberships if state in {None, m.state}])

    @routes.get("/user/memberships/orgs/<organization>")
    async def membership(organization: str) -> Response:
        _accept(*_ORG_READERS)
        found = _token().person.membership(organization)
        if found is None:
            raise _RefusalError(404, "Not Found")
        return jsonify(_membership(_token().person, found))

    @routes.get("/user/teams")
    async def teams() -> Response:
        _accept(*_ORG_READERS, "repo", "user")
        own = [(m.organization, team) for m in _active(_token().person) for team in m.teams]
        return _page([_team(organization, team, whole=True) for organization, team in own])

    @routes.get("/orgs/<organization>/teams")
    async def organization_teams(organization: str) -> Response:
        _accept(*_ORG_READERS)
        return _page([_team(organization, team) for team in _visible(organization).teams])

    @routes.get("/orgs/<organization>/teams/<slug>")
    async def organization_team(organization: str, slug: str) -> Response:
        _accept(*_ORG_READERS)
        return jsonify(_team(organization, _own_team(organization, slug), whole=True))

    @routes.get("/orgs/<organization>/teams/<slug>/memberships/<login>")
    async def team_membership(organization: str, slug: str, login: str) -> Response:
        _accept(*_ORG_READERS)
        team = _own_team(organization, slug)
        if login.lower() != _token().person.login.lower():
            raise _RefusalError(404, "Not Found")
        return jsonify(state="active", role=team.role, url=request.base_url)

    return routes


def _token() -> Token:
    token: Token = g.token
    return token


def _has(*scopes: str) -> bool:
    held = set(_token().scopes)
    for scope in _token().scopes:
        held |= _IMPLIES.get(scope, set())
    return bool(held & set(scopes))


def _accept(*scopes: str, is_explained: bool = True) -> None:
    """Set the accepted scopes of this call; refuse a token that has none of them.

    `is_explained` decides whether the refusal names them, or is 404 as GitHub's is for the addresses.
    """
    g.accepted = scopes
    if scopes and not _has(*scopes):
        needed = f"This call needs one of: {', '.join(scopes)}"
        raise _RefusalError(403, needed) if is_explained else _RefusalError(404, "Not Found")


def _active(person: Person) -> list[Membership]:
    return [m for m in person.memberships if m.state == "active"]


def _visible(organization: str) -> Membership:
    """The caller's membership. Without one, the organisation's teams are 404 for the caller."""
    found = _token().person.membership(organization)
    if found is None or found.state != "active":
        raise _RefusalError(404, "Not Found")
    return found


def _own_team(organization: str, slug: str) -> Team:
    team = next((t for t in _visible(organization).teams if t.slug == slug.lower()), None)
    if team is None:
        raise _RefusalError(404, "Not Found")
    return team


def _with_scopes(answer: Response) -> Response:
    answer.headers["X-OAuth-Scopes"] = ", ".join(g.granted)
    answer.headers["X-Accepted-OAuth-Scopes"] = ", ".join(g.accepted)
    return answer


def _page(items: list[dict[str, Any]]) -> Response:
    """One page of a list, with GitHub's `per_page` and `page` and a `Link` to the next."""
    size = min(max(request.args.get("per_page", _PAGE, type=int), 1), _LARGEST_PAGE)
    number = max(request.args.get("page", 1, type=int), 1)
    answer = jsonify(items[(number - 1) * size : number * size])
    if len(items) > number * size:
        following = urlencode({"per_page": size, "page": number + 1})
        answer.headers["Link"] = f'<{request.base_url}?{following}>; rel="next"'
    return answer


def _user(person: Person, *, own: bool = False) -> dict[str, Any]:
    shown = {"login": person.login, "id": person.id, "type": "User", "site_admin": False, "name": person.name}
    shown["email"] = person.email if person.public_email else None
    if own:
        shown["two_factor_authentication"] = True
    return shown


def _organization(name: str) -> dict[str, Any]:
    return {"login": name, "id": stable_id(f"org:{name}"), "description": None}


def _membership(person: Person, membership: Membership) -> dict[str, Any]:
    return {
        "state": membership.state,
        "role": membership.role,
        "organization": _organization(membership.organization),
        "user": {"login": person.login, "id": person.id, "type": "User"},
    }


def _team(organization: str, team: Team, *, whole: bool = False) -> dict[str, Any]:
    organization = organization.lower()
    shown = {"id": stable_id(f"team:{organization}/{team.slug}"), "slug": team.slug, "name": team.name}
    return shown | ({"organization": _organization(organization)} if whole else {})
