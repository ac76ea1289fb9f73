"""What every event has in common: callers before, during and after it, and what may not happen whatever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.availability.load import GOOD, SIGN_IN_AGAIN, TRY_AGAIN, Account, Front, Load, loading

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.availability.site import Site

_GRANTS = 4


def what_callers_saw(site: Site, event: Callable[[Load], None]) -> Account:
    """Let `event` happen while callers call.

    One grant was revoked before that, and one is revoked as soon as it happened, through the front door.
    """
    *live, before, meanwhile = site.sign_in(_GRANTS + 2)
    Front(site).revoke(before)
    with loading(site, live, [before]) as load:
        event(load)
        load.revoke(meanwhile)
    return load.account


def assert_bounded(account: Account, *, lost_writes: int = 0) -> None:
    """Nothing that was revoked passed, and everybody else was told to come again, if anything.

    But for `lost_writes`: so many may have to sign in again, because what Redis had acknowledged died with it.
    """
    assert account.kinds("revoked")[GOOD] == 0
    assert account.kinds("revoked")["401"] > 0
    failed = account.failed("call", "discovery", "refresh")
    assert failed[SIGN_IN_AGAIN] <= lost_writes, failed
    assert failed.keys() <= TRY_AGAIN | {SIGN_IN_AGAIN}, failed
