"""Writes answers (JSON and pages without caching, redirects) and reads the parameters of requests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from quart import Response, request

from oauth_core.parameters import Parameters
from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_FOUND = 302
_SEE_OTHER = 303


def json_answer(
    document: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer; caches must not store it unless `headers` permit it."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return Response(body, status, {**NO_STORE, **(headers or {})}, content_type="application/json")


def page_answer(page: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A page for people; caches must not store it."""
    return Response(page, status, {**NO_STORE, **(headers or {})}, content_type="text/html; charset=utf-8")


def see_other(location: str) -> Response:
    """Redirect the browser to `location` with 303, with which no browser repeats a form."""
    return Response(b"", _SEE_OTHER, {**NO_STORE, "Location": location})


def client_location(redirect_uri: str, parameters: Mapping[str, str | None], *, issuer: str) -> str:
    """A validated redirect URI with the `parameters` that are not `None`, and `iss` (RFC 9207)."""
    given = {name: value for name, value in parameters.items() if value is not None}
    joint = "&" if "?" in redirect_uri else "?"
    # The URI was checked to be ASCII without white space, so it is sent as it was registered.
    return f"{redirect_uri}{joint}{urlencode({**given, 'iss': issuer})}"


def redirect_to_client(redirect_uri: str, parameters: Mapping[str, str | None], *, issuer: str) -> Response:
    """Redirect the browser to `client_location`.

    After a form the status is 303, with which no browser repeats the form (OAuth 2.1, section 7.5.4).
    """
    location = client_location(redirect_uri, parameters, issuer=issuer)
    status = _SEE_OTHER if request.method == "POST" else _FOUND
    return Response(b"", status, {**NO_STORE, "Location": location})


def query_parameters() -> Parameters:
    """The query of this request. Raises `DisplayedError`."""
    return Parameters.decode(request.query_string)


async def form_parameters() -> Parameters:
    """The form of this request. Raises `DisplayedError`: 415 for any other media type."""
    if request.mimetype != "application/x-www-form-urlencoded":
        raise refused(OAuthReason.NOT_A_FORM)
    return Parameters.decode(await body())


async def body() -> bytes:
    """The body of this request; Quart limits its size and its duration."""
    raw = await request.get_data()
    return raw if isinstance(raw, bytes) else raw.encode()


def one_header(name: str) -> str | None:
    """The value of a header that must not be sent twice. Raises `DisplayedError`."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise refused(OAuthReason.PARAMETER_REPEATED, name=name)
    return values[0] if values else None
