"""A person gets mails about their access, at an address that they confirmed, and about what they chose."""

from __future__ import annotations

import html
import json
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from oauth_core.flows.mail_notices import PENDING_LIFETIME, MailKind
from oauth_core.store import keyspace
from tests.support import forks
from tests.support.mail_server import Mailbox, mail_server
from tests.support.master_key import RECORD_KEY
from tests.support.metrics import read_samples
from tests.support.oauth_client import OAuthClient, Pkce, form_value
from tests.support.ports import free_port
from tests.support.programs import until
from tests.support.web_process import WebServer, running_web

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage


@dataclass
class Post:
    """An authorization server with a mail server."""

    web: WebServer
    box: Mailbox

    def to(self, address: str) -> list[EmailMessage]:
        """The mails to an address, in their order."""
        return [mail for mail in self.box.mails if mail["To"] == address]

    def arrived(self, address: str, number: int = 1) -> EmailMessage:
        """Wait until so many mails to this address are there; the last one."""
        until(lambda: len(self.to(address)) >= number, f"mail {number} to {address}")
        return self.to(address)[number - 1]

    def waiting(self) -> int:
        """The number of mails that wait."""
        with self.web.redis.client() as redis:
            return int(redis.zcard(keyspace.MAILS))

    def figure(self, name: str, **labels: str) -> float:
        """A metric of the authorization server about mails."""
        page = httpx2.get(f"http://{self.web.environment['WEB_METRICS_LISTEN']}/metrics", timeout=60).text
        return read_samples(page)[f"portcullis_mails_{name}", tuple(labels.items())]

    def hurry(self) -> None:
        """Let the next attempt of all mails be due."""
        with self.web.redis.client() as redis:
            for mail_id in redis.zrange(keyspace.MAILS, 0, -1):
                redis.zadd(keyspace.MAILS, {mail_id: 0}, xx=True)


@pytest.fixture(scope="module")
def post() -> Iterator[Post]:
    with mail_server() as box:
        settings = {
            "WEB_METRICS_LISTEN": f"127.0.0.1:{free_port()}",
            "ALLOWED_GITHUB_USERS": "*",
            "MAIL_SERVER": f"127.0.0.1:{box.port}",
            "MAIL_TLS": "off",
            "MAIL_FROM": "gate@example.com",
            "MAIL_CONFIRMATIONS_PER_ADDRESS_A_DAY": "3",
            "MAIL_CONFIRMATIONS_PER_USER_A_DAY": "5",
            "MAILS_PER_USER_A_DAY": "5",
        }
        with running_web(settings) as web:
            yield Post(web, box)


@pytest.fixture(autouse=True)
def takes_mails(post: Post) -> Iterator[None]:
    yield
    post.box.answer = "250 OK"
    post.hurry()
    until(lambda: post.waiting() == 0, "no mail to wait")


def somebody() -> str:
    """A login that no other test uses."""
    return f"p{secrets.token_hex(6)}"


def address_of(login: str) -> str:
    return f"{login}@example.com"


def text_of(mail: EmailMessage) -> str:
    return str(mail.get_content())


def token_of(mail: EmailMessage) -> str:
    """The secret of the link in a confirmation."""
    (link,) = re.findall(r"\S+/account/mail/confirm\?\S+", text_of(mail))
    (token,) = parse_qs(urlsplit(link).query)["token"]
    return str(token)


async def signed_in(client: OAuthClient, login: str) -> None:
    to_github = await client.http.post(f"{client.issuer}/account/sign-in")
    await client.http.get(await client.from_github(to_github, login))


async def page_of(client: OAuthClient) -> str:
    return (await client.http.get(f"{client.issuer}/account")).text


async def press(client: OAuthClient, path: str, **form: str) -> httpx2.Response:
    token = form_value(await page_of(client), "form_token")
    return await client.http.post(f"{client.issuer}/account/{path}", data={"form_token": token, **form})


async def enter(client: OAuthClient, address: str, *kinds: MailKind) -> httpx2.Response:
    return await press(client, "mail", address=address, **dict.fromkeys(kinds or tuple(MailKind), "yes"))


