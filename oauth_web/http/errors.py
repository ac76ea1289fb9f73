"""Turns errors into answers, in one place: OAuth errors, an unavailable Redis, and unexpected exceptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from quart import Blueprint, Quart, Response, render_template
from werkzeug.exceptions import HTTPException

from oauth_core.audit import NotRecordedError
from oauth_core.clients import redirect_uris
from oauth_core.errors import DisplayedError, ErrorCode, OAuthError, RedirectedError, StoreUnavailableError
from oauth_core.refusals import OAuthReason, refused
from oauth_core.store.records.revocation import IncompleteError
from oauth_web.http.responses import client_location, json_answer, page_answer, redirect_to_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


_BAD_REQUEST = 400
_SERVER_ERROR = 500
_log = structlog.get_logger(__name__)

# The page titles of errors that a person can meet; all other errors show the description for the developer.
_TITLES = {
    ErrorCode.INVALID_CLIENT: "This app is not registered here",
    ErrorCode.INVALID_REDIRECT_URI: "This app asked to send you somewhere it did not register",
    ErrorCode.INVALID_CLIENT_METADATA: "This app does not describe itself properly",
    ErrorCode.TEMPORARILY_UNAVAILABLE: "Sign-in is not available right now",
    ErrorCode.TOO_MANY_REQUESTS: "Too many attempts",
    ErrorCode.SERVER_ERROR: "Something went wrong on our side",
}


def displayed_as_json(error: DisplayedError) -> Response:
    """`error` as JSON, for programs (RFC 6749 section 5.2)."""
    headers = {"WWW-Authenticate": error.challenge} if error.challenge else {}
    headers |= _when_to_come_again(error)
    return json_answer({"error": error.code, "error_description": error.error_description}, error.status, headers)


async def as_answer(error: OAuthError, *, issuer: str) -> Response:
    """`error` for people with a browser: a page, or a redirect to the client."""
    if isinstance(error, DisplayedError):
        return await displayed_as_page(error)
    if not isinstance(error, RedirectedError):
        raise error
    parameters = {"error": error.code, "error_description": error.error_description, "state": error.state}
    if not error.on_page:
        return redirect_to_client(error.redirect_uri, parameters, issuer=issuer)
    back = client_location(error.redirect_uri, parameters, issuer=issuer)
    return await _page(error, back=back, place=redirect_uris.host_of(error.redirect_uri))


async def displayed_as_page(error: DisplayedError) -> Response:
    """`error` as a page, for people."""
    answer = await _page(error)
    answer.status_code = error.status
    answer.headers.update(_when_to_come_again(error))
    return answer


async def _page(error: OAuthError, *, back: str | None = None, place: str | None = None) -> Response:
    """A page with status 400 that describes the error, with an optional link `back` to the app at `place`."""
    title = _TITLES.get(error.code, "This sign-in cannot go on")
    page = await render_template(
        "error.html", title=title, code=error.code, description=error.description, back=back, place=place
    )
    return page_answer(page, _BAD_REQUEST)


def _when_to_come_again(error: DisplayedError) -> dict[str, str]:
    return {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}


def show_as_pages(blueprint: Blueprint, *, issuer: str) -> None:
    """Answer the errors of `blueprint`, which people visit, with pages and redirects."""

    async def redirected(error: RedirectedError) -> Response:
        return await as_answer(error, issuer=issuer)

    async def store_unavailable(error: StoreUnavailableError) -> Response:
        return await displayed_as_page(_unavailable(error))

    async def not_recorded(error: NotRecordedError) -> Response:
        return await displayed_as_page(_not_recorded(error))

    async def unexpected(error: Exception) -> Response:
        return await displayed_as_page(_unexpected(error))

    blueprint.register_error_handler(DisplayedError, displayed_as_page)
    blueprint.register_error_handler(RedirectedError, redirected)
    blueprint.register_error_handler(StoreUnavailableError, store_unavailable)
    blueprint.register_error_handler(NotRecordedError, not_recorded)
    blueprint.register_error_handler(Exception, _unless_http(unexpected))


def show_as_json(app: Quart) -> None:
    """Answer all other errors with JSON."""

    async def store_unavailable(error: StoreUnavailableError) -> Response:
        return displayed_as_json(_unavailable(error))

    async def not_recorded(error: NotRecordedError) -> Response:
        return displayed_as_json(_not_recorded(error))

    async def unexpected(error: Exception) -> Response:
        return displayed_as_json(_unexpected(error))

    async def http(error: HTTPException) -> Response:
        status = error.code or _SERVER_ERROR
        answer = displayed_as_json(refused(OAuthReason.HTTP_ERROR, name=error.name, status=status))
        if allowed := getattr(error, "valid_methods", None):
            answer.headers["Allow"] = ", ".join(allowed)
        return answer

    app.register_error_handler(DisplayedError, displayed_as_json)
    app.register_error_handler(StoreUnavailableError, store_unavailable)
    app.register_error_handler(NotRecordedError, not_recorded)
    app.register_error_handler(HTTPException, http)
    app.register_error_handler(Exception, _unless_http(unexpected))


def _unless_http(
    handler: Callable[[Exception], Awaitable[Response]],
) -> Callable[[Exception], Awaitable[Response]]:
    """Leave 404, 405 and 413 to their own handler."""

    async def handle(error: Exception) -> Response:
        if isinstance(error, HTTPException):
            raise error
        return await handler(error)

    return handle


def say_that_it_may_still_work(blueprint: Blueprint) -> None:
    """If the store fails, answer with JSON that the token may still work: `blueprint` could not revoke it."""

    async def store_unavailable(error: StoreUnavailableError) -> Response:
        return displayed_as_json(_unavailable(error, OAuthReason.NOT_ENDED))

    blueprint.register_error_handler(StoreUnavailableError, store_unavailable)


def _unavailable(
    error: StoreUnavailableError, reason: OAuthReason = OAuthReason.STORE_UNAVAILABLE
) -> DisplayedError:
    _log.warning("store unavailable", error=str(error))
    return refused(OAuthReason.NOT_ENDED if isinstance(error, IncompleteError) else reason)


def _not_recorded(error: NotRecordedError) -> DisplayedError:
    _log.warning("not recorded, so not done", error=str(error))
    return refused(OAuthReason.AUDIT_UNAVAILABLE)


def _unexpected(error: Exception) -> DisplayedError:
    # Only the log contains the stack trace.
    _log.error("unexpected error", exc_info=error)
    return refused(OAuthReason.UNEXPECTED)
