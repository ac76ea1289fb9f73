"""The table of refusals: every reason has a complete row, and no other code defines a refusal."""

from __future__ import annotations

import ast
import string
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from quart import Blueprint, Quart

import oauth_core
from oauth_core.audit import EventKind
from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.refusals import (
    Audit,
    Challenge,
    DenyReason,
    OAuthReason,
    Reason,
    is_recorded_by_endpoint,
    refused,
)
from oauth_web.http import errors
from tests.unit.examples import ISSUER

ROOT = Path(oauth_core.__file__).parent.parent
EVERY: tuple[Reason, ...] = (*DenyReason, *OAuthReason)

STATUSES = {
    ErrorCode.INVALID_REQUEST: {400, 403, 405, 413, 415},
    ErrorCode.INVALID_CLIENT: {401},
    ErrorCode.INVALID_GRANT: {400},
    ErrorCode.INVALID_SCOPE: {400},
    ErrorCode.INVALID_TARGET: {400},
    ErrorCode.INVALID_TOKEN: {401},
    ErrorCode.INSUFFICIENT_SCOPE: {403},
    ErrorCode.UNAUTHORIZED_CLIENT: {400},
    ErrorCode.UNSUPPORTED_GRANT_TYPE: {400},
    ErrorCode.UNSUPPORTED_RESPONSE_TYPE: {400},
    ErrorCode.ACCESS_DENIED: {400, 403},
    ErrorCode.SERVER_ERROR: {500},
    ErrorCode.TEMPORARILY_UNAVAILABLE: {503, 504},
    ErrorCode.INVALID_REDIRECT_URI: {400},
    ErrorCode.INVALID_CLIENT_METADATA: {400, 415},
    ErrorCode.AUTHORIZATION_PENDING: {400},
    ErrorCode.SLOW_DOWN: {400},
    ErrorCode.EXPIRED_TOKEN: {400},
    ErrorCode.LOGIN_REQUIRED: {400, 403},
    ErrorCode.CONSENT_REQUIRED: {400},
    ErrorCode.INVALID_DPOP_PROOF: {400},
    ErrorCode.TOO_MANY_REQUESTS: {429},
    ErrorCode.UNAUTHORIZED: {401},
    ErrorCode.NOT_FOUND: {404},
    ErrorCode.SERVICE_DISABLED: {503},
    ErrorCode.BAD_ANSWER: {502},
}
"""The statuses of each error: RFC 6749 section 5.2, RFC 6750 section 3.1, RFC 7591 section 3.2.2, and ours."""

CHALLENGES = {
    OAuthReason.INVITATION_NEEDED: 'Bearer realm="register"',
    OAuthReason.INVITATION_NOT_GOOD: 'Bearer realm="register", error="invalid_token"',
    OAuthReason.REGISTRATION_TOKEN_WRONG: 'Bearer error="invalid_token"',
    OAuthReason.REGISTRATION_PERMISSION_MISSING: 'Bearer error="insufficient_scope", scope="<permission>"',
}
"""The challenges of the authorization server."""


def placeholders(reason: Reason) -> set[str]:
    text = reason.row.description
    if isinstance(reason, OAuthReason):
        text += reason.row.challenge.value
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def made(reason: OAuthReason, **more: Any) -> DisplayedError:
    details: dict[str, Any] = {name: f"<{name}>" for name in placeholders(reason)}
    return refused(reason, **details, **more)


def reasons_named(node: ast.AST) -> set[str]:
    """The members of `OAuthReason` in the code of `node`."""
    return {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute) and ast.unparse(each.value) == "OAuthReason"
    }


@cache
def product() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
        for package in ("oauth_core", "oauth_web", "ext_authz")
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def calls_of(name: str) -> list[tuple[str, ast.Call]]:
    return [
        (path, node)
        for path, tree in product().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == name
    ]


# -- the rows ----------------------------------------------------------------------------------------------------


def test_names_of_reasons_are_unique() -> None:
    assert len({reason.value for reason in DenyReason}) == len(DenyReason.__members__)
    assert len({reason.value for reason in OAuthReason}) == len(OAuthReason.__members__)
    assert all(reason.value == reason.name.lower() for reason in EVERY)


@pytest.mark.parametrize("reason", EVERY, ids=str)
def test_every_row_has_a_fitting_status_and_an_audit_rule(reason: Reason) -> None:
    row = reason.row
    assert row.status in STATUSES[row.error]
    assert row.description
    if isinstance(row.audit, Audit):
        with pytest.raises(ValueError, match="no event of its own"):
            _ = reason.event
    else:
        assert reason.event in EventKind
    if row.retry_after is not None:
        assert row.retry_after > 0
        assert row.status in {429, 503}


@pytest.mark.parametrize("reason", sorted(DenyReason))
def test_a_code_of_json_rpc_is_a_number(reason: DenyReason) -> None:
    """In the body of an enumeration, the name of a member hides a constant of the same name."""
    assert reason.row.code is None or type(reason.row.code) is int


