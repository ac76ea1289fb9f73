"""The metrics of the authorization server for Prometheus."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx2
import pytest

from oauth_core.errors import SettingsError
from oauth_core.limits.quotas import Stored
from oauth_core.process import audit_figures
from oauth_core.process.certificate_ends import EXPIRES
from oauth_core.settings import WebSettings, load
from oauth_web.endpoints.metrics import FAMILIES, MAILS, MAILS_OLDEST, MAILS_WAITING
from tests.support.metrics import families
from tests.support.oauth_client import OAuthClient, Pkce
from tests.support.ports import free_port
from tests.support.web_process import running_web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.web_process import WebServer

ABSENT = frozenset(
    {
        EXPIRES,
        audit_figures.AVAILABLE,
        audit_figures.UNSEALED,
        audit_figures.CHECKPOINT_AGE,
        audit_figures.FREE,
        audit_figures.DISK,
        MAILS,
        MAILS_WAITING,
        MAILS_OLDEST,
    }
)
"""Metrics that a server without TLS, without an audit folder and without a mail server does not have."""


@pytest.fixture(scope="module")
def metered() -> Iterator[tuple[WebServer, str]]:
    """A server with a small quota of registrations, and the address of its metrics."""
    place = f"127.0.0.1:{free_port()}"
    settings = {"WEB_METRICS_LISTEN": place, "REGISTRATIONS_PER_ADDRESS_A_DAY": "3"}
    with running_web(settings) as server:
        yield server, f"http://{place}/metrics"


def page(url: str) -> str:
    answer = httpx2.get(url)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return answer.text


def figures(url: str) -> dict[str, float]:
    samples = re.findall(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", page(url), re.MULTILINE)
    return {name: float(value) for name, value in samples}


async def test_the_memory_of_each_kind_and_of_redis_is_reported(metered: tuple[WebServer, str]) -> None:
    server, url = metered
    before = figures(url)
    assert families(page(url)) == {family.name: family.kind for family in FAMILIES if family not in ABSENT}
    for kind in Stored:
        assert before[f'portcullis_stored_limit_bytes{{kind="{kind}"}}'] > 1_000_000
    async with OAuthClient(server.issuer) as client:
        made = await client.register()
        await client.http.get(client.authorize_url(made.client_id, Pkce.fresh().challenge))
    after = figures(url)
    for kind, grown in ((Stored.REGISTRATIONS, True), (Stored.SIGN_INS, True), (Stored.DEVICE_CODES, False)):
        name = f'portcullis_stored_bytes{{kind="{kind}"}}'
        assert (after[name] > before[name]) is grown
    assert after["portcullis_redis_used_bytes"] > 500_000


async def test_a_reused_refresh_token_and_a_repeated_one_are_counted_apart(metered: tuple[WebServer, str]) -> None:
    server, url = metered
    repeated, reused = (
        f'portcullis_audit_events_total{{event="refresh.{how}"}}' for how in ("repeated", "reused")
    )
    before = figures(url)
    assert (before[repeated], before[reused]) == (0, 0), "an alert rule sees the step from zero to one"
    async with OAuthClient(server.issuer) as client:
        client_id = (await client.register()).client_id
        family = [(await client.tokens(client_id))["refresh_token"]]
        for _ in range(2):
            family.append((await client.refresh(client_id, family[-1])).json()["refresh_token"])
            assert (await client.refresh(client_id, family[-2])).json()["refresh_token"] == family[-1]
        assert (figures(url)[repeated], figures(url)[reused]) == (2, 0)
        server.let_pass_since_refreshes(family[0], 11)
        assert (await client.refresh(client_id, family[0])).status_code == 400
    assert (figures(url)[repeated], figures(url)[reused]) == (2, 1)
    events = [line for line in server.log.read_text().splitlines() if '"refresh.re' in line]
    assert len(events) == 3
    assert all('"source"' in line and client_id in line and family[0] not in line for line in events)


async def test_the_metrics_are_not_served_at_the_public_address(metered: tuple[WebServer, str]) -> None:
    server, _ = metered
    async with OAuthClient(server.issuer) as client:
        assert (await client.http.get(f"{server.issuer}/metrics")).status_code == 404


def test_metrics_are_served_on_this_machine_only(metered: tuple[WebServer, str]) -> None:
    server, _ = metered
    for place in ("0.0.0.0:9103", "192.0.2.1:9103", "example.com:9103"):
        with pytest.raises(SettingsError, match="loopback"):
            load(WebSettings, None, {**server.environment, "WEB_METRICS_LISTEN": place})


async def test_the_registrations_of_an_address_are_limited_per_day(metered: tuple[WebServer, str]) -> None:
    server, _ = metered
    async with OAuthClient(server.issuer) as client:
        client.http.headers["X-Portcullis-Address"] = "2001:db8::1"
        for _ in range(3):
            await client.register()
        # Another address of the same network is the same caller.
        client.http.headers["X-Portcullis-Address"] = "2001:db8::2"
        answer = await client.http.post(
            f"{client.issuer}/register", json={"redirect_uris": ["http://127.0.0.1/cb"]}
        )
        assert (answer.status_code, answer.json()["error"]) == (429, "too_many_requests")
        assert int(answer.headers["Retry-After"]) > 60
        client.http.headers["X-Portcullis-Address"] = "2001:db8:0:1::1"
        await client.register()