async def confirmed(post: Post, client: OAuthClient, login: str, *kinds: MailKind) -> str:
    """Sign in, and enter and confirm an address; returns it."""
    address = address_of(login)
    await signed_in(client, login)
    assert (await enter(client, address, *kinds)).status_code == 303
    done = await press(client, "mail/confirm", token=token_of(post.arrived(address)))
    assert done.status_code == 303, done.text
    return address


async def connect(client: OAuthClient, login: str, name: str) -> tuple[str, str]:
    """Let an app of this name act for the person; its id and its refresh token."""
    registration, pkce = await client.register(client_name=name), Pkce.fresh()
    came_back = await client.authorize(client.authorize_url(registration.client_id, pkce.challenge), login)
    answer = await client.redeem(registration.client_id, came_back["code"], pkce.verifier)
    assert answer.status_code == 200, answer.text
    return registration.client_id, answer.json()["refresh_token"]


@pytest.fixture
async def client(post: Post) -> Iterator[OAuthClient]:  # type: ignore[misc]
    async with OAuthClient(post.web.issuer) as found:
        yield found


async def test_an_app_that_gets_access_is_reported_without_a_text_of_the_app(
    post: Post, client: OAuthClient
) -> None:
    login = somebody()
    address = await confirmed(post, client, login)
    client.http.headers["X-Portcullis-Address"] = "203.0.113.7"
    client_id, _ = await connect(client, login, "Visit https://evil.example now")
    mail = post.arrived(address, 2)
    text = text_of(mail)
    assert (mail["Subject"], mail["From"]) == ("A new app got access", "gate@example.com")
    assert "An app got access." in text
    assert "from the address 203.0.113.7" in text
    assert "evil.example" not in mail.as_string()
    assert client_id not in mail.as_string()
    assert set(re.findall(r"https?://\S+", text)) == {f"{post.web.issuer}/account"}
    assert mail.get_content_type() == "text/plain"
    assert mail["Auto-Submitted"] == "auto-generated"


async def test_an_address_counts_only_after_its_owner_confirmed_it(post: Post, client: OAuthClient) -> None:
    login = somebody()
    address = address_of(login)
    await signed_in(client, login)
    await enter(client, address)
    token = token_of(post.arrived(address))
    link = f"{post.web.issuer}/account/mail/confirm"
    for _ in range(2):  # a program that looks at links
        assert (await client.http.get(link, params={"token": token})).status_code == 200
    assert "Mails about your access go to" not in await page_of(client)
    async with OAuthClient(post.web.issuer) as elsewhere:
        await connect(elsewhere, login, "Early")
    assert (await press(client, "mail/confirm", token=token)).status_code == 303
    assert address in html.unescape(await page_of(client))
    await connect(client, login, "Late")
    post.arrived(address, 2)
    assert len(post.to(address)) == 2, "nothing about the time before"
    assert (await press(client, "mail/confirm", token=token)).status_code == 403, "it works once"


async def test_a_link_waits_no_longer_for_the_mail_server_than_it_works(post: Post, client: OAuthClient) -> None:
    login = somebody()
    await signed_in(client, login)
    post.box.answer = "451 Try again later"
    before = post.box.attempts
    await enter(client, address_of(login))
    until(lambda: post.box.attempts > before)
    with post.web.redis.client() as redis:
        [mail_id] = redis.zrange(keyspace.MAILS, 0, -1)
        assert 0 < redis.ttl(keyspace.mail(mail_id)) <= PENDING_LIFETIME


async def test_a_link_works_only_in_the_session_that_requested_it(post: Post, client: OAuthClient) -> None:
    login = somebody()
    address = address_of(login)
    await signed_in(client, login)
    await enter(client, address)
    token = token_of(post.arrived(address))
    for other_login in (login, somebody()):
        async with OAuthClient(post.web.issuer) as other:
            refused = await other.http.get(f"{other.issuer}/account/mail/confirm", params={"token": token})
            assert refused.status_code == 403
            await signed_in(other, other_login)
            assert (await press(other, "mail/confirm", token=token)).status_code == 403
            assert "Mails about your access go to" not in await page_of(other)
    assert (await press(client, "mail/confirm", token=token)).status_code == 303, "others did not use it up"


