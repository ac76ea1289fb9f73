"""The notices on the account page, in words: what happened, when, from where, and what the person can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.flows.notices import MOST_NOTICES, NOTICE_LIFETIME, NoticeKind
from oauth_core.store.records import revocation_cutoffs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container

    from oauth_core.flows.notices import Notice, RepeatedNotice
    from oauth_web.runtime.deps import Deps


@dataclass(frozen=True)
class Words:
    """A kind of notice, in words. The title of a notice about an app follows the app's name."""

    title: str
    meaning: str
    advice: str = ""
    is_warning: bool = False


@dataclass(frozen=True)
class ShownNotice:
    """One notice, as the account page shows it. Only `app` and `reason` are texts of others."""

    words: Words
    app: str | None
    when: str
    state: str | None = None
    source: str | None = None
    reason: str | None = None
    count: int = 1
    first: str = ""


_WORDS = {
    NoticeKind.SIGNED_IN: Words(
        "You signed in",
        "A browser signed in here with your GitHub account.",
        "If this was not you, sign out everywhere at the end of this page, and check your account at GitHub.",
    ),
    NoticeKind.APP_ALLOWED: Words("got access", "You allowed this app to act for you."),
    NoticeKind.APP_VOUCHED_FOR: Words(
        "got access",
        "An identity provider that this gateway trusts vouched for you to this app. You were not asked.",
        "If you did not use the app at that time, tell an operator.",
    ),
    NoticeKind.APP_DISCONNECTED: Words(
        "was disconnected",
        "Its access was ended on this page, by you.",
        "If this was not you, sign out everywhere at the end of this page, and check your account at GitHub.",
    ),
    NoticeKind.APP_ENDED_BY_ITSELF: Words(
        "ended its own access", "The app gave its access back, or deleted its registration."
    ),
    NoticeKind.APP_ENDED_BY_OPERATOR: Words(
        "lost its access",
        "An operator of this gateway ended it.",
        "Ask the operator before you connect this app again.",
    ),
    NoticeKind.APP_DISABLED: Words(
        "was disabled",
        "An operator of this gateway disabled this app. Its access ended for all people.",
        "Ask the operator if you need this app.",
        is_warning=True,
    ),
    NoticeKind.REFRESH_TOKEN_REUSED: Words(
        "lost its access: its key was used twice",
        "An app renews its access with a key (a refresh token) that is valid once. A key of this app was used a "
        "second time. Perhaps another program has a copy of it. So the access ended, for the app and every copy.",
        "Connect the app again if you use it. If this happens again, or if you do not know the address, "
        "tell an operator, and check the machine on which the app runs.",
        is_warning=True,
    ),
    NoticeKind.OLD_REFRESH_TOKEN_REFUSED: Words(
        "used an old key, which was refused",
        "An app renews its access with a key (a refresh token) that is valid once. A key of this app was used a "
        "second time. Perhaps another program has a copy of it. The key was refused. The access of the app stays.",
        "If you do not know the address, disconnect the app, and tell an operator.",
        is_warning=True,
    ),
    NoticeKind.CODE_REPLAYED: Words(
        "lost its access: its code was used twice",
        "When you allow an app, it gets a code that is valid once. The code of this app was used a second time. "
        "Perhaps another program has a copy of it. So the access ended, for the app and for every copy.",
        "Connect the app again if you use it. If this happens again, tell an operator, and check the machine on "
        "which the app runs.",
        is_warning=True,
    ),
    NoticeKind.APP_ENDED_BY_RESTORE: Words(
        "lost its access",
        "This gateway was restored from a backup that did not know the app's latest key.",
        "Connect the app again if you use it.",
    ),
    NoticeKind.TOO_MANY_APPS: Words(
        "lost its access",
        "More apps were connected than this gateway keeps for one person. The oldest access ended.",
        "Disconnect apps that you do not use.",
    ),
    NoticeKind.NOT_ELIGIBLE: Words(
        "lost its access",
        "By the rules of this gateway you were not allowed to use it at that time.",
        "If this is wrong, ask an operator.",
    ),
    NoticeKind.NEW_COUNTRY: Words(
        "You signed in from a new country",
        "The address of a sign-in belongs to a country from which you had not signed in before.",
        "If this was not you, sign out everywhere at the end of this page, and check your account at GitHub.",
        is_warning=True,
    ),
    NoticeKind.REVOKED: Words(
        "An operator ended all your access",
        "Every app was disconnected, and you were signed out in every browser.",
        "Ask the operator before you connect your apps again.",
        is_warning=True,
    ),
    NoticeKind.BLOCKED: Words(
        "You were blocked",
        "An operator blocked you. Every app was disconnected, and you could not sign in.",
        is_warning=True,
    ),
    NoticeKind.UNBLOCKED: Words(
        "Your block was ended", "You can sign in again. Your apps stay disconnected until you connect them again."
    ),
}

_EVERYTHING_ENDED = Words(
    "All access to this gateway was ended",
    "An operator disconnected the apps of all people, and signed all people out.",
    "Connect your apps again if you use them.",
    is_warning=True,
)


def words_of(kind: NoticeKind) -> Words:
    """The words for a kind of notice."""
    return _WORDS[kind]


async def shown(
    deps: Deps,
    found: tuple[RepeatedNotice, ...],
    *,
    active: Container[str],
    name_of: Callable[[str, str | None], Awaitable[str]],
    day: Callable[[int], str],
) -> list[ShownNotice]:
    """The notices `found` in words, newest first. `active` are the ids of the person's grants.

    `name_of` returns the name of a client, given its id and the name in a notice. Raises `StoreUnavailableError`.
    """
    now = deps.clock()
    names = {one.latest.client_id: one.latest.client_name for one in found if one.latest.client_name}
    entries: list[tuple[int, ShownNotice]] = []
    for one in found:
        notice, app = one.latest, None
        if notice.client_id is not None:
            app = await name_of(notice.client_id, names.get(notice.client_id))
        elif notice.client_name is not None:
            app = notice.client_name
        entry = ShownNotice(
            words=_WORDS[notice.kind],
            app=app,
            when=day(notice.at),
            state=await _state(deps, notice, active=active, day=day),
            source=notice.source,
            reason=notice.reason,
            count=one.count,
            first=day(one.first_at),
        )
        entries.append((notice.at, entry))
    ended_at = await revocation_cutoffs.last_of_everything(deps.redis)
    if ended_at is not None and ended_at > now - NOTICE_LIFETIME:
        entries.append((ended_at, ShownNotice(_EVERYTHING_ENDED, None, day(ended_at))))
    entries.sort(key=lambda entry: entry[0], reverse=True)
    return [entry for _, entry in entries[:MOST_NOTICES]]


async def _state(deps: Deps, notice: Notice, *, active: Container[str], day: Callable[[int], str]) -> str | None:
    """Whether the reported access continues, in words."""
    if notice.kind is NoticeKind.APP_DISABLED and notice.client_id is not None:
        if await deps.clients.is_disabled(notice.client_id):
            return "You cannot connect it while it is disabled."
        return "It was enabled again since. You can connect it again."
    if notice.until is None:
        return None
    if notice.grant_id in active:
        return f"It ends {day(notice.until)} at the latest. You can disconnect the app on this page at any time."
    if notice.until <= deps.clock():
        return f"This access ended {day(notice.until)}, because its time was up."
    return "This access has ended since."
