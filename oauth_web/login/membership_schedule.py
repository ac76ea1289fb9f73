"""The regular check whether people with a grant are still eligible, and which groups they are in.

A refresh checks the same. But a person who left keeps a valid access token until then, and a client that never
refreshes is never checked. One process does this for all, person by person, slowly enough for GitHub. A process
that starts with changed rules does it at once. An outage of GitHub ends no grant.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Never

import structlog

from oauth_core.crypto.credentials import hash_secret
from oauth_core.errors import DisplayedError, StoreUnavailableError
from oauth_core.store.records.leases import LeaseBackOff
from oauth_web.login import membership
from oauth_web.login.eligibility import (
    NotEligibleError,
    asks_github,
    check_still_eligible,
    groups_that_matter,
    logins_that_matter,
)

if TYPE_CHECKING:
    from oauth_core.model import Grant
    from oauth_web.runtime.deps import Deps

WORK = "membership-check"
_LEASE_SECONDS = 60.0
_POLL_SECONDS = 5.0
_RETRY_SECONDS = 60.0
_BETWEEN_CHECKS = 0.1
"""Seconds: at most ten people a second, or GitHub takes this for an attack (secondary rate limits)."""
_OUTAGE = 3
"""After this many people in a row without an answer of GitHub, the run stops."""

_log = structlog.get_logger("membership")


@dataclass(slots=True)
class _Tally:
    asked: int = 0
    ended: int = 0
    regrouped: int = 0
    unanswered: int = 0


class MembershipSchedule:
    """The membership schedule of this process."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._interval = deps.settings.membership_check_interval
        self._running: asyncio.Task[Never] | None = None

    async def start(self) -> None:
        """Start the schedule, unless the settings turn it off."""
        if self._interval:
            self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop the schedule; another process repeats an unfinished run."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self) -> Never:
        # A process that just started, or read its settings again, may have other rules than the last run had.
        is_new, rules = True, ""
        while True:
            try:
                rules, known = self._rules(), rules
                is_new = is_new or rules != known
                back_off = await self._deps.leases.back_off_of(WORK)
                if back_off is not None and not (is_new and back_off.under != rules):
                    is_new = False
                    await asyncio.sleep(min(back_off.seconds, _POLL_SECONDS))
                    continue
                if await self._deps.leases.acquire(WORK, seconds=_LEASE_SECONDS):
                    await self._check_in_turn()
                    is_new = False
                    continue
            except StoreUnavailableError as error:
                _log.warning("membership.check_failed", error=str(error))
            except Exception:  # noqa: BLE001 - the schedule must continue after any fault
                _log.exception("membership.check_failed")
            await asyncio.sleep(min(_POLL_SECONDS, self._interval))

    async def _check_in_turn(self) -> None:
        tally = _Tally()
        seconds = min(_RETRY_SECONDS, self._interval)
        try:
            if await self._check_everybody(tally):
                seconds = self._interval
        finally:
            # Also after a fault: an immediate retry would not repair it.
            await self._deps.leases.back_off(WORK, LeaseBackOff(self._rules(), seconds))
            await self._deps.leases.release(WORK)
        _log.info(
            "membership.checked",
            asked=tally.asked,
            ended=tally.ended,
            regrouped=tally.regrouped,
            unanswered=tally.unanswered,
        )

    async def _check_everybody(self, tally: _Tally) -> bool:
        """Check every person with a grant; returns whether all were checked."""
        in_a_row = 0
        async for github_id in self._deps.grants.all_user_ids():
            if not await self._deps.leases.extend(WORK, seconds=_LEASE_SECONDS):
                return False
            try:
                was_github_asked = await self._check(await self._deps.grants.of_user(github_id), tally)
                in_a_row = 0
            except ValueError as error:
                # An unreadable record must not stop the check of the others.
                _log.error("membership.unreadable", user_id=github_id, error=type(error).__name__)
                continue
            except DisplayedError:
                was_github_asked, tally.unanswered, in_a_row = True, tally.unanswered + 1, in_a_row + 1
                if in_a_row == _OUTAGE:
                    return False
            if was_github_asked:
                await asyncio.sleep(_BETWEEN_CHECKS)
        return tally.unanswered == 0

    async def _check(self, grants: tuple[Grant, ...], tally: _Tally) -> bool:
        """Check one person, by their latest sign-in. Returns whether GitHub was asked.

        Raises `DisplayedError` when GitHub cannot be asked.
        """
        latest = grants[-1] if grants else None
        if latest is None or latest.user is None:
            return False
        try:
            member = await check_still_eligible(self._deps, latest.user, latest.sealed_github_token)
        except NotEligibleError as error:
            tally.ended += await membership.end_everything(self._deps, latest.user, str(error))
        else:
            tally.regrouped += await membership.update_everything(self._deps, member)
        was_github_asked = asks_github(self._deps, latest.user)
        tally.asked += was_github_asked
        return was_github_asked

    def _rules(self) -> str:
        """A hash of the rules, to detect a change."""
        users = self._deps.settings.eligibility.users | logins_that_matter(self._deps)
        eligible_groups = self._deps.settings.eligibility.groups
        asked_about = groups_that_matter(self._deps)
        return hash_secret("\n".join([*sorted(users), "", *sorted(eligible_groups), "", *sorted(asked_about)]))
