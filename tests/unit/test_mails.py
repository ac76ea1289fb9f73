"""Mails to people: the addresses that are accepted, and the mails as a mail server gets them."""

from __future__ import annotations

import email
from email import policy
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.flows.mail_notices import QueuedMail, checked_address
from oauth_core.flows.notices import Notice, NoticeKind
from oauth_web.mail.messages import message_of

if TYPE_CHECKING:
    from collections.abc import Sequence

ISSUER = "https://gate.a-company-with-a-long-name.example.com/auth"
HEADERS = {
    *("From", "To", "Date", "Message-ID", "Auto-Submitted", "Subject"),
    *("MIME-Version", "Content-Type", "Content-Transfer-Encoding"),
}
LONGEST = f"{'a' * 64}@{'.'.join(['b' * 60] * 3)}.com"


def written(to: str, notice: Notice | None = None) -> list[str]:
    """The lines of the header of a mail to this address."""
    mail = QueuedMail(7, 1, notice=notice, address=None if notice else to, token="t" * 43)
    code = f"7.{'x' * 43}"
    text = message_of(
        mail, "m" * 43, issuer=ISSUER, sender="gate@example.com", to=to, unsubscribe=code
    ).as_string()
    return text.partition("\r\n\r\n")[0].split("\r\n")


def names(lines: Sequence[str]) -> set[str]:
    return {line.partition(":")[0] for line in lines}


@given(
    st.one_of(
        st.text("=?_-qQbB.utf80DA3%!+'{|}~@ \r\n\t", max_size=70),
        st.text(max_size=20),
        st.sampled_from(["iso-8859-1", "utf-8", "x"]).map(lambda name: f"=?{name}?q?a=0D=0ABcc=3Ab=40c.d?="),
    )
)
def test_no_accepted_address_begins_a_header_or_is_written_in_another_form(local: str) -> None:
    try:
        address = checked_address(f"{local}@example.com")
    except ValueError:
        return
    lines = written(address)
    assert names(lines) == HEADERS
    assert f"To: {address}" in lines
    read = email.message_from_string("\r\n".join(lines), policy=policy.SMTP)
    assert [one.addr_spec for one in read["To"].addresses] == [address]


@pytest.mark.parametrize(
    "local",
    [
        "=?utf-8?q?a=0D=0ABcc=3Av=40x.com?=",
        "=?utf-8?q??=",
        "=?utf-8?b?YQ0K?=",
        "a=?utf-8?q?b?=",
        "-oQ/tmp",
        "a%other.example",
        "other.example!a",
    ],
)
def test_an_address_that_programs_read_in_another_way_is_refused(local: str) -> None:
    with pytest.raises(ValueError, match="is no mail address"):
        checked_address(f"{local}@example.com")


@pytest.mark.parametrize("address", ["mona+tag@example.com", "o'hara.x_y=z@a-b.example.co", LONGEST])
def test_a_usual_address_is_accepted_and_stays_on_one_line(address: str) -> None:
    assert checked_address(f" {address} ") == address
    assert f"To: {address}" in written(address)


def test_the_link_that_ends_mails_is_written_as_mail_programs_read_it() -> None:
    lines = written(LONGEST, Notice(NoticeKind.APP_ALLOWED, 1))
    link = f"<{ISSUER}/account/mail/unsubscribe?code=7.{'x' * 43}>"
    assert f"List-Unsubscribe: {link}" in lines, "RFC 8058 section 4: a URI, not an encoded word (RFC 2047)"
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in lines
    assert names(lines) == HEADERS | {"List-Unsubscribe", "List-Unsubscribe-Post"}
