"""`/account/mail`: a person enters a mail address, confirms it, chooses what mails are about, and removes it.

An address counts only after its owner opened the link in a mail to it, in the session in which it was entered. The
answer is the same for every address, so that it reveals nothing about other people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response, render_template

from oauth_core.audit import EventKind
from oauth_core.crypto.credentials import new_secret
from oauth_core.flows.mail_notices import (
    Contact,
    MailKind,
    PendingContact,
    checked_address,
    checked_kinds,
    gets_less,
)
from oauth_core.net.public_urls import path_of
from oauth_core.refusals import OAuthReason, refused
from oauth_web.http.errors import show_as_pages
from oauth_web.http.responses import page_answer, query_parameters, see_other
from oauth_web.login import browser_session
from oauth_web.login.own_form import own_form

if TYPE_CHECKING:
    from oauth_core.parameters import Parameters
    from oauth_web.runtime.deps import Deps

KINDS = {
    MailKind.NEW_APP: "an app gets access",
    MailKind.NEW_COUNTRY: "you sign in from a new country",
    MailKind.KEY_REUSED: "a key of an app is used twice",
    MailKind.BLOCKED: "an operator blocks you or ends your access",
}
"""The kinds of mails in words, after "when"."""


def blueprint(deps: Deps) -> Blueprint:
    """The endpoints below `/account/mail`."""
    bp = Blueprint("account_mail", __name__)
    show_as_pages(bp, issuer=deps.settings.issuer)

    @bp.post("/account/mail")
    async def enter() -> Response:
        signed_in, form = await own_form(deps)
        if deps.settings.mail_server is None:
            raise refused(OAuthReason.NO_MAILS)
        try:
            address = checked_address(form.get("address") or "")
        except ValueError:
            raise refused(OAuthReason.NO_MAIL_ADDRESS) from None
        github_id = signed_in.user.github_id
        token = new_secret()
        # Beyond the limits there is no mail, and the answer is the same: it must not show what others did.
        if await deps.mails.add_confirmation(github_id, address, token, now=deps.clock()):
            pending = PendingContact(github_id, signed_in.session_hash, address, _kinds(form))
            await deps.contacts.begin(pending, token)
        return _back(deps, "mail-asked")

    @bp.get("/account/mail/confirm")
    async def ask() -> Response:
        # A program that looks at links in mails opens this page too. Only the form on it confirms.
        token = query_parameters().get("token") or ""
        signed_in = await browser_session.current(deps)
        if signed_in is None:
            raise refused(OAuthReason.MAIL_CONFIRMATION_UNKNOWN)
        return page_answer(
            await render_template("confirm_mail.html", token=token, form_token=signed_in.form_token)
        )

    @bp.post("/account/mail/confirm")
    async def confirm() -> Response:
        signed_in, form = await own_form(deps)
        github_id = signed_in.user.github_id
        pending = await deps.contacts.take(
            form.get("token") or "", github_id=github_id, session_hash=signed_in.session_hash
        )
        if pending is None:
            raise refused(OAuthReason.MAIL_CONFIRMATION_UNKNOWN)
        contact = Contact(pending.address, pending.kinds, deps.clock())
        await _tell_former_address(deps, github_id, contact)
        await deps.contacts.put(github_id, contact)
        deps.audit.record(EventKind.MAIL_ADDRESS_CONFIRMED, user=signed_in.user)
        return _back(deps, "mail-confirmed")

    @bp.post("/account/mail/kinds")
    async def choose() -> Response:
        signed_in, form = await own_form(deps)
        github_id = signed_in.user.github_id
        contact = await deps.contacts.get(github_id)
        if contact is not None:
            changed = Contact(contact.address, _kinds(form), contact.confirmed_at)
            await _tell_former_address(deps, github_id, changed)
            await deps.contacts.change(github_id, changed)
        return _back(deps, "mail-changed")

    @bp.post("/account/mail/remove")
    async def remove() -> Response:
        signed_in, _ = await own_form(deps)
        await _tell_former_address(deps, signed_in.user.github_id, None)
        if await deps.contacts.remove(signed_in.user.github_id):
            deps.audit.record(EventKind.MAIL_ADDRESS_REMOVED, user=signed_in.user, reason="by the person")
        return _back(deps, "mail-removed")

    @bp.get("/account/mail/unsubscribe")
    async def show_unsubscribe() -> Response:
        # Looking changes nothing (RFC 8058 section 3.1).
        return see_other(f"{path_of(deps.settings.issuer)}/account")

    @bp.post("/account/mail/unsubscribe")
    async def unsubscribe() -> Response:
        # From a mail program, without a session: the code is the permission.
        code = query_parameters().require("code")
        github_id = await deps.contacts.unsubscribe(code)
        if github_id is not None:
            deps.audit.record(EventKind.MAIL_ADDRESS_REMOVED, key=str(github_id), reason="unsubscribed by mail")
        # The same answer to any code.
        return Response(b"", 204)

    return bp


async def _tell_former_address(deps: Deps, github_id: int, new: Contact | None) -> None:
    """Send a mail to the present address if it gets less than before. Call it before the change.

    So a thief of a session cannot end the mails unseen, not even when Redis does not take the mail.
    """
    old = await deps.contacts.get(github_id)
    if old is not None and gets_less(old, new) and deps.settings.mail_server is not None:
        await deps.mails.add_farewell(github_id, old.address, now=deps.clock())


def _kinds(form: Parameters) -> tuple[MailKind, ...]:
    return checked_kinds(tuple(kind.value for kind in MailKind if form.get(kind.value) is not None))


def _back(deps: Deps, done: str) -> Response:
    return see_other(f"{path_of(deps.settings.issuer)}/account?done={done}#mails")