async def test_every_form_needs_the_token_of_its_session(post: Post, client: OAuthClient) -> None:
    await signed_in(client, somebody())
    for path in ("mail", "mail/confirm", "mail/kinds", "mail/remove"):
        for form in ({"form_token": ""}, {"form_token": "x" * 43}):
            answer = await client.http.post(f"{post.web.issuer}/account/{path}", data=form)
            assert answer.status_code == 403, path


async def test_only_what_a_person_chose_is_mailed_and_they_can_choose_again(
    post: Post, client: OAuthClient
) -> None:
    login = somebody()
    address = await confirmed(post, client, login, MailKind.BLOCKED)
    await connect(client, login, "Unmailed")
    assert (await press(client, "mail/kinds", new_app="yes", blocked="yes", unknown="yes")).status_code == 303
    await connect(client, login, "Mailed")
    post.arrived(address, 2)
    assert [mail["Subject"] for mail in post.to(address)] == ["Confirm your mail address", "A new app got access"]


async def test_a_block_and_a_reused_key_are_mailed(post: Post, client: OAuthClient) -> None:
    login = somebody()
    address = await confirmed(post, client, login, MailKind.BLOCKED, MailKind.KEY_REUSED)
    client_id, oldest = await connect(client, login, "Stolen")
    current = oldest
    for _ in range(2):
        current = (await client.refresh(client_id, current)).json()["refresh_token"]
    post.web.let_pass_since_refreshes(oldest, 11)
    assert (await client.refresh(client_id, oldest)).status_code == 400
    assert post.arrived(address, 2)["Subject"] == "A key of an app was used twice"
    done = forks.run(
        "portcullis", "users", "block", login, "--reason", "see evil.example", environment=post.web.environment
    )
    assert done.returncode == 0, done.stderr
    mail = post.arrived(address, 3)
    assert "You were blocked." in text_of(mail)
    assert "evil.example" not in mail.as_string(), "the reason is on the account page only"


async def test_a_sign_in_from_a_new_country_is_mailed_and_on_the_page(post: Post, client: OAuthClient) -> None:
    login = somebody()
    address = await confirmed(post, client, login, MailKind.NEW_COUNTRY)
    arguments = ("users", "notify-new-country", login, "--reason", "see evil.example")
    done = forks.run("portcullis", *arguments, environment=post.web.environment)
    assert done.returncode == 0, done.stderr
    mail = post.arrived(address, 2)
    assert mail["Subject"] == "A sign-in from a new country"
    assert "You signed in from a new country." in text_of(mail)
    page = await page_of(client)
    assert "You signed in from a new country" in page
    assert "evil.example" not in page


async def test_a_mail_program_unsubscribes_with_one_request_without_a_session(
    post: Post, client: OAuthClient
) -> None:
    login = somebody()
    address = await confirmed(post, client, login)
    await connect(client, login, "App")
    mail = post.arrived(address, 2)
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    url = str(mail["List-Unsubscribe"]).strip("<>")
    async with OAuthClient(post.web.issuer) as program:
        wrong = url[:-1] + ("A" if url[-1] != "A" else "B")
        body = {"List-Unsubscribe": "One-Click"}
        assert (await program.http.get(url)).status_code == 303
        assert (await program.http.post(wrong, data=body)).status_code == 204
        assert address in html.unescape(await page_of(client)), "looking, and a wrong code, change nothing"
        assert (await program.http.post(url, data=body)).status_code == 204
    assert address not in html.unescape(await page_of(client))
    assert (await client.http.post(url, data=body)).status_code == 204


async def test_a_mail_that_was_not_taken_waits_and_is_sent_later(post: Post, client: OAuthClient) -> None:
    login = somebody()
    address = await confirmed(post, client, login)
    post.box.answer = "451 Try again later"
    before = post.box.attempts
    await connect(client, login, "App")
    until(lambda: post.box.attempts > before, "an attempt")
    until(lambda: "mail.not_sent" in post.web.log.read_text(), "a line in the log")
    assert post.waiting() == 1
    assert address not in post.web.log.read_text()
    post.box.answer = "250 OK"
    post.hurry()
    post.arrived(address, 2)
    until(lambda: post.waiting() == 0)


