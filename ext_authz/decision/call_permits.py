"""The permits of limits on calls in this process: taken without a wait, and got from Redis in batches.

`oauth_core.limits.accounts` has the rules and the proof of what all processes together let pass. This module keeps
an account for each subject of each limit, asks Redis for permits, and returns unused ones. Of one person, one
question to Redis is open at a time; callers that come meanwhile share the next one.

While Redis does not answer, this process counts alone, and tries once a second whether Redis counts again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Never

import structlog

from oauth_core.errors import StoreUnavailableError
from oauth_core.limits.accounts import Account
from oauth_core.limits.allowances import Moment
from oauth_core.process.metrics import Figures, labelled
from oauth_core.store.client_cache.lru_cache import LruCache
from oauth_core.store.records.call_permits import Demand

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from oauth_core.limits.accounts import Unused
    from oauth_core.limits.call_limits import Charge
    from oauth_core.store.records.call_permits import CallPermitStore

    _Key = tuple[str, str]

MOST_ACCOUNTS = 50_000
"""Accounts that certainly stay in memory, about 0.4 KB each; twice as many may."""

_LOOK_SECONDS = 1.0
_RETURNS_AT_ONCE = 100
_CLOSE_SECONDS = 1.0


class Refused(NamedTuple):
    """There is no permit of `charge` before `wait` microseconds have passed."""

    charge: Charge
    wait: int


class CallPermits:
    """Belongs to one event loop. Run `maintain` while it is used."""

    def __init__(
        self,
        store: CallPermitStore | None,
        *,
        steady: Callable[[], float],
        wall: Callable[[], float],
        size: int = MOST_ACCOUNTS,
    ) -> None:
        """Without `store` this process counts alone. `steady` and `wall` are clocks in seconds, as in `Moment`."""
        self._store = store
        self._steady = steady
        self._wall = wall
        self._accounts: LruCache[_Key, Account] = LruCache(size)
        self._holding: dict[_Key, tuple[Charge, Account]] = {}
        self._returns: list[tuple[Charge, Unused]] = []
        self._questions: dict[str, asyncio.Task[None]] = {}
        self._demands: dict[str, dict[_Key, tuple[Charge, int]]] = {}
        self._failed: Charge | None = None
        self._asked = self._given = self._returned = 0
        self._log = structlog.get_logger("call_limits")

    def __len__(self) -> int:
        return len(self._accounts)

    @property
    def is_alone(self) -> bool:
        """Whether this process counts alone now."""
        return self._store is None or self._failed is not None

    def take(self, charges: Sequence[Charge]) -> Refused | bool:
        """Use one permit of each charge: all or none.

        Returns `True` if they are used, or the refusal with the longest wait. `False` means that Redis must be
        asked first: call `ask`, and then this again.
        """
        moment, is_alone = self._moment(), self.is_alone
        accounts, refused, must_ask = [], None, False
        for charge in charges:
            account = self._account(charge)
            allowance = charge.limit.allowance
            wait = account.wait_alone(allowance, moment) if is_alone else account.wait_shared(moment)
            if wait is None:
                must_ask = True
            elif wait and (refused is None or wait > refused.wait):
                refused = Refused(charge, wait)
            accounts.append((account, allowance))
        if refused is not None:
            return refused
        if must_ask:
            return False
        for account, allowance in accounts:
            account.take(allowance, moment)
        return True

    def give_back(self, charges: Sequence[Charge]) -> None:
        """Undo `take`, because the call is refused after all."""
        moment = self._moment()
        for charge in charges:
            self._account(charge).give_back(charge.limit.allowance, moment)

    async def ask(self, charges: Sequence[Charge]) -> None:
        """Ask Redis for the missing permits of `charges`, or wait for the open question about their person."""
        person = charges[0].person
        question = self._questions.get(person)
        if question is None:
            # It begins in the next run of the event loop, so callers that wait for the same join it.
            question = self._questions[person] = asyncio.create_task(self._lease(person))
            self._demands[person] = {}
        demands = self._demands.get(person)
        if demands is not None:
            moment = self._moment()
            for charge in charges:
                if self._account(charge).wait_shared(moment) is None:
                    key = _key(charge)
                    demands[key] = (charge, demands[key][1] + 1 if key in demands else 1)
        # Shielded: a caller that gives up must not cancel the answer of the others.
        await asyncio.shield(question)

    async def maintain(self) -> Never:
        """Return unused permits, and notice when Redis answers again, for ever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._failed is not None:
                await self._try_again(self._failed)
            moment = self._moment()
            for key, (charge, account) in list(self._holding.items()):
                if (unused := account.lapsed(charge.limit.allowance, moment)) is not None:
                    self._returns.append((charge, unused))
                if account.permits <= 0:
                    del self._holding[key]
            await self._return_unused()

    async def close(self) -> None:
        """Return all permits, for as long as Redis answers at once."""
        moment = self._moment()
        for charge, account in self._holding.values():
            if (unused := account.emptied(charge.limit.allowance, moment)) is not None:
                self._returns.append((charge, unused))
        self._holding.clear()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._return_unused()
        except TimeoutError:
            return  # the allowances are that much smaller until they are filled again

    def figures(self) -> Figures:
        """Return the counts so far, by their Prometheus names."""
        return {
            "portcullis_limit_accounts": len(self._accounts),
            "portcullis_limit_questions_total": self._asked,
            labelled("portcullis_limit_permits_total", direction="given"): self._given,
            labelled("portcullis_limit_permits_total", direction="returned"): self._returned,
            "portcullis_limits_alone": int(self.is_alone),
        }

    def _moment(self) -> Moment:
        return Moment(int(self._steady() * 1e6), int(self._wall() * 1e6))

    def _account(self, charge: Charge) -> Account:
        key = _key(charge)
        account = self._accounts.get(key)
        if account is None:
            account = Account()
            self._accounts.put(key, account)
        return account

    async def _lease(self, person: str) -> None:
        try:
            asked_for = self._demands.pop(person)
            if self._store is None or not asked_for:
                return
            moment = self._moment()
            demands, accounts = [], []
            for charge, needed in asked_for.values():
                account = self._account(charge)
                if (unused := account.lapsed(charge.limit.allowance, moment)) is not None:
                    self._returns.append((charge, unused))
                demands.append(Demand(charge, *account.demand(charge.limit.allowance, needed, moment)))
                accounts.append(account)
            self._asked += 1
            try:
                given = await self._store.lease(demands)
            except StoreUnavailableError as error:
                self._fail(demands[0].charge, error)
                return
            for (charge, _, _), account, of_charge in zip(demands, accounts, given, strict=True):
                account.give(charge.limit.allowance, moment, of_charge)
                self._given += of_charge.permits
                if of_charge.permits:
                    self._holding[_key(charge)] = (charge, account)
        finally:
            self._demands.pop(person, None)
            del self._questions[person]

    def _fail(self, charge: Charge, error: StoreUnavailableError) -> None:
        if self._failed is None:
            # Not the whole message, which may contain an address.
            self._log.warning("call_limits.alone", error=str(error).partition(":")[0])
        self._failed = charge

    async def _try_again(self, charge: Charge) -> None:
        if self._store is None:
            return
        try:
            await self._store.lease([Demand(charge, 0, 0)])
        except StoreUnavailableError:
            return
        self._failed = None
        self._log.info("call_limits.shared")

    async def _return_unused(self) -> None:
        while self._returns and self._store is not None:
            some, self._returns = self._returns[:_RETURNS_AT_ONCE], self._returns[_RETURNS_AT_ONCE:]
            results = await asyncio.gather(
                *(self._store.give_back(charge, unused) for charge, unused in some), return_exceptions=True
            )
            for (_, unused), result in zip(some, results, strict=True):
                if result is None:
                    self._returned += unused.permits
                elif not isinstance(result, StoreUnavailableError):
                    raise result


def _key(charge: Charge) -> _Key:
    return charge.limit.name, charge.subject
