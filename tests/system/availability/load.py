"""Callers with a steady rate during an event, and the answers that each of them got.

Each uses one Envoy, and another only if the first refuses the connection, so no request is ever sent twice. A
failed refresh is repeated with the same token, as clients do. Some callers use revoked tokens.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from tests.support.programs import until
from tests.system.availability.site import Held, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BOUND = 1.0
"""Seconds after which a revoked token must not be allowed any more, during any event: the default of the setting.
"""

CONNECTION = "connection"
TRY_AGAIN = frozenset({"503", CONNECTION})
"""Failures that tell a client to retry later and keep its tokens."""

CALLERS = 4
"""The number of callers of the service, and so the largest number of simultaneous calls."""

SIGN_IN_AGAIN = "400 invalid_grant"
GOOD = "200"

_ANSWER_SECONDS = 60.0
_GRANTS = 4
_PACES = {"call": 0.1, "refresh": 0.25, "discovery": 0.25, "revoked": 0.1}
_CALM = {"call": 40, "refresh": 4, "discovery": 4}
"""This number of consecutive successful answers means that the service is healthy."""


@dataclass(frozen=True)
class Seen:
    """One answer, or none: its kind, and its time, in seconds of one clock."""

    at: float
    stream: str
    kind: str


@dataclass
class Account:
    """All answers since a time at which every caller was served."""

    since: float = field(default_factory=time.monotonic)
    seen: list[Seen] = field(default_factory=list)

    def kinds(self, stream: str) -> Counter[str]:
        """The number of answers of each kind."""
        return Counter(one.kind for one in self.seen if one.stream == stream)

    def failed(self, *streams: str) -> Counter[str]:
        """The number of answers that were no success, by kind."""
        found = sum((self.kinds(stream) for stream in streams), Counter[str]())
        del found[GOOD]
        return found

    def longest_gap(self, stream: str) -> float:
        """The longest time in seconds without a successful answer."""
        good = sorted(one.at for one in self.seen if one.stream == stream and one.kind == GOOD)
        return max(later - earlier for earlier, later in pairwise([self.since, *good, good[-1]]))


def assert_bounded(account: Account, *, lost_writes: int = 0) -> None:
    """Assert that no revoked token passed, and that every other refusal asked the caller to retry.

    Except for `lost_writes` callers: they may have to sign in again, because a write that Redis had
    acknowledged was lost with it.
    """
    assert account.kinds("revoked")[GOOD] == 0
    assert account.kinds("revoked")["401"] > 0
    failed = account.failed("call", "discovery", "refresh")
    assert failed[SIGN_IN_AGAIN] <= lost_writes, failed
    assert failed.keys() <= TRY_AGAIN | {SIGN_IN_AGAIN}, failed


class Front:
    """The gateway as callers reach it: through either Envoy."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._turns = count()

    def call(self, token: str) -> str:
        """Call a tool with this token. Return the kind of the answer."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "now"}})
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return self.ask("POST", "/time/mcp", headers, body)[0]

    def post(self, path: str, form: dict[str, str]) -> tuple[str, Any]:
        """Send a form. Return the kind of the answer and its JSON."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        kind, body = self.ask("POST", path, headers, urlencode(form))
        return kind, json.loads(body) if body else {}

    def revoke(self, held: Held) -> None:
        """Revoke (RFC 7009), and retry until it succeeds. Return when no token of the grant may pass any more."""
        form = {"client_id": held.client_id, "token": held.refresh_token}
        until(lambda: self.post("/revoke", form)[0] == GOOD, "a revocation to be taken")
        time.sleep(BOUND)

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: str | None = None
    ) -> tuple[str, bytes]:
        """Use one Envoy, or the next if it refuses. Return the status, or the error, and the body."""
        first = next(self._turns)
        envoys = [envoy for envoy in self._site.envoys if envoy.takes_callers]
        for number in range(len(envoys)):
            envoy = envoys[(first + number) % len(envoys)]
            connection = http.client.HTTPConnection("127.0.0.1", envoy.port, timeout=_ANSWER_SECONDS)
            with contextlib.closing(connection):
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    continue
                except OSError:
                    return CONNECTION, b""
                try:
                    host = urlsplit(self._site.issuer).netloc
                    connection.request(method, path, body, {"Host": host, **(headers or {})})
                    answer = connection.getresponse()
                    return str(answer.status), answer.read()
                except (OSError, http.client.HTTPException):
                    return CONNECTION, b""
        return CONNECTION, b""