async def test_a_mail_that_is_refused_permanently_is_not_sent_again(post: Post, client: OAuthClient) -> None:
    login = somebody()
    address = await confirmed(post, client, login)
    post.box.answer = "554 No"
    await connect(client, login, "App")
    until(lambda: "mail.refused" in post.web.log.read_text())
    until(lambda: post.waiting() == 0)
    assert len(post.to(address)) == 1


async def test_a_mail_that_cannot_be_written_or_read_holds_no_mail_of_other_people(
    post: Post, client: OAuthClient
) -> None:
    hostile = "=?utf-8?q??=@example.com"  # no address that is accepted: `email` cannot write it
    strange = {"github_id": 1, "queued_at": 1, "notice": {"kind": "of a newer version", "at": 1}}
    texts = {
        "hostile": json.dumps({"github_id": 1, "queued_at": 1, "address": hostile}),
        "strange": json.dumps(strange),
    }
    with post.web.redis.client() as redis:
        for mail_id, text in texts.items():
            place = keyspace.mail(mail_id)
            redis.set(place, RECORD_KEY.seal(place, text), ex=3600)
            redis.zadd(keyspace.MAILS, {mail_id: 0})
        address = await confirmed(post, client, somebody())
        assert len(post.to(address)) == 1
        assert redis.zscore(keyspace.MAILS, "hostile") is None
        assert redis.zscore(keyspace.MAILS, "strange") > 0, "it waits"
        redis.zrem(keyspace.MAILS, "strange")
    assert hostile not in post.web.log.read_text()


async def test_an_address_of_a_newer_version_stops_no_sign_in_and_not_the_page(
    post: Post, client: OAuthClient
) -> None:
    login = somebody()
    with post.web.redis.client() as redis:
        before = set(redis.scan_iter("contact:*"))
        await confirmed(post, client, login)
        [place] = set(redis.scan_iter("contact:*")) - before
        text = {"address": address_of(login), "kinds": ["of a newer version"], "confirmed_at": 1}
        redis.set(place, RECORD_KEY.seal(place, json.dumps(text)))
    await connect(client, login, "App")
    assert "Mails about your access go to" not in await page_of(client)


async def test_a_person_who_removes_the_address_gets_nothing_that_waits(post: Post, client: OAuthClient) -> None:
    login = somebody()
    address = await confirmed(post, client, login)
    post.box.answer = "451 Try again later"
    before = post.box.attempts
    await connect(client, login, "App")
    until(lambda: post.box.attempts > before)
    assert (await press(client, "mail/remove")).status_code == 303
    post.box.answer = "250 OK"
    post.hurry()
    until(lambda: post.waiting() == 0)
    assert [mail["Subject"] for mail in post.to(address)] == [
        "Confirm your mail address",
        "Your mails about your access were changed",
    ]


async def test_an_address_that_gets_less_gets_a_mail_about_each_change(post: Post, client: OAuthClient) -> None:
    login = somebody()
    first = await confirmed(post, client, login)
    second = f"second-{first}"
    await enter(client, second)
    await press(client, "mail/confirm", token=token_of(post.arrived(second)))
    changed = "Your mails about your access were changed"
    assert post.arrived(first, 2)["Subject"] == changed, "replaced by another address"
    assert set(re.findall(r"https?://\S+", text_of(post.arrived(first, 2)))) == {f"{post.web.issuer}/account"}
    await press(client, "mail/kinds", **dict.fromkeys(MailKind, "yes"))
    await press(client, "mail/kinds", new_app="yes")
    assert post.arrived(second, 2)["Subject"] == changed, "fewer kinds"
    await press(client, "mail/remove")
    assert post.arrived(second, 3)["Subject"] == changed, "removed"
    until(lambda: post.waiting() == 0)
    assert (len(post.to(first)), len(post.to(second))) == (2, 3)


