"""An attempt to send a mail: TLS that is verified, a password, and answers of real mail servers."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.smtp import AuthResult

from oauth_core.process.child_process import answered
from oauth_web.mail.smtp_attempt import Attempt, attempt
from tests.support.certificates import Authority
from tests.support.mail_server import mail_server
from tests.support.programs import until

if TYPE_CHECKING:
    from pathlib import Path

MESSAGE = "From: gate@example.com\r\nTo: mona@example.com\r\nSubject: Hello\r\n\r\nText\r\n"


def given(port: int, *, host: str = "localhost", tls: str = "off", **more: Any) -> dict[str, Any]:
    login = {"user": None, "password": None}
    people = {"sender": "gate@example.com", "to": "mona@example.com", "message": MESSAGE}
    return {"host": host, "port": port, "tls": tls, **login, **people, **more}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    """The TLS context of a mail server with a certificate for `localhost`."""
    identity = authority.identity("localhost")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(identity.cert, identity.key)
    return made


def test_a_mail_is_sent_over_tls_to_a_server_with_a_trusted_certificate(
    authority: Authority, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.cert))
    with mail_server(tls_context=context, require_starttls=True) as box:
        assert attempt(given(box.port, tls="starttls")) == Attempt(is_taken=True)
        assert [mail["Subject"] for mail in box.mails] == ["Hello"]


def test_a_server_with_an_unknown_certificate_gets_nothing(context: ssl.SSLContext) -> None:
    with mail_server(tls_context=context) as box:
        result = attempt(given(box.port, tls="starttls"))
        assert not result.is_taken
        assert not result.is_final
        assert box.mails == []


def test_a_certificate_for_another_name_is_not_accepted(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = authority.identity("other.example")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(identity.cert, identity.key)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.cert))
    with mail_server(tls_context=made) as box:
        assert not attempt(given(box.port, tls="starttls")).is_taken
        assert box.mails == []


def test_a_server_that_offers_no_tls_gets_nothing() -> None:
    with mail_server() as box:
        for tls in ("starttls", "implicit"):
            assert not attempt(given(box.port, tls=tls)).is_taken
        assert (box.mails, box.attempts) == ([], 0)


def test_the_password_is_given_and_a_wrong_one_is_tried_again_later(
    authority: Authority, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.cert))

    def check(_server: object, _session: object, _envelope: object, _mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"gate", b"right"), handled=False)

    with mail_server(tls_context=context, authenticator=check, auth_required=True) as box:
        assert attempt(given(box.port, tls="starttls", user="gate", password="right")).is_taken
        refused = attempt(given(box.port, tls="starttls", user="gate", password="wrong"))
        assert (refused.is_taken, refused.is_final) == (False, False)
        assert "wrong" not in refused.fault
        assert len(box.mails) == 1


@pytest.mark.parametrize(("answer", "is_final"), [("451 Later", False), ("552 Too much", True), ("554 No", True)])
def test_a_refusal_of_class_5_is_final(answer: str, *, is_final: bool) -> None:
    with mail_server() as box:
        box.answer = answer
        assert attempt(given(box.port)) == Attempt(is_final=is_final, fault=f"it answers {answer[:3]}")


def test_an_unreachable_server_is_tried_again_later() -> None:
    with mail_server() as box:
        port = box.port
    assert attempt(given(port)) == Attempt(fault="no connection (ConnectionRefusedError)")


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_the_process_of_an_attempt_is_killed_when_the_gateway_stops(tmp_path: Path) -> None:
    began = tmp_path / "began"
    code = "import os, sys, time; os.mkdir(f'{sys.argv[1]}-{os.getpid()}'); time.sleep(3600)"
    task = asyncio.create_task(answered([sys.executable, "-c", code, str(began)], {}, b"", seconds=3600))
    await asyncio.to_thread(until, lambda: names_in(tmp_path))
    [name] = names_in(tmp_path)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(int(name.rpartition("-")[2]), 0)


async def test_the_process_of_an_attempt_is_killed_when_its_time_is_up() -> None:
    with pytest.raises(TimeoutError):
        await answered([sys.executable, "-c", "import time; time.sleep(3600)"], {}, b"", seconds=0.1)
    assert await answered([sys.executable, "-c", "print(input())"], {}, b"text", seconds=3600) == (0, b"text\n")
