"""Renders the account page: the signed-in person, the apps that act for them, and their remembered consents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import structlog
from quart import render_template

from oauth_core.clients import client_id_documents
from oauth_core.errors import StoreUnavailableError
from oauth_core.flows.notices import MOST_NOTICES, NOTICE_LIFETIME
from oauth_web.endpoints import account_invitation, account_mail, account_notices

if TYPE_CHECKING:
    from oauth_core.flows.consent import RememberedConsent
    from oauth_core.flows.mail_notices import Contact
    from oauth_core.flows.notices import RepeatedNotice
    from oauth_core.model import Grant
    from oauth_web.login.browser_session import SignedInBrowser
    from oauth_web.runtime.deps import Deps

_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class ConnectedApp:
    """One grant, as the account page shows it."""

    grant_id: str
    name: str
    services: tuple[str, ...]
    since: str
    refreshed: str | None
    source: str | None
    """The address from which it got access, if a notice has it."""


@dataclass(frozen=True)
class RememberedApp:
    """One client with a remembered consent, as the account page shows it."""

    client_id: str
    name: str
    services: tuple[str, ...]
    since: str


async def render(deps: Deps, signed_in: SignedInBrowser, *, done: str | None) -> str:
    """The page of the signed-in person. `done` names the action that was just completed."""
    github_id = signed_in.user.github_id
    consents = await deps.consents.all(github_id, now=deps.clock())
    grants = await deps.grants.of_user(github_id)
    notices = await _notices(deps, github_id)
    sources = {one.latest.grant_id: one.latest.source for one in notices or () if one.latest.grant_id}
    return await render_template(
        "account.html",
        user=signed_in.user,
        form_token=signed_in.form_token,
        connected=[await _connected(deps, grant, sources.get(grant.grant_id)) for grant in grants],
        remembered=[await _remembered(deps, consent) for consent in consents],
        notices=None
        if notices is None
        else await account_notices.shown(
            deps,
            notices,
            active={grant.grant_id for grant in grants},
            name_of=partial(_name, deps),
            day=_day,
        ),
        mail_kinds=account_mail.KINDS if deps.settings.mail_server is not None else None,
        contact=await _contact(deps, github_id),
        notice_days=NOTICE_LIFETIME // _DAY_SECONDS,
        most_notices=MOST_NOTICES,
        offers_registration=account_invitation.is_offered(deps, signed_in.user, signed_in.session.groups),
        done=done,
    )


async def _notices(deps: Deps, github_id: int) -> tuple[RepeatedNotice, ...] | None:
    """The notices of a person; `None` if they cannot be read. The page must disconnect apps without them."""
    try:
        return await deps.notices.all(github_id, now=deps.clock())
    except StoreUnavailableError as error:
        structlog.get_logger("notices").warning("notices.unreadable", reason=str(error))
        return None


async def _contact(deps: Deps, github_id: int) -> Contact | None:
    """The mail address of a person; `None` also if it cannot be read. The page must disconnect apps without it."""
    try:
        return await deps.contacts.get(github_id)
    except StoreUnavailableError as error:
        structlog.get_logger("notices").warning("contact.unreadable", reason=str(error))
        return None


async def _connected(deps: Deps, grant: Grant, source: str | None) -> ConnectedApp:
    refreshed_at = await deps.grants.refreshed_at(grant.grant_id)
    return ConnectedApp(
        grant_id=grant.grant_id,
        name=await _name(deps, grant.client_id),
        services=_titles(deps, grant.resources),
        since=_day(grant.created_at),
        refreshed=None if refreshed_at is None else _day(refreshed_at),
        source=source,
    )


async def _remembered(deps: Deps, consent: RememberedConsent) -> RememberedApp:
    return RememberedApp(
        client_id=consent.client_id,
        name=await _name(deps, consent.client_id),
        services=_titles(deps, consent.resources),
        since=_day(consent.given_at),
    )


async def _name(deps: Deps, client_id: str, before: str | None = None) -> str:
    """The name of the app: its own, or the host of its document, which needs no fetch, or the name `before`."""
    host = client_id_documents.host_of(client_id)
    if host is not None:
        return host
    client = await deps.clients.get_stored(client_id)
    return (client.client_name if client else None) or before or "An app without a name"


def _titles(deps: Deps, resources: tuple[str, ...]) -> tuple[str, ...]:
    services = (deps.services.by_resource(resource) for resource in resources)
    return tuple(service.title for service in services if service is not None)


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
