"""At each endpoint hostile addresses send all they can, and then other callers follow; see
`docs/generated/hostile.md`.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import httpx2
import pytest

from ext_authz.decision.fair_queue import FairQueue
from ext_authz.decision.resolver import MOST_WAITING
from oauth_core.crypto.credentials import hash_secret
from oauth_core.limits.rate_limits import Limit
from oauth_core.settings import EnvoySettings
from oauth_core.settings.rates import RateSettings
from oauth_core.store import keyspace
from oauth_core.store.records.devices import FIRST_ATTEMPTS_OF_AN_ADDRESS
from oauth_web.client_documents.budgets import NEW_OF_ONE_HOST, OF_ONE_CALLER, FetchSlots
from portcullis.envoy_config import overload
from portcullis.envoy_config.connection_limit import PART
from tests.envoy.connections_module import Host
from tests.envoy.process import never_refill
from tests.envoy.world import World, world_of
from tests.support.authz_process import USERS, AuthzProcess, environ, publish, remember, running_authz
from tests.support.check_messages import check_request, read_answer
from tests.support.device_flow import registered, started
from tests.support.master_key import age_documents
from tests.support.oauth_client import OAuthClient, Pkce
from tests.support.publisher import Page, Publisher, running_publisher
from tests.support.rates import USUAL
from tests.support.redis_server import RedisServer, running_redis
from tests.support.tokens import mint, new_key
from tests.support.web_process import WebServer, running_web
from tests.system.hostile import table
from tests.system.hostile.table import COUNTS, HONEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from oauth_core.jose.signing_keys import SigningKey

FIRST_USES = "first uses of tokens, while forged ones are sent"
NEW_DOCUMENTS = "documents of clients never seen before, at a host that is named in made-up URLs"
KNOWN_DOCUMENTS = "documents of clients known already, at such a host"
SLOTS = "fetches, while silent hosts are named"
SEEN: dict[str, dict[int, int]] = {}
WANTED = {
    "connections to Envoy": (20, 20, 20),
    "requests to a path of the authorization server": (20, 20, 0),
    FIRST_USES: (20, 20, 0),
    "user codes of devices": (20, 20, 0),
    NEW_DOCUMENTS: (20, 20, 0),
    KNOWN_DOCUMENTS: (20, 20, 20),
    SLOTS: (20, 20, 0),
}
"""For each limit, the number of served addresses, for each number of hostile addresses."""


def saw(door: str, hostile: int, served: int) -> None:
    """Record the result, and compare it with the required one."""
    SEEN.setdefault(door, {})[hostile] = served
    assert served == WANTED[door][COUNTS.index(hostile)]


@pytest.fixture(scope="module", autouse=True)
def _page() -> Iterator[None]:
    """Write the page after a complete run."""
    yield
    rows = {door: [SEEN[door][n] for n in COUNTS if n in SEEN.get(door, {})] for door in WANTED if door in SEEN}
    if rows.keys() == WANTED.keys() and all(len(served) == len(COUNTS) for served in rows.values()):
        table.RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        table.PAGE.write_text(table.page(rows), encoding="utf-8")


@pytest.fixture(scope="module")
def key() -> SigningKey:
    """The key that the check service trusts."""
    return new_key()


@pytest.fixture(scope="module")
def redis(key: SigningKey) -> Iterator[RedisServer]:
    with running_redis(password="admin-password-of-tests", users=USERS) as server:
        publish(server, key)
        yield server


@pytest.fixture(scope="module")
def check(redis: RedisServer) -> Iterator[AuthzProcess]:
    """A check service of one worker, so that it receives the whole flood."""
    with running_authz(environ(redis)) as service:
        service.wait_for_health("SERVING")
        yield service


@pytest.mark.parametrize("hostile", COUNTS)
def test_connections(hostile: int) -> None:
    """At the module that counts connections, with the numbers of the settings.

    `tests/envoy` tests it inside Envoy.
    """
    most = EnvoySettings.model_fields["connections_per_address"].default
    module = Host(f"{most} {overload.MOST_CONNECTIONS} {PART}".encode())
    for peer in (f"10.0.{number // 250}.{number % 250}:1" for number in range(hostile)):
        while module.opened(peer):
            pass
        module.ended(peer)
    served = sum(module.opened(f"192.0.2.{number}:1") for number in range(HONEST))
    saw("connections to Envoy", hostile, served if module.counted() <= overload.MOST_CONNECTIONS else 0)


@pytest.mark.parametrize("hostile", COUNTS)
def test_requests(hostile: int) -> None:
    """With a tenth of the usual rates, and a clock that does not advance."""
    with world_of(
        issuer="https://gate.example.com",
        local=False,
        change=never_refill,
        trusted_proxies=1,
        web_rate=50,
        web_rate_per_address=10,
        web_rate_reserved=1,
    ) as world:
        for number in range(hostile):
            for _ in range(max(1, min(60, 1000 // hostile))):
                _asked(world, f"10.{number // 250}.{number % 250}.1")
        served = sum(_asked(world, f"198.51.100.{number}") == 200 for number in range(HONEST))
    saw("requests to a path of the authorization server", hostile, served)


def _asked(world: World, address: str) -> int:
    return world.gate.ask("/token", method="POST", headers={"X-Forwarded-For": address}, body=b"x").status


@pytest.mark.parametrize("hostile", COUNTS[:2])
def test_first_uses(check: AuthzProcess, key: SigningKey, redis: RedisServer, hostile: int) -> None:
    """At a check service of one worker, while forged tokens want all of its places."""
    forger = replace(new_key(), kid=key.kid)
    forged = [mint(forger, jti=f"forged {hostile} {n}") for n in range(MOST_WAITING + 400)]
    tokens = [mint(key, jti=f"first {hostile} {n}") for n in range(HONEST)]
    for number in range(HONEST):
        remember(redis, f"first {hostile} {number}")
    flood = [
        check.start_check(check_request(token=token, source=f"10.0.0.{number % hostile}"))
        for number, token in enumerate(forged)
    ]
    others = [
        check.start_check(check_request(token=token, source=f"192.0.2.{number}"))
        for number, token in enumerate(tokens)
    ]
    served = sum(read_answer(call.result()).status == 200 for call in others)
    for call in flood:
        call.cancel()
    saw(FIRST_USES, hostile, served)


async def test_first_uses_beside_a_thousand() -> None:
    """At the queue alone: a real worker empties it meanwhile, so that its length depends on the machine."""
    (_, _, hostile), turns = COUNTS, FairQueue(MOST_WAITING)
    flood = [asyncio.create_task(turns.wait(f"hostile-{n % hostile}")) for n in range(3 * MOST_WAITING)]
    # The whole flood is in the queue before the first of the other callers, and before the first signature is
    # verified.
    others = [asyncio.create_task(turns.wait(f"other-{number}")) for number in range(HONEST)]
    served = sum(await asyncio.gather(*others))
    await asyncio.gather(*flood)
    saw(FIRST_USES, hostile, served)


# -- at the authorization server, which counts addresses by the header that Envoy sets ---------------------------

AT_ONCE = 4
_PATH = count()


@pytest.fixture(scope="module")
def publisher() -> Iterator[Publisher]:
    with running_publisher() as publisher:
        yield publisher


@pytest.fixture(scope="module")
def _web(publisher: Publisher) -> Iterator[WebServer]:
    files = {"CLIENT_DOCUMENTS_CA_FILE": str(publisher.ca_file), "ALLOW_LOOPBACK_CLIENT_DOCUMENTS": "true"}
    with running_web(USUAL | files) as server:
        yield server


@pytest.fixture
def web(_web: WebServer) -> WebServer:
    """The authorization server, with the usual limits. Its counts are zero."""
    _forget_counts(_web)
    return _web


def _forget_counts(web: WebServer) -> None:
    with web.redis.client() as redis:
        for pattern in ("rate:*", "document-fetches:*", "device-*attempts*"):
            for key in redis.scan_iter(pattern):
                redis.delete(key)


def _counted(web: WebServer, key: str, number: int = 1) -> None:
    """Set the count under `key` to `number`, in a minute that does not end while the test runs."""
    with web.redis.client() as redis:
        redis.set(key, number)


class Callers:
    """Callers from any address, with a new browser for each request."""

    def __init__(self, web: WebServer) -> None:
        self._issuer = web.issuer
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        self._http = httpx2.AsyncClient(timeout=120, cookies=no_cookies)
        self._places = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> Callers:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def types(self, address: str, user_code: str) -> int:
        """Submit a user code."""
        async with self._places:
            answer = await self._http.post(
                f"{self._issuer}/device",
                data={"user_code": user_code},
                headers={"X-Portcullis-Address": address},
            )
        return answer.status_code

    async def names(self, address: str, client_id: str) -> int:
        """Begin a sign-in with the client `client_id`."""
        query = urlencode(
            {
                "response_type": "code",
                "client_id": client_id,
                "redirect_uri": "http://127.0.0.1:7777/callback",
                "code_challenge": Pkce.fresh().challenge,
                "code_challenge_method": "S256",
            }
        )
        answer = await self._http.get(
            f"{self._issuer}/authorize?{query}", headers={"X-Portcullis-Address": address}
        )
        return answer.status_code

    async def name_all(self, each: Iterable[tuple[str, str]]) -> list[int]:
        """Do that for each pair of an address and a client, some at a time."""

        async def one(address: str, client_id: str) -> int:
            async with self._places:
                return await self.names(address, client_id)

        return await asyncio.gather(*(one(*pair) for pair in each))


def _hostile(number: int) -> str:
    return f"10.{number // 250}.{number % 250}.1"


@pytest.mark.parametrize("hostile", COUNTS)
async def test_user_codes(web: WebServer, hostile: int) -> None:
    """Of the five first attempts of a thousand addresses four are written into the counter, and one is made."""
    async with OAuthClient(web.issuer) as device:
        code = (await started(device, await registered(device)))["user_code"]
    many = hostile == COUNTS[-1]
    so_far = (FIRST_ATTEMPTS_OF_AN_ADDRESS - 1) * hostile if many else 1
    _counted(web, keyspace.DEVICE_FIRST_ATTEMPTS, so_far)
    _counted(web, keyspace.DEVICE_ATTEMPTS)
    attempts = 1 if many else RateSettings().rate_of(Limit.USER_CODES_PER_ADDRESS).count
    async with Callers(web) as callers:
        wrong = [callers.types(_hostile(n % hostile), "BCDF-GHJK") for n in range(attempts * hostile)]
        assert 400 in await asyncio.gather(*wrong), "some attempts of the attacker counted"
        served = [await callers.types(f"198.51.100.{number}", code) for number in range(HONEST)]
    assert set(served) <= {200, 429}
    saw("user codes of devices", hostile, served.count(200))


def _fetches_of(whose: str, publisher: Publisher) -> str:
    return keyspace.document_fetches(hash_secret(f"{whose} {publisher.host}"))


@pytest.mark.parametrize("hostile", COUNTS)
async def test_documents(web: WebServer, publisher: Publisher, hostile: int) -> None:
    """All at one host, which answers each invented URL with 404.

    Most fetches of a thousand are counted beforehand.
    """
    known = [publisher.client(f"/known/{next(_PATH)}.json") for _ in range(HONEST)]
    new = [publisher.client(f"/new/{next(_PATH)}.json") for _ in range(HONEST)]
    async with Callers(web) as callers:
        before = await callers.name_all((f"203.0.113.{n}", client_id) for n, client_id in enumerate(known))
        assert before == [200] * HONEST
        _forget_counts(web)
        with web.redis.client() as redis:
            age_documents(redis, int(time.time()) - 3600)
        many = hostile == COUNTS[-1]
        _counted(web, _fetches_of("new", publisher), NEW_OF_ONE_HOST - 100 if many else 1)
        _counted(web, _fetches_of("known", publisher))
        each = 1 if many else 20
        await callers.name_all(
            (_hostile(n % hostile), publisher.url(f"/made-up/{next(_PATH)}")) for n in range(each * hostile)
        )
        seen_new = await callers.name_all((f"198.51.100.{n}", client) for n, client in enumerate(new))
        seen_known = await callers.name_all((f"192.0.2.{n}", client) for n, client in enumerate(known))
    assert set(seen_new + seen_known) <= {200, 429}
    saw(NEW_DOCUMENTS, hostile, seen_new.count(200))
    saw(KNOWN_DOCUMENTS, hostile, seen_known.count(200))


@pytest.mark.parametrize("hostile", COUNTS[:2])
async def test_slots(web: WebServer, publisher: Publisher, hostile: int) -> None:
    """Each hostile address names silent documents, until it has all the fetches in progress that it may."""
    gate = threading.Event()
    silent = [f"/silent/{next(_PATH)}" for _ in range(2 * OF_ONE_CALLER * hostile)]
    for path in silent:
        publisher.pages[path] = Page(b"{}", gate=gate)
    new = [publisher.client(f"/beside/{next(_PATH)}.json") for _ in range(HONEST)]
    async with Callers(web) as callers:
        flood = [
            asyncio.create_task(callers.names(_hostile(number % hostile), publisher.url(path)))
            for number, path in enumerate(silent)
        ]
        try:
            async with asyncio.timeout(120):
                while sum(publisher.pages[path].reached.is_set() for path in silent) < OF_ONE_CALLER * hostile:  # noqa: ASYNC110 - a thread sets them
                    await asyncio.sleep(0.02)
            served = await callers.name_all((f"198.51.100.{n}", client) for n, client in enumerate(new))
        finally:
            gate.set()
            await asyncio.gather(*flood)
    saw(SLOTS, hostile, served.count(200))


def test_slots_beside_a_thousand() -> None:
    """At the slots alone: in a real server a silent fetch ends after a while, on a slow machine before the other
    callers arrive.
    """
    hostile, slots = COUNTS[-1], FetchSlots()
    for number in range(hostile):
        for _ in range(20):
            slots.take(f"hostile {number}")
    saw(SLOTS, hostile, sum(slots.take(f"other {n}") for n in range(HONEST)))


def test_the_page_has_the_results_of_the_last_run() -> None:
    rows = json.loads(table.RESULTS.read_text(encoding="utf-8"))
    assert table.PAGE.read_text(encoding="utf-8") == table.page(rows)
    assert rows == {door: list(served) for door, served in WANTED.items()}
