"""A person signs in from a new country: the real programs find it, mail it, and show it on the account page."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from oauth_core.audit import EventKind
from tests.support import forks
from tests.support.alerts import AlertWorld, ago, receiving
from tests.support.audit_segments import NODE
from tests.support.location_databases import BERLIN, TOKYO, cities
from tests.support.mail_server import mail_server
from tests.support.oauth_client import OAuthClient, form_value
from tests.support.programs import running, until
from tests.support.web_process import running_web

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.alerts import Receiver
    from tests.support.mail_server import Mailbox
    from tests.support.web_process import WebServer

_LOGIN, _ADDRESS = "traveller", "traveller@example.com"


async def _signed_in(client: OAuthClient, source: str) -> None:
    client.http.headers["X-Portcullis-Address"] = source
    to_github = await client.http.post(f"{client.issuer}/account/sign-in")
    await client.http.get(await client.from_github(to_github, _LOGIN))


async def _page(client: OAuthClient) -> str:
    return (await client.http.get(f"{client.issuer}/account")).text


@dataclass
class Site:
    """An authorization server with an audit record, a database of countries, a mail server and a webhook."""

    web: WebServer
    world: AlertWorld
    box: Mailbox
    receiver: Receiver


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.chdir(tmp_path)
    world = AlertWorld(tmp_path)
    places = cities(tmp_path / "cities.mmdb")
    with receiving() as receiver, mail_server() as box:
        world.webhook("hook", receiver.url)
        world.configure("interval = 1", detection=f'country_database = "{places}"')
        world.respond("new_country", "notify_new_country")
        settings = {
            "ALLOWED_GITHUB_USERS": "*",
            "AUDIT_DIR": str(world.audit_dir),
            "AUDIT_NODE": NODE,
            "MAIL_SERVER": f"127.0.0.1:{box.port}",
            "MAIL_TLS": "off",
            "MAIL_FROM": "gate@example.com",
        }
        with running_web(settings) as web:
            yield Site(web, world, box, receiver)


async def test_a_sign_in_from_a_new_country_becomes_an_alert_a_mail_and_a_notice(site: Site) -> None:
    web, world, box, receiver = site.web, site.world, site.box, site.receiver
    with ExitStack() as stack:
        async with OAuthClient(web.issuer) as client:
            await _signed_in(client, BERLIN)
            form = {"form_token": form_value(await _page(client), "form_token"), "address": _ADDRESS}
            await client.http.post(f"{web.issuer}/account/mail", data=form | {"new_country": "yes"})
            until(lambda: box.mails, "the confirmation")
            link = next(word for word in str(box.mails[0].get_content()).split() if "/mail/confirm?" in word)
            token = link.partition("token=")[2]
            form = {"form_token": form_value(await _page(client), "form_token"), "token": token}
            done = await client.http.post(f"{web.issuer}/account/mail/confirm", data=form)
            assert done.status_code == 303, done.text

            until(lambda: world.events("sign_in.succeeded"), "the record of the sign-in")
            [first] = world.events("sign_in.succeeded")
            assert first["source"] == BERLIN
            # The person is known since last week. This event is the only one that no program wrote.
            known = {"v": 1, "time": ago(7 * 24), "event": str(EventKind.SIGN_IN_SUCCEEDED), "outcome": "success"}
            world.happen(known | {name: first[name] for name in ("user", "user_id", "source")})

            seal = ["audit", "seal", "--audit-dir", str(world.audit_dir), "--key-file", str(world.sealed.key.path)]
            stack.enter_context(running(seal, world.root / "seal.log"))
            alerts = ("alerts", "run", "--config", str(world.config))
            environment = {**web.environment, "AUDIT_TEXT": "false"}
            stack.enter_context(
                forks.running("portcullis", *alerts, environment=environment, log=world.root / "alerts.log")
            )
            async with OAuthClient(web.issuer) as elsewhere:
                await _signed_in(elsewhere, TOKYO)
                until(lambda: len(box.mails) == 2, "the mail")
                mail = box.mails[1]
                assert (mail["To"], mail["Subject"]) == (_ADDRESS, "A sign-in from a new country")
                assert "You signed in from a new country" in await _page(elsewhere)

            def reported() -> list[dict[str, object]]:
                found = [one.data for one in receiver.received if one.data.get("rule") == "new_country"]
                return [one for one in found if one["done"]]

            until(reported, "the alert")
            assert reported()[0]["done"] == [f"notify_new_country {first['user_id']}: done"]
            operators = [one["operator"] for one in world.events("user.notified")]
            assert operators == ["detection:new_country"] * 2, "the intent and the outcome"
