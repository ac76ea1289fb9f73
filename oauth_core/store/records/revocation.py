"""Revocation of everything that a person, a client or all people hold, also while new grants are being issued.

Existing grants are ended one by one; `oauth_core.store.records.grants` explains why no token outlives its grant. A
code that is not redeemed yet, or a device that was allowed, would become a grant afterwards. So the first step
sets a *revocation cutoff*: rights allowed up to that second become void. The code that creates a grant checks the
cutoffs after the grant exists. So either the revocation finds the grant, or the creator finds the cutoff.

Redis may refuse one of these steps, for instance when the cluster node of the cutoff is unreachable. The other
steps are done in any case: a stolen token must end although the cutoff cannot be written. The failed steps are
raised at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from oauth_core.crypto.credentials import is_identifier
from oauth_core.errors import StoreUnavailableError
from oauth_core.store import keyspace
from oauth_core.store.connection import guarded
from oauth_core.store.records import (
    consents,
    disabled_clients,
    revocation_cutoffs,
    sessions,
    tombstones,
    users,
)
from oauth_core.store.scanning import scan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from redis.asyncio import Redis

    from oauth_core.model import Block, DisabledClient, Grant
    from oauth_core.store.records.clients import ClientStore
    from oauth_core.store.records.consents import ConsentStore
    from oauth_core.store.records.grants import GrantStore

T = TypeVar("T")
_MOST_SHOWN = 5


class IncompleteError(StoreUnavailableError):
    """Some rights could not be ended.

    `ended` and `count` describe the grants that ended, `missing` the failed steps.
    """

    def __init__(self, missing: tuple[str, ...], ended: tuple[Grant, ...], count: int) -> None:
        shown = [
            *missing[:_MOST_SHOWN],
            *([f"{len(missing) - _MOST_SHOWN} more"] if len(missing) > _MOST_SHOWN else []),
        ]
        super().__init__(
            f"NOT everything has ended: {count} grants have. Run the command again. Missing: {'; '.join(shown)}"
        )
        self.missing = missing
        self.ended = ended
        self.count = count


class Revocation:
    """Ends grants. Every such method raises `IncompleteError`; another call completes the work."""

    def __init__(self, redis: Redis, grants: GrantStore) -> None:
        self._redis = redis
        self._grants = grants

    async def is_revoked(self, grant: Grant, *, allowed_at: int) -> bool:
        """Return whether `grant`, which a person or an operator allowed at that second, must not exist.

        Raises `StoreUnavailableError`.
        """
        github_id = None if grant.user is None else grant.user.github_id
        return await revocation_cutoffs.is_cut_off(
            self._redis, at=allowed_at, github_id=github_id, client_id=grant.client_id
        )

    async def disconnect(self, grant: Grant, consent_store: ConsentStore) -> tuple[Grant, ...]:
        """End `grant` and its person's rights for its client that the client has not redeemed. Other grants stay.

        The person is asked about the client again. Returns the grant if it ended just now.
        """
        steps = _Steps()
        if grant.user is not None:
            user, client_id = grant.user.github_id, grant.client_id
            # Both first; otherwise the client could get a new grant in between without a question to the person.
            await steps.take("the consent to it", consent_store.forget(user, client_id))
            cutoff = keyspace.cutoff_of_unredeemed(user, client_id)
            await steps.take(
                _CUTOFF,
                revocation_cutoffs.set_cutoff(self._redis, cutoff, lifetime=keyspace.UNREDEEMED_CUTOFF_LIFETIME),
            )
        await self._end([grant.grant_id], steps)
        return steps.result()

    async def is_unredeemed_void(self, grant: Grant, *, allowed_at: int) -> bool:
        """Return whether a new `grant` was allowed before `disconnect`. Raises `StoreUnavailableError`."""
        if grant.user is None:
            return False
        key = keyspace.cutoff_of_unredeemed(grant.user.github_id, grant.client_id)
        return await revocation_cutoffs.is_cut_off_at(self._redis, key, at=allowed_at)

    async def is_person_cut_off(self, github_id: int, *, at: int) -> bool:
        """Return whether rights of a person of second `at` were revoked since. Raises `StoreUnavailableError`."""
        return await revocation_cutoffs.is_cut_off(self._redis, at=at, github_id=github_id)

    async def block(self, block: Block) -> tuple[Grant, ...]:
        """Block a person without a time limit, and revoke everything; returns the grants that ended."""
        steps = _Steps()
        # The block comes first: a sign-in at the same moment checks for it as its last step.
        await steps.take("the block", users.store_block(self._redis, block))
        return await self._end_of_user(block.github_id, steps)

    async def revoke_user(self, github_id: int) -> tuple[Grant, ...]:
        """End everything that a person allowed up to now; returns the grants that ended.

        The person's sessions end too, in every browser. Remembered consents are deleted, so the person is asked
        again.
        """
        return await self._end_of_user(github_id, _Steps())

    async def _end_of_user(self, github_id: int, steps: _Steps) -> tuple[Grant, ...]:
        await steps.take(_CUTOFF, revocation_cutoffs.set_cutoff(self._redis, keyspace.cutoff_of_user(github_id)))
        await steps.take("their sessions", sessions.end_all(self._redis, github_id))
        await steps.take("their consents", consents.forget_person(self._redis, github_id))
        await self._end(await self._of_user(github_id, steps), steps)
        return steps.result()

    async def revoke_clients_of_user(self, github_id: int) -> tuple[Grant, ...]:
        """End everything that a person allowed clients; returns the grants that ended.

        The person stays signed in, and is asked about every client again.
        """
        steps = _Steps()
        await steps.take(
            _CUTOFF, revocation_cutoffs.set_cutoff(self._redis, keyspace.cutoff_of_clients_of(github_id))
        )
        await steps.take("their consents", consents.forget_person(self._redis, github_id))
        await self._end(await self._of_user(github_id, steps), steps)
        return steps.result()

    async def revoke_client(self, client_id: str) -> tuple[Grant, ...]:
        """Revoke all grants of a client and the consents to it, and keep its registration. Returns the grants.

        Every person must consent again.
        """
        return await self._end_of_client(client_id, _Steps())

    async def disable_client(self, mark: DisabledClient) -> tuple[Grant, ...]:
        """Disable a client without a time limit, and revoke everything; returns the grants that ended.

        Grants of siblings that the client uses end too: it has tokens of them.
        """
        steps = _Steps()
        # The mark comes first: the creator of a grant checks for it after the grant exists.
        await steps.take("the mark that it is disabled", disabled_clients.store_mark(self._redis, mark))
        for trait in mark.traits:
            await steps.take(
                "the mark that keeps it from registering again", disabled_clients.store_trait(self._redis, trait)
            )
        used = await steps.take(
            "the list of its siblings' grants", self._indexed(keyspace.sibling_grants(mark.client_id))
        )
        await self._end(used or (), steps)
        return await self._end_of_client(mark.client_id, steps)

    async def _end_of_client(self, client_id: str, steps: _Steps) -> tuple[Grant, ...]:
        await steps.take(_CUTOFF, revocation_cutoffs.set_cutoff(self._redis, keyspace.cutoff_of_client(client_id)))
        await steps.take("consents to it", consents.forget_client(self._redis, client_id))
        key = keyspace.client_grants(client_id)
        indexed = await steps.take("the list of its grants", self._indexed(key))
        if indexed is None:
            indexed = await self._found(steps, lambda grant: grant.client_id == client_id)
        await self._end(indexed, steps)
        if indexed and not steps.missing:
            await steps.take("the list of its grants", self._remove_from_index(key, indexed))
        return steps.result()

    async def delete_client(
        self, clients: ClientStore, client_id: str, *, finish: bool = False
    ) -> tuple[Grant, ...]:
        """Delete a client and end everything that it was allowed; returns the grants that ended.

        With `finish` the tombstones are written also when no data of the client is left: an earlier call may have
        deleted it while Redis refused them.

        The record goes first: the creator of a grant checks for it after the grant exists, and undoes the grant. A
        grant that does not end stays in the index of the client's grants, and the next call finds it.
        """
        steps = _Steps()
        left = await steps.take("its registration", clients.delete(client_id))
        key = keyspace.client_grants(client_id)
        indexed = await steps.take("the list of its grants", self._indexed(key))
        if indexed is None:
            indexed = await self._found(steps, lambda grant: grant.client_id == client_id)
        # Kept as long as the record, which outlives the grants. Otherwise a caller that registers and deletes
        # clients would leave tombstones for years.
        lifetime_ms = left or (keyspace.CUTOFF_LIFETIME * 1000 if indexed or left is None else 0)
        if finish and is_identifier(client_id):
            lifetime_ms = lifetime_ms or self._grants.tombstone_lifetime
        if lifetime_ms:
            # A sibling could continue a grant that does not end now.
            cutoff = revocation_cutoffs.set_cutoff(
                self._redis, keyspace.cutoff_of_client(client_id), lifetime=-(-lifetime_ms // 1000)
            )
            await steps.take(_CUTOFF, cutoff)
        ended = await self._end(indexed, steps)
        if lifetime_ms and is_identifier(client_id):  # the client of a document may come again
            tombstone = tombstones.write(
                self._redis,
                keyspace.ended_client(client_id),
                lifetime_ms=min(lifetime_ms, self._grants.tombstone_lifetime),
            )
            await steps.take(_TOMBSTONE, tombstone)
        if ended:
            await steps.take("the list of its grants", self._remove_from_index(key, ended))
        return steps.result()

    async def revoke_all(self) -> int:
        """End everything that was allowed to any client up to now; returns the number of grants that ended.

        All sessions end too, and all people are asked about every client again.
        """
        steps = _Steps()
        await steps.take(_CUTOFF, revocation_cutoffs.set_cutoff(self._redis, keyspace.CUTOFF_OF_ALL))
        # Tokens come first: they may be in the wrong hands.
        await steps.take("some access tokens", self._end_every_token())
        await steps.take("some grants", self._end_every_grant(steps))
        # A grant that was being created meanwhile may have issued one.
        await steps.take("some access tokens", self._end_every_token())
        await steps.take("some sessions", sessions.end_everybodys(self._redis))
        await steps.take("some consents", consents.forget_everybody(self._redis))
        steps.result()
        return steps.count

    async def _end_every_token(self) -> None:
        async for key in scan(self._redis, keyspace.token("*")):
            async with guarded():
                await self._redis.delete(key)

    async def _end_every_grant(self, steps: _Steps) -> None:
        async for grant_id in self._grants.all_ids():
            steps.count += bool(await steps.take(f"the grant {grant_id}", self._grants.end(grant_id)))

    async def _end(self, grant_ids: Iterable[str], steps: _Steps) -> list[str]:
        """End these grants; returns the ids of those that ended completely."""

        async def end(grant_id: str) -> bool:
            grant = await self._grants.get(grant_id)
            # Also for a grant that is gone: some of its tokens may be left.
            if await self._grants.end(grant_id) and grant is not None:
                steps.count += 1
                steps.ended.append(grant)
            return True

        return [grant_id for grant_id in grant_ids if await steps.take(f"the grant {grant_id}", end(grant_id))]

    async def _of_user(self, github_id: int, steps: _Steps) -> Iterable[str]:
        indexed = await steps.take("the list of their grants", self._indexed(keyspace.user_grants(github_id)))
        if indexed is not None:
            return indexed
        return await self._found(steps, lambda grant: grant.user is not None and grant.user.github_id == github_id)

    async def _found(self, steps: _Steps, is_wanted: Callable[[Grant], bool]) -> list[str]:
        """Return the ids of matching grants by reading all grants; used when the index cannot be read."""
        found: list[str] = []

        async def look() -> None:
            async for grant_id in self._grants.all_ids():
                grant = await steps.take(f"the grant {grant_id}", self._grants.get(grant_id))
                if grant is not None and is_wanted(grant):
                    found.append(grant_id)

        await steps.take("some grants", look())
        return found

    async def _indexed(self, key: str) -> list[str]:
        async with guarded():
            return await cast("Awaitable[list[str]]", self._redis.zrange(key, 0, -1))

    async def _remove_from_index(self, key: str, indexed: Iterable[str]) -> None:
        async with guarded():
            await self._redis.zrem(key, *indexed)


_CUTOFF = "codes and allowed devices that are not redeemed yet, which may still become tokens"
_TOMBSTONE = "the tombstone that keeps a restored backup from bringing it back"


class _Steps:
    """The steps that were done, and the steps that Redis refused."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.ended: list[Grant] = []
        self.count = 0

    async def take(self, what: str, step: Awaitable[T]) -> T | None:
        """Do one step. If Redis refuses it, add `what` to `missing` and return `None`."""
        try:
            return await step
        except StoreUnavailableError as error:
            self.missing.append(f"{what} ({error})")
            return None

    def result(self) -> tuple[Grant, ...]:
        """Return the grants that ended, oldest first. Raises `IncompleteError`."""
        ended = tuple(sorted(self.ended, key=lambda grant: (grant.created_at, grant.grant_id)))
        if self.missing:
            raise IncompleteError(tuple(self.missing), ended, self.count)
        return ended
