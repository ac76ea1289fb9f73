"""The account page reports events: sign-ins, apps that got or lost access, and why, with what to do."""

from __future__ import annotations

import html
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from oauth_core.flows.notices import MOST_NOTICES, NOTICE_LIFETIME, Notice, NoticeKind
from oauth_core.settings.rates import RateSettings
from oauth_core.store import keyspace
from oauth_core.store.codec import location_in_hash
from oauth_core.store.records.contacts import ContactStore
from oauth_core.store.records.mail_queue import MailQueue
from oauth_core.store.records.notices import NoticeStore
from oauth_core.store.records.rate_limits import RateLimitStore
from tests.support import forks
from tests.support.master_key import RECORD_KEY
from tests.support.oauth_client import OAuthClient, Pkce, form_value
from tests.support.redis_groups import until
from tests.support.web_process import WebServer, running_web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.asyncio import Redis

_REUSED = "lost its access: its key was used twice"


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """A server for this module, on which every test uses its own people."""
    with running_web({"ALLOWED_GITHUB_USERS": "*"}) as server:
        yield server


@dataclass
class App:
    """An app that acts for a person."""

    name: str
    client_id: str
    management: dict[str, str]
    tokens: dict[str, Any]

    @property
    def person(self) -> int:
        claims = jwt.decode(self.tokens["access_token"], options={"verify_signature": False})
        return int(claims["sub"])

    @property
    def grant_id(self) -> str:
        return str(self.tokens["refresh_token"]).partition(".")[0]


def somebody() -> str:
    """A login that no other test uses."""
    return f"p{secrets.token_hex(6)}"


async def connected(
    client: OAuthClient,
    login: str,
    *,
    name: str | None = None,
    app_address: str | None = None,
    **metadata: object,
) -> App:
    name = name or f"App {secrets.token_hex(4)}"
    registration, pkce = await client.register(client_name=name, **metadata), Pkce.fresh()
    came_back = await client.authorize(client.authorize_url(registration.client_id, pkce.challenge), login)
    with_address = {"X-Portcullis-Address": app_address} if app_address else {}
    client.http.headers.update(with_address)
    answer = await client.redeem(registration.client_id, came_back["code"], pkce.verifier)
    assert answer.status_code == 200, answer.text
    return App(name, registration.client_id, registration.management, answer.json())


async def signed_in(client: OAuthClient, login: str) -> None:
    to_github = await client.http.post(f"{client.issuer}/account/sign-in")
    assert (await client.http.get(await client.from_github(to_github, login))).status_code == 303


async def page_of(client: OAuthClient) -> str:
    page = await client.http.get(f"{client.issuer}/account")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    return page.text


async def notices(client: OAuthClient) -> list[str]:
    """The notices on the page, the first at the top, each as the text that a person reads."""
    shown = (await page_of(client)).partition('<h2 id="notices">')[2].partition("</ol>")[0]
    items = re.findall(r"<li[^>]*>(.*?)</li>", shown, re.DOTALL)
    return [" ".join(html.unescape(re.sub(r"<[^>]*>", "", item)).split()) for item in items]


async def press(client: OAuthClient, action: str, **form: str) -> None:
    token = form_value(await page_of(client), "form_token")
    done = await client.http.post(f"{client.issuer}/account/{action}", data={"form_token": token, **form})
    assert done.status_code == 303, done.text


def operate(web: WebServer, *arguments: str, given: str = "") -> None:
    done = forks.run("portcullis", *arguments, environment=web.environment, given=given)
    assert done.returncode == 0, done.stderr


async def reuse(web: WebServer, client: OAuthClient, app: App) -> None:
    """Present a refresh token two generations after it was current, as a thief with an old copy does."""
    oldest = app.tokens["refresh_token"]
    current = oldest
    for _ in range(2):
        answer = await client.refresh(app.client_id, current)
        assert answer.status_code == 200, answer.text
        current = answer.json()["refresh_token"]
    web.let_pass_since_refreshes(oldest, 11)
    assert (await client.refresh(app.client_id, oldest)).status_code == 400


