"""The texts of mails to people. They are plain text, and the only links are to this gateway.

No text of a caller, a client or an operator is in them: a mail program makes a link of any text that looks like an
address, and a client could choose a name that asks people to visit it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from oauth_core.flows.mail_notices import PENDING_LIFETIME, MailKind, mail_kind_of
from oauth_core.flows.notices import NoticeKind
from oauth_web.endpoints.account_notices import words_of

if TYPE_CHECKING:
    from oauth_core.flows.mail_notices import QueuedMail
    from oauth_core.flows.notices import Notice

_UNFOLDED = SMTP.clone(max_line_length=998)
_SUBJECTS = {
    MailKind.NEW_APP: "A new app got access",
    MailKind.NEW_COUNTRY: "A sign-in from a new country",
    MailKind.KEY_REUSED: "A key of an app was used twice",
    MailKind.BLOCKED: "Your access was changed by an operator",
}


def message_of(
    mail: QueuedMail, mail_id: str, *, issuer: str, sender: str, to: str, unsubscribe: str
) -> EmailMessage:
    """Return the mail to the address `to`. `unsubscribe` is the code that ends mails to it."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = to
    message["Date"] = format_datetime(datetime.fromtimestamp(mail.queued_at, UTC))
    # The same in every attempt, so that a mail that arrives twice can be recognised.
    message["Message-ID"] = f"<{mail_id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no automatic answers
    if mail.notice is not None:
        subject, text = _of_notice(mail.notice, issuer)
        # RFC 8058: the mail program sends a POST there, without a page.
        message["List-Unsubscribe"] = f"<{issuer}/account/mail/unsubscribe?{urlencode({'code': unsubscribe})}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    elif mail.token is not None:
        subject, text = _of_confirmation(mail.token, issuer)
    else:
        subject, text = _of_farewell(issuer)
    message["Subject"] = subject
    message.set_content(text, charset="utf-8", cte="quoted-printable")
    # `email` encodes a long word of a header to fold it (RFC 2047), and mail programs read no encoded link. The
    # headers have no long text: RFC 5322 section 2.1.1 permits 998 characters.
    message.policy = _UNFOLDED
    return message


def _of_notice(notice: Notice, issuer: str) -> tuple[str, str]:
    words, kind = words_of(notice.kind), mail_kind_of(notice.kind)
    is_about_an_app = notice.kind not in {
        NoticeKind.REVOKED, NoticeKind.BLOCKED, NoticeKind.UNBLOCKED, NoticeKind.NEW_COUNTRY
    }  # fmt: skip
    title = f"An app {words.title}" if is_about_an_app else words.title
    when = datetime.fromtimestamp(notice.at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    source = f", from the address {notice.source}" if notice.source else ""
    lines = [
        f"{title}.",
        f"When: {when}{source}",
        "",
        words.meaning,
        *(["", words.advice] if words.advice else []),
        "",
        "Your account page has the details, and there you can end access and change or stop these mails:",
        f"{issuer}/account",
    ]
    return _SUBJECTS[kind or MailKind.BLOCKED], "\n".join(lines) + "\n"


def _of_confirmation(token: str, issuer: str) -> tuple[str, str]:
    lines = [
        "A person entered this mail address on the account page of a gateway, for mails about their access:",
        f"{issuer}/account",
        "",
        "If this was you, open this address in the same browser, and confirm there:",
        f"{issuer}/account/mail/confirm?{urlencode({'token': token})}",
        "",
        f"It works once, within {PENDING_LIFETIME // 60} minutes.",
        "If this was not you, do nothing: without the confirmation no mails are sent.",
    ]
    return "Confirm your mail address", "\n".join(lines) + "\n"


def _of_farewell(issuer: str) -> tuple[str, str]:
    lines = [
        "A person who was signed in with your account changed where mails about your access go, or what they are",
        "about. This address gets no more of them, or fewer. The account page shows what is set now:",
        f"{issuer}/account",
        "",
        "If this was not you, sign out everywhere at the end of that page, and check your account at GitHub.",
    ]
    return "Your mails about your access were changed", "\n".join(lines) + "\n"