@pytest.mark.parametrize("reason", sorted(DenyReason))
def test_every_refusal_of_the_check_is_recorded(reason: DenyReason) -> None:
    is_limit = reason.row.status == 429
    assert reason.event is (EventKind.RATE_LIMITED if is_limit else EventKind.ACCESS_DENIED)


def test_the_errors_of_bearer_tokens_have_a_challenge() -> None:
    without = {
        reason
        for reason in EVERY
        if reason.row.challenge is Challenge.NONE
        and reason.row.status == 401
        # RFC 6749 section 5.2 requires a challenge only if the client tried the header.
        and reason.row.error is not ErrorCode.INVALID_CLIENT
    }
    assert without == set()
    assert {reason for reason in OAuthReason if reason.row.challenge is not Challenge.NONE} == set(CHALLENGES)


def test_an_endpoint_records_every_refusal_that_the_table_does_not_exclude() -> None:
    assert is_recorded_by_endpoint(refused(OAuthReason.CODE_UNKNOWN))
    assert is_recorded_by_endpoint(refused(OAuthReason.CODE_UNKNOWN).redirected_to("https://client.example", None))
    assert is_recorded_by_endpoint(refused(OAuthReason.TOO_MANY_REQUESTS, wait=1))
    assert not is_recorded_by_endpoint(refused(OAuthReason.DEVICE_PENDING))
    assert not is_recorded_by_endpoint(refused(OAuthReason.DEVICE_TOO_FAST))


# -- the answers -------------------------------------------------------------------------------------------------


def raising() -> Quart:
    """An application that refuses each request with the reason in its path: as JSON, or below
    `/page` as a page.
    """
    app = Quart("oauth_web.app")
    pages = Blueprint("pages", __name__, url_prefix="/page")

    async def answer(name: str) -> str:
        raise made(OAuthReason[name.upper()])

    app.add_url_rule("/<name>", "json", answer)
    pages.add_url_rule("/<name>", "page", answer)
    app.jinja_env.globals["below"] = ""
    errors.show_as_json(app)
    errors.show_as_pages(pages, issuer=ISSUER)
    app.register_blueprint(pages)
    return app


async def test_every_refusal_of_the_web_is_answered_as_in_its_row() -> None:
    app = raising()
    client = app.test_client()
    for reason in OAuthReason:
        row, error = reason.row, made(reason)
        answer = await client.get(f"/{reason}")
        assert answer.status_code == row.status, reason
        assert await answer.get_json() == {"error": row.error, "error_description": error.error_description}
        assert answer.headers.get("WWW-Authenticate") == CHALLENGES.get(reason), reason
        assert answer.headers.get("Retry-After") == (None if row.retry_after is None else str(row.retry_after))
        assert answer.headers["Cache-Control"] == "no-store"
        page = await client.get(f"/page/{reason}")
        assert page.status_code == row.status, reason
        assert row.error in await page.get_data(as_text=True)


@pytest.mark.parametrize(
    "reason", [reason for reason in OAuthReason if reason.row.error is ErrorCode.INVALID_CLIENT]
)
def test_a_client_that_used_basic_gets_a_basic_challenge(reason: OAuthReason) -> None:
    assert made(reason, by_header=True).challenge == 'Basic realm="token", charset="UTF-8"'
    assert made(reason).challenge is None


def test_text_of_a_caller_is_never_used_as_a_placeholder() -> None:
    error = refused(OAuthReason.REDIRECT_URI_FRAGMENT, uri="https://x.example/{uri}{0}#")
    assert error.description == "redirect URI https://x.example/{uri}{0}# has a fragment"


# -- no refusal elsewhere ----------------------------------------------------------------------------------------


def test_only_the_table_builds_errors() -> None:
    makers = {
        (path, name) for name in ("DisplayedError", "RedirectedError", "NoRoomError") for path, _ in calls_of(name)
    }
    assert makers == {
        ("oauth_core/refusals.py", "DisplayedError"),
        ("oauth_core/errors.py", "RedirectedError"),
        ("oauth_core/limits/quotas.py", "NoRoomError"),
    }


def test_no_refusal_has_its_text_where_it_is_raised() -> None:
    spelled = [
        f"{path}:{node.lineno}: {each.value}"
        for path, node in calls_of("refused")
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and len(each.value.split()) > 1
    ]
    assert spelled == []


def test_all_placeholders_of_a_description_are_filled_in_where_it_is_raised() -> None:
    missing = []
    for path, node in calls_of("refused"):
        given = {keyword.arg for keyword in node.keywords}
        for name in reasons_named(node.args[0]) if node.args else set():
            if lacks := placeholders(OAuthReason[name]) - given:
                missing.append(f"{path}:{node.lineno}: {name} lacks {lacks}")
    assert missing == []


def test_every_row_of_the_web_is_used() -> None:
    used = set().union(*(reasons_named(tree) for path, tree in product().items()))
    assert {reason.name for reason in OAuthReason} - used == set()