class Load:
    """The callers. Use `loading`."""

    def __init__(self, site: Site, grants: list[Held], spare: list[Held]) -> None:
        """`grants` are used and refreshed; `spare` ones are revoked, the first before the load begins."""
        self._account = Account()
        self._front = Front(site)
        self._grants = grants
        self._spare = spare
        self._revoked: list[str] = []
        self._row: Counter[str] = Counter()
        self._over = threading.Event()
        self._lock = threading.Lock()
        streams: list[tuple[str, Callable[[int], str]]] = [("call", self._call)] * CALLERS
        streams += [("refresh", self._refresh), ("discovery", self._discover), ("revoked", self._try_revoked)]
        self._threads = [threading.Thread(target=self._keep, args=stream) for stream in streams]

    def start(self) -> None:
        """Start the callers."""
        self._revoke_one()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop the callers."""
        self._over.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def settle(self) -> None:
        """Return when all callers have been served for a while."""
        with self._lock:
            self._row.clear()
        until(
            lambda: all(self._row[stream] >= wanted for stream, wanted in _CALM.items()),
            f"everybody to be served again: {self._account.seen[-20:]}",
        )

    def during(self, event: Callable[[], object]) -> Account:
        """The answers from a time when all callers are served, during `event`, and until all are served again.

        Right after the event one grant is revoked through the public endpoint.
        """
        self.settle()
        with self._lock:
            self._account = account = Account()
        event()
        self._revoke_one()
        self.settle()
        with self._lock:
            self._account = Account()
        return account

    def _revoke_one(self) -> None:
        """Revoke, and try from then on whether the token passes."""
        held = self._spare.pop()
        self._front.revoke(held)
        self._revoked.append(held.access_token)

    def _keep(self, stream: str, ask: Callable[[int], str]) -> None:
        turn = 0
        while not self._over.wait(_PACES[stream]):
            kind = ask(turn := turn + 1)
            with self._lock:
                self._account.seen.append(Seen(time.monotonic(), stream, kind))
                self._row[stream] = self._row[stream] + 1 if kind == GOOD else 0

    def _call(self, turn: int) -> str:
        return self._front.call(self._grants[turn % len(self._grants)].access_token)

    def _try_revoked(self, turn: int) -> str:
        return self._front.call(self._revoked[turn % len(self._revoked)])

    def _discover(self, _: int) -> str:
        return self._front.ask("GET", "/.well-known/oauth-authorization-server")[0]

    def _refresh(self, turn: int) -> str:
        place = turn % len(self._grants)
        held = self._grants[place]
        form = {"grant_type": "refresh_token", "client_id": held.client_id, "refresh_token": held.refresh_token}
        kind, body = self._front.post("/token", form)
        if kind == GOOD:
            self._grants[place] = Held(held.client_id, body["access_token"], body["refresh_token"])
        return kind if kind != "400" else f"{kind} {body['error']}"


@contextmanager
def loading(site: Site, *, events: int = 1) -> Iterator[Load]:
    """Callers that run until the block ends, for `events` events."""
    signed_in = site.sign_in(_GRANTS + events + 1)
    load = Load(site, signed_in[:_GRANTS], signed_in[_GRANTS:])
    try:
        load.start()
        yield load
    finally:
        load.stop()
