"""The device flow for tests: each step of the device and of the person as a function."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from oauth_core.crypto.credentials import hash_secret
from oauth_core.grant_types import DEVICE_CODE
from tests.support.master_key import change_record
from tests.support.oauth_client import OAuthClient, form_value

if TYPE_CHECKING:
    import httpx2

    from tests.support.web_process import WebServer


async def registered(client: OAuthClient, **members: object) -> str:
    """The id of a client that registers for this flow as mcp-remote does."""
    registration = await client.register(
        grant_types=[DEVICE_CODE, "refresh_token"], client_name="Television", **members
    )
    return registration.client_id


async def started(client: OAuthClient, client_id: str, **form: str) -> dict[str, Any]:
    """The codes of a device that starts the flow."""
    answer = await client.http.post(f"{client.issuer}/device_authorization", data={"client_id": client_id, **form})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    document: dict[str, Any] = answer.json()
    return document


async def polled(client: OAuthClient, client_id: str, device_code: str, **form: str) -> httpx2.Response:
    """Request the tokens of a device."""
    return await client.token(
        {"grant_type": DEVICE_CODE, "client_id": client_id, "device_code": device_code, **form}
    )


async def typed(person: OAuthClient, user_code: str) -> httpx2.Response:
    """Enter a code as a person."""
    return await person.http.post(f"{person.issuer}/device", data={"user_code": user_code})


async def consented(person: OAuthClient, user_code: str, decision: str = "allow") -> httpx2.Response:
    """Enter a code as a person, and press a button of the consent page."""
    page = await typed(person, user_code)
    assert page.status_code == 200, page.text
    form = {"handle": form_value(page.text, "handle"), "decision": decision}
    return await person.http.post(f"{person.issuer}/authorize/consent", data=form)


async def at_callback(person: OAuthClient, user_code: str, login: str = "octocat") -> str:
    """Consent and sign in with the stand-in as a person. Return the address of our callback, not yet opened."""
    person.forget_session()
    to_github = await consented(person, user_code)
    assert to_github.status_code == 303, to_github.text
    page = await person.http.get(to_github.headers["Location"])
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
    back = await person.http.post(str(page.url), data={**fields, "login": login})
    return str(back.headers["Location"])


async def approved(person: OAuthClient, user_code: str, login: str = "octocat") -> httpx2.Response:
    """Complete all steps of a person. Return the last page."""
    return await person.http.get(await at_callback(person, user_code, login))


def put_back(web: WebServer, device_code: str, seconds: int) -> None:
    """Move the start of the device `seconds` into the past."""
    key = f"device:{hash_secret(device_code)}"
    with web.redis.client() as redis:
        change_record(
            redis,
            key,
            lambda record: {
                name: value - seconds if name.endswith("_at") else value for name, value in record.items()
            },
        )
