"""The sign-in page and the token endpoint, with GitHub's paths, parameters and error formats."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from quart import Blueprint, Response, redirect, render_template, request

from oauth_core.crypto.credentials import pkce_matches
from oauth_core.net.public_urls import is_loopback, origin_of
from portcullis.github_standin import people

if TYPE_CHECKING:
    from collections.abc import Mapping

    from werkzeug.wrappers import Response as BaseResponse

    from portcullis.github_standin.memory import Memory
    from portcullis.github_standin.settings import StandinSettings

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_SCOPE = re.compile(r"[a-z_]+(?::[a-z_]+)?")
_DOCS = "https://docs.github.com/apps/managing-oauth-apps/troubleshooting-oauth-app-access-token-request-errors/"
_MOST_FIELDS = 50
_ERRORS = {
    "incorrect_client_credentials": "The client_id or the client_secret is wrong.",
    "redirect_uri_mismatch": "The redirect_uri is not the one the sign-in began with.",
    "bad_verification_code": "The code is wrong, was used before, or is too old.",
    "unsupported_grant_type": "Only grant_type authorization_code is supported.",
}


@dataclass(frozen=True, slots=True)
class SignInRequest:
    """The valid parameters of a request to `/login/oauth/authorize`."""

    redirect_uri: str
    state: str | None
    scopes: tuple[str, ...]
    code_challenge: str | None


def blueprint(settings: StandinSettings, memory: Memory) -> Blueprint:
    """The routes below `/login/oauth`."""
    routes = Blueprint("sign_in", __name__)
    ours = origin_of(settings.issuer)

    @routes.get("/authorize")
    async def show() -> Response | tuple[str, int]:
        sign_in_request = _read_request(request.args, settings)
        if isinstance(sign_in_request, str):
            return await _problem(sign_in_request)
        return Response(await _page(request.args, sign_in_request))

    @routes.post("/authorize")
    async def choose() -> BaseResponse | tuple[str, int]:
        # A page of another site could post this form for its visitor; browsers send the origin of a post.
        if request.headers.get("Origin", ours) != ours:
            return await _problem("This form was sent from another site.", 403)
        form = await request.form
        sign_in_request = _read_request(form, settings)
        if isinstance(sign_in_request, str):
            return await _problem(sign_in_request)
        if "cancel" in form:
            return _back(
                sign_in_request, error="access_denied", error_description="The user has denied the request."
            )
        login = form.get("login", "").strip()
        person = people.find(login)
        if person is None:
            text = "A login is 1 to 39 letters, digits and single hyphens between them."
            return await _page(form, sign_in_request, fault=text), 422
        code = memory.new_code(
            person, sign_in_request.redirect_uri, sign_in_request.scopes, sign_in_request.code_challenge
        )
        return _back(sign_in_request, code=code)

    @routes.post("/access_token")
    async def access_token() -> Response:
        values = await _body()
        return _answer(values if isinstance(values, str) else _redeem(values, settings, memory))

    return routes


def _read_request(values: Mapping[str, str], settings: StandinSettings) -> SignInRequest | str:
    """Check the parameters of a sign-in; return them, or the fault as a text for the person."""
    if values.get("client_id") != settings.client_id:
        return "There is no app with this client_id."
    redirect_uri = values.get("redirect_uri", "")
    if not _may_redirect(redirect_uri, settings.issuer):
        return "The redirect_uri is missing, or is not on this machine."
    challenge = values.get("code_challenge") or None
    if challenge is not None and (
        values.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge)
    ):
        return "Only code_challenge_method S256 is supported, with a challenge of 43 characters."
    scopes = tuple(dict.fromkeys(s for s in re.split(r"[ ,]+", values.get("scope", "")) if _SCOPE.fullmatch(s)))
    return SignInRequest(redirect_uri, values.get("state"), scopes, challenge)


def _may_redirect(uri: str, issuer: str) -> bool:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return False
    if parts.scheme not in {"http", "https"} or parts.username or parts.fragment or not uri.isascii():
        return False
    return uri.startswith(f"{issuer}/") or is_loopback(uri)


async def _page(values: Mapping[str, str], sign_in_request: SignInRequest, fault: str | None = None) -> str:
    names = ("client_id", "redirect_uri", "state", "scope", "code_challenge", "code_challenge_method")
    return await render_template(
        "sign_in.html",
        people=people.READY,
        hidden={name: values[name] for name in names if name in values},
        host=urlsplit(sign_in_request.redirect_uri).netloc,
        scopes=sign_in_request.scopes,
        login=values.get("login", ""),
        fault=fault,
    )


async def _problem(text: str, status: int = 400) -> tuple[str, int]:
    return await render_template("problem.html", text=text), status


def _back(sign_in_request: SignInRequest, **values: str) -> BaseResponse:
    """Redirect the browser to the app with `values` and the app's `state`; a query of the URI stays."""
    if sign_in_request.state is not None:
        values["state"] = sign_in_request.state
    separator = "&" if urlsplit(sign_in_request.redirect_uri).query else "?"
    return redirect(f"{sign_in_request.redirect_uri}{separator}{urlencode(values)}")


async def _body() -> dict[str, str] | str:
    """The parameters of a token request, from a form or JSON; client credentials may also use HTTP Basic."""
    values: dict[str, str] = {}
    data: bytes = await request.body
    raw = data.decode("utf-8", "replace")
    if request.mimetype == "application/json":
        try:
            read = json.loads(raw)
        except ValueError:
            read = None
        if not isinstance(read, dict):
            return "bad_verification_code"
        values = {str(name): value for name, value in read.items() if isinstance(value, str)}
    else:
        try:
            values = dict(parse_qsl(raw, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
        except ValueError:
            return "bad_verification_code"
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return "incorrect_client_credentials"
        values |= {"client_id": unquote(name), "client_secret": unquote(secret)}
    return values


def _redeem(values: Mapping[str, str], settings: StandinSettings, memory: Memory) -> dict[str, str] | str:
    """Exchange a code for an access token: return the answer's members, or the name of GitHub's error."""
    same_id = hmac.compare_digest(values.get("client_id", "").encode(), settings.client_id.encode())
    same_secret = hmac.compare_digest(values.get("client_secret", "").encode(), settings.client_secret.encode())
    if not (same_id and same_secret):
        return "incorrect_client_credentials"
    if values.get("grant_type", "authorization_code") != "authorization_code":
        return "unsupported_grant_type"
    code = memory.take_code(values.get("code", ""))
    if code is None:
        return "bad_verification_code"
    if values.get("redirect_uri", code.redirect_uri) != code.redirect_uri:
        return "redirect_uri_mismatch"
    if code.code_challenge is not None and not pkce_matches(values.get("code_verifier", ""), code.code_challenge):
        return "bad_verification_code"
    token = memory.new_token(code.person, code.scopes)
    return {"access_token": token, "scope": ",".join(code.scopes), "token_type": "bearer"}


def _answer(result: dict[str, str] | str) -> Response:
    """The answer: 200 for errors too, as GitHub's, and a form unless the client accepts JSON."""
    if isinstance(result, str):
        result = {"error": result, "error_description": _ERRORS[result], "error_uri": _DOCS}
    if "json" in request.headers.get("Accept", ""):
        return Response(json.dumps(result), content_type="application/json; charset=utf-8")
    return Response(urlencode(result), content_type="application/x-www-form-urlencoded; charset=utf-8")