def store_of(redis: Redis) -> NoticeStore:
    contacts = ContactStore(redis, RECORD_KEY)
    mails = MailQueue(redis, RECORD_KEY, contacts, RateLimitStore(redis), RateSettings().rate_of)
    return NoticeStore(
        redis, RECORD_KEY, mails=mails, lost=lambda notice, error: pytest.fail(f"{notice}: {error}")
    )


def of(app: App, found: list[str]) -> list[str]:
    return [notice for notice in found if app.name in notice]


async def test_a_sign_in_and_a_new_app_are_reported_with_their_addresses_and_times(client: OAuthClient) -> None:
    login = somebody()
    client.http.headers["X-Portcullis-Address"] = "203.0.113.7"
    app = await connected(client, login, app_address="2001:db8:1:2:3::4")
    newest, first = await notices(client)
    assert newest.startswith(f"{app.name} got access")
    assert "from the address 2001:db8:1:2::/64" in newest
    assert "You can disconnect the app on this page at any time." in newest
    assert first.startswith("You signed in")
    assert "from the address 203.0.113.7" in first
    assert "sign out everywhere" in first
    for notice in (newest, first):
        assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", notice)
    connected_apps = (await page_of(client)).partition("</ul>")[0]
    assert "from 2001:db8:1:2::/64" in connected_apps


async def test_notices_of_other_people_are_not_on_the_page(web: WebServer, client: OAuthClient) -> None:
    app = await connected(client, somebody())
    other = await connected(client, somebody())
    await reuse(web, client, other)
    client.http.headers["X-Portcullis-Address"] = "198.51.100.9"
    await signed_in(client, "somebody-else")
    assert not of(app, await notices(client))
    assert not of(other, await notices(client)), "nothing of another person"


async def test_the_notice_of_a_reused_refresh_token_has_its_meaning_its_address_and_what_to_do(
    web: WebServer, client: OAuthClient
) -> None:
    app = await connected(client, somebody())
    client.http.headers["X-Portcullis-Address"] = "198.51.100.9"
    await reuse(web, client, app)
    newest, allowed, _ = await notices(client)
    assert newest.startswith(f"{app.name} {_REUSED}")
    assert "Perhaps another program has a copy of it." in newest
    assert "from the address 198.51.100.9" in newest
    assert "tell an operator" in newest
    assert "This access has ended since." in allowed


async def test_a_code_that_was_used_twice_is_explained(client: OAuthClient) -> None:
    login, pkce = somebody(), Pkce.fresh()
    registration = await client.register(client_name="Twice")
    came_back = await client.authorize(client.authorize_url(registration.client_id, pkce.challenge), login)
    answers = [await client.redeem(registration.client_id, came_back["code"], pkce.verifier) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 400]
    assert (await notices(client))[0].startswith("Twice lost its access: its code was used twice")


async def test_access_that_the_person_or_the_app_ended_is_reported(client: OAuthClient) -> None:
    login = somebody()
    disconnected, gave_back, deleted = [await connected(client, login) for _ in range(3)]
    await press(client, "disconnect", grant=disconnected.grant_id)
    revoked = {"client_id": gave_back.client_id, "token": gave_back.tokens["refresh_token"]}
    assert (await client.http.post(f"{client.issuer}/revoke", data=revoked)).status_code == 200
    address = f"{client.issuer}/register/{deleted.client_id}"
    assert (await client.http.delete(address, headers=deleted.management)).status_code == 204
    found = await notices(client)
    assert any(notice.startswith(f"{disconnected.name} was disconnected") for notice in found)
    assert any(notice.startswith(f"{gave_back.name} ended its own access") for notice in found)
    assert any(notice.startswith(f"{deleted.name} ended its own access") for notice in found), (
        "its name is known from the notice of its access, although its registration is gone"
    )