async def test_entering_many_addresses_uses_up_no_mails_about_notices(post: Post, client: OAuthClient) -> None:
    login = somebody()
    address = await confirmed(post, client, login)
    limit = int(post.web.environment["MAIL_CONFIRMATIONS_PER_USER_A_DAY"])
    victims = [address_of(somebody()) for _ in range(limit + 1)]
    for victim in victims:
        await enter(client, victim)
    await connect(client, login, "App")
    post.arrived(address, 2)
    until(lambda: post.waiting() == 0)
    assert sum(len(post.to(victim)) for victim in victims) == limit - 1, "the first one was the confirmed address"


async def test_redis_never_has_an_address_in_plain_text(post: Post, client: OAuthClient) -> None:
    login = somebody()
    address = await confirmed(post, client, login)
    await signed_in(client, login)
    await enter(client, f"second-{address}")
    post.box.answer = "451 Try again later"
    await connect(client, login, "App")
    with post.web.redis.client() as redis:
        for key in redis.scan_iter():
            name = key if isinstance(key, str) else key.decode()
            assert address not in name
            if redis.type(key) in {"string", b"string"}:
                assert login not in str(redis.get(key)) or not name.startswith(("contact", "mail"))


async def test_one_mailbox_gets_few_confirmations_from_all_people_together(post: Post) -> None:
    victim = address_of(somebody())
    spellings = (victim, victim.upper(), victim.replace("@", "+tag@"), victim.replace("p", "p."), victim)
    for spelling in spellings:
        async with OAuthClient(post.web.issuer) as client:
            await signed_in(client, somebody())
            answer = await enter(client, spelling)
            # The answer does not show that there is a limit that other people reached.
            assert answer.headers["Location"].endswith("/account?done=mail-asked#mails")
    until(lambda: post.waiting() == 0)
    got = [mail for mail in post.box.mails if str(mail["To"]).lower().replace("+tag", "") == victim]
    assert len(got) == 3


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nobody",
        "a@b",
        "a@example.com\r\nBcc: b@example.com",
        "a b@example.com",
        "<a@example.com>",
        "a@example.com,b@example.com",
        '"a"@example.com',
        "=?utf-8?q?a=0D=0ABcc=3Ab=40example.com?=@example.com",
        "a@[127.0.0.1]",
        "a@-example.com",
        "\u00e4@example.com",
        f"{'a' * 65}@example.com",
        f"a@{'b.' * 130}com",
    ],
)
async def test_a_text_that_is_no_address_is_refused(post: Post, client: OAuthClient, address: str) -> None:
    await signed_in(client, somebody())
    assert (await enter(client, address)).status_code == 400
    assert post.waiting() == 0


async def test_the_metrics_count_mails_that_are_sent_fail_wait_and_are_refused(
    post: Post, client: OAuthClient
) -> None:
    sent, failed = post.figure("total", result="sent"), post.figure("total", result="failed")
    login = somebody()
    await confirmed(post, client, login)
    until(lambda: post.figure("total", result="sent") == sent + 1, "the count of the confirmation")
    until(lambda: post.figure("waiting") == 0, "no mail to wait")
    assert post.figure("oldest_waiting_seconds") == 0
    post.box.answer = "451 later"
    await connect(client, login, "App")
    until(lambda: post.figure("total", result="failed") == failed + 1, "the count of the failed attempt")
    assert post.figure("waiting") == 1
    until(lambda: post.figure("oldest_waiting_seconds") > 0, "the age of the mail to grow")
    refused = post.figure("total", result="refused")
    post.box.answer = "550 no such mailbox"
    post.hurry()
    until(lambda: post.figure("total", result="refused") == refused + 1, "the count of the refusal")
    until(lambda: post.figure("waiting") == 0, "no mail to wait")


async def test_a_mail_whose_time_is_up_is_counted_as_given_up(post: Post, client: OAuthClient) -> None:
    login = somebody()
    await confirmed(post, client, login)
    until(lambda: post.waiting() == 0, "no mail to wait")
    given_up = post.figure("total", result="given_up")
    post.box.answer = "451 later"
    await connect(client, login, "App")
    with post.web.redis.client() as redis:
        (mail_id,) = redis.zrange(keyspace.MAILS, 0, -1)
        redis.delete(keyspace.mail(str(mail_id)))
    post.hurry()
    until(lambda: post.figure("total", result="given_up") == given_up + 1, "the count")