async def test_an_operators_commands_are_reported_with_their_reasons(web: WebServer, client: OAuthClient) -> None:
    login = somebody()
    apps = [await connected(client, login) for _ in range(4)]
    by_client, by_delete, by_grant, by_token = apps
    operate(web, "clients", "revoke", by_client.client_id, "--reason", "<b>it leaks</b>")
    operate(web, "clients", "delete", by_delete.client_id)
    operate(web, "grants", "revoke", by_grant.grant_id, "--reason", "audit of November")
    operate(web, "tokens", "revoke", "-", given=by_token.tokens["refresh_token"])
    found = await notices(client)
    for app in apps:
        ended = [notice for notice in of(app, found) if notice.startswith(f"{app.name} lost its access")]
        assert len(ended) == 1
        assert "An operator of this gateway ended it." in ended[0]
    assert "The operator's reason: <b>it leaks</b>" in of(by_client, found)[0]
    assert "audit of November" in of(by_grant, found)[0]
    assert "<b>" not in await page_of(client), "a reason is escaped"


async def test_a_block_is_reported_after_the_person_is_unblocked(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    login = somebody()
    app = await connected(client, login)
    operate(web, "users", "block", login, "--reason", "stolen laptop")
    assert "Sign in with GitHub" in await page_of(client), "a blocked person reads no notices"
    operate(web, "users", "unblock", login)
    await redis.delete(keyspace.cutoff_of_user(app.person))  # the second it was made is over
    await signed_in(client, login)
    found = await notices(client)
    (blocked,) = (notice for notice in found if notice.startswith("You were blocked"))
    assert "The operator's reason: stolen laptop" in blocked
    assert any(notice.startswith("Your block was ended") for notice in found)
    assert any(notice.startswith(f"{app.name} lost its access") for notice in found)


async def test_a_revocation_of_the_person_or_of_all_people_is_reported(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    login = somebody()
    app = await connected(client, login)
    operate(web, "users", "revoke", login, "--reason", "lost phone")
    await redis.delete(keyspace.cutoff_of_user(app.person))
    await signed_in(client, login)
    (revoked,) = (one for one in await notices(client) if one.startswith("An operator ended all your access"))
    assert "lost phone" in revoked
    operate(web, "tokens", "revoke", "--all", "--yes")
    ended_at = int(await redis.get(keyspace.CUTOFF_OF_ALL) or 0)
    await redis.set(keyspace.CUTOFF_OF_ALL, ended_at - 2)  # the second it was made is over
    await signed_in(client, login)
    assert any(one.startswith("All access to this gateway was ended") for one in await notices(client))


async def test_a_person_never_sees_notices_of_another_even_from_a_changed_redis(
    web: WebServer, redis: Redis
) -> None:
    async with OAuthClient(web.issuer) as one, OAuthClient(web.issuer) as other:
        theirs = await connected(one, somebody())
        mine = await connected(other, somebody())
        assert not of(theirs, await notices(other))
        copied = await redis.hgetall(keyspace.notices(theirs.person))
        assert copied
        for field, text in copied.items():
            await redis.hset(keyspace.notices(mine.person), str(field), str(text))
        await redis.hset(keyspace.notices(mine.person), "app_allowed:forged", "1 1 1 1 bm90aGluZw")
        await redis.hset(keyspace.notices(mine.person), "app_allowed:other", "nothing")
        found = await notices(other)
        assert of(mine, found)
        assert not of(theirs, found)


async def test_addresses_and_apps_of_notices_are_not_readable_in_redis(client: OAuthClient, redis: Redis) -> None:
    client.http.headers["X-Portcullis-Address"] = "203.0.113.200"
    app = await connected(client, somebody())
    stored = str(await redis.hgetall(keyspace.notices(app.person)))
    assert "203.0.113.200" not in stored
    assert app.name not in stored
    assert app.client_id not in stored
    assert 0 < await redis.ttl(keyspace.notices(app.person)) <= NOTICE_LIFETIME


async def test_names_of_apps_in_notices_are_escaped(client: OAuthClient) -> None:
    app = await connected(client, somebody(), name="</h3><script>alert(1)</script>")
    page = await page_of(client)
    assert "<script" not in page
    assert page.count("&lt;/h3&gt;&lt;script&gt;") >= 2
    assert of(app, await notices(client))


async def test_a_repeated_notice_is_one_entry_with_a_count(client: OAuthClient) -> None:
    login = somebody()
    for _ in range(3):
        await signed_in(client, login)
    (notice,) = await notices(client)
    assert "3 times since" in notice


async def test_a_flood_displaces_no_notice_of_another_kind_and_the_record_stays_small(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    app = await connected(client, somebody())
    await reuse(web, client, app)
    store = store_of(redis)
    (sample, *_) = await store.all(app.person, now=0)
    at = sample.latest.at
    for number in range(3 * MOST_NOTICES):
        long = Notice(NoticeKind.SIGNED_IN, at + 1, source=f"s{number}", client_name="n" * 5000, reason="r" * 5000)
        assert await store.add(app.person, long)
        url = f"https://{number}.example/{'x' * 5000}"
        assert await store.add(app.person, Notice(NoticeKind.APP_DISCONNECTED, at + 1, client_id=url))
    stored = await redis.hgetall(keyspace.notices(app.person))
    assert len(stored) == MOST_NOTICES
    assert sum(map(len, [*stored, *stored.values()])) < 100_000
    found = await notices(client)
    assert len(found) == MOST_NOTICES
    assert any(notice.startswith(f"{app.name} {_REUSED}") for notice in found)


async def test_notices_older_than_their_lifetime_are_neither_shown_nor_counted(
    client: OAuthClient, redis: Redis
) -> None:
    app = await connected(client, somebody())
    store = store_of(redis)
    (allowed, *_) = await store.all(app.person, now=0)
    now = allowed.latest.at
    old = now - NOTICE_LIFETIME - 60
    blocked = Notice(NoticeKind.BLOCKED, old, reason="long ago")
    await store.add(app.person, blocked)
    assert not any(one.startswith("You were blocked") for one in await notices(client))
    await store.add(app.person, Notice(NoticeKind.BLOCKED, now, reason="now"))
    (shown,) = (one for one in await notices(client) if one.startswith("You were blocked"))
    assert "times since" not in shown


async def test_a_notice_of_expired_access_says_so(client: OAuthClient, redis: Redis) -> None:
    app = await connected(client, somebody())
    store = store_of(redis)
    (allowed, *_) = await store.all(app.person, now=0)
    at = allowed.latest.at
    over = Notice(
        NoticeKind.APP_ALLOWED, at - 7200, client_id="gone", client_name="Gone", grant_id="gone", until=at - 3600
    )
    await store.add(app.person, over)
    (shown,) = (one for one in await notices(client) if one.startswith("Gone got access"))
    assert "because its time was up" in shown


async def test_access_ends_in_a_full_redis_although_no_notice_can_be_stored(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    app = await connected(client, somebody())
    page = await page_of(client)
    await redis.delete(keyspace.notices(app.person))
    jti = jwt.decode(app.tokens["access_token"], options={"verify_signature": False})["jti"]
    memory: Any = await redis.info("memory")
    await redis.config_set("maxmemory", memory["used_memory"] // 2)
    try:
        form = {"form_token": form_value(page, "form_token"), "grant": app.grant_id}
        done = await client.http.post(f"{client.issuer}/account/disconnect", data=form)
        assert done.status_code == 303, done.text
        assert not await redis.exists(keyspace.token(jti))
    finally:
        await redis.config_set("maxmemory", 0)
    assert not await redis.exists(keyspace.notices(app.person))
    until(lambda: "notice.lost" in web.log.read_text())
    assert "There is nothing to report." in await page_of(client)


async def test_a_reuse_that_is_only_refused_is_reported_too() -> None:
    with running_web({"ALLOWED_GITHUB_USERS": "*", "REFRESH_REUSE": "refuse"}) as server:
        async with OAuthClient(server.issuer) as client:
            app = await connected(client, somebody())
            await reuse(server, client, app)
            (newest, *_) = await notices(client)
            assert newest.startswith(f"{app.name} used an old key, which was refused")
            assert any("got access" in one and "You can disconnect" in one for one in await notices(client))


async def test_a_reason_of_any_bytes_does_not_stop_a_revocation_and_is_shown_as_one_line(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    """In a terminal of another encoding an accent is a byte that is not UTF-8; a text can also turn the line."""
    login, reason = somebody(), "caf\udce9 of\n\N{RIGHT-TO-LEFT OVERRIDE}today\x1b"
    by_client = await connected(client, login)
    operate(web, "clients", "revoke", by_client.client_id, "--reason", reason)
    assert "The operator's reason: caf? of today" in of(by_client, await notices(client))[0]
    by_grant = await connected(client, login)
    operate(web, "grants", "revoke", by_grant.grant_id, "--reason", reason)
    assert "The operator's reason: caf? of today" in of(by_grant, await notices(client))[0]
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in await page_of(client)
    operate(web, "users", "block", login, "--reason", reason)
    assert await redis.exists(keyspace.block(by_client.person))


async def test_a_revocation_of_siblings_reports_notices_that_cannot_be_stored_once(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    """They come after all siblings have ended. Otherwise each of thousands of siblings would wait for them."""
    same = {"name": f"App {secrets.token_hex(4)}", "software_version": "1"}
    people = []
    for _ in range(3):
        people.append(await connected(client, somebody(), **same))
        client.http.cookies.clear()
    for app in people:
        await redis.delete(keyspace.notices(app.person))
        await redis.set(keyspace.notices(app.person), "not a hash")
    arguments = ("clients", "revoke", people[1].client_id, "--siblings")
    done = forks.run("portcullis", *arguments, environment=web.environment)
    assert done.returncode == 0, done.stderr
    for app in people:
        assert not await redis.exists(keyspace.grant(app.grant_id))
    assert done.stderr.count("the account page will not report this") == 1


async def test_entries_that_this_version_never_writes_do_not_stop_the_page(
    client: OAuthClient, redis: Redis
) -> None:
    app = await connected(client, somebody())
    redis_key = keyspace.notices(app.person)
    before = await notices(client)
    field = "a_newer_kind:1"
    newer = RECORD_KEY.seal(location_in_hash(redis_key, field), '{"kind":"a_newer_kind","at":1}')
    await redis.hset(redis_key, field, f"1 1 1 1 {newer}")
    assert await notices(client) == before
    entries = {str(name): str(text) for name, text in (await redis.hgetall(redis_key)).items()}
    (signed_in_field,) = (name for name in entries if name.startswith("signed_in:"))
    for place in range(4):
        parts = entries[signed_in_field].split(" ")
        parts[place] = "9" * 5000
        await redis.hset(redis_key, signed_in_field, " ".join(parts))
        assert await notices(client) == before[:1], "the entry that Redis changed is left out"


async def test_apps_can_be_disconnected_while_notices_cannot_be_read(client: OAuthClient, redis: Redis) -> None:
    app = await connected(client, somebody())
    await redis.delete(keyspace.notices(app.person))
    await redis.set(keyspace.notices(app.person), "not a hash")
    assert "What happened cannot be shown at the moment." in await page_of(client)
    await press(client, "disconnect", grant=app.grant_id)
    assert not await redis.exists(keyspace.grant(app.grant_id))
