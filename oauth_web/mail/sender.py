"""Sends the mails that wait in Redis. One process at a time does this for all, and no request waits for it."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from typing import TYPE_CHECKING, Never

import structlog

from oauth_core.errors import StoreUnavailableError
from oauth_core.process.child_process import answered
from oauth_core.store.records.mail_queue import MailResult
from oauth_web.mail import smtp_attempt
from oauth_web.mail.messages import message_of
from oauth_web.mail.smtp_attempt import Attempt

if TYPE_CHECKING:
    from oauth_core.flows.mail_notices import QueuedMail
    from oauth_core.settings import WebSettings
    from oauth_core.store.clock import RedisClock
    from oauth_core.store.records.contacts import ContactStore
    from oauth_core.store.records.leases import LeaseStore
    from oauth_core.store.records.mail_queue import MailQueue

WORK = "mails"
_POLL_SECONDS = 1.0
_ATTEMPT_SECONDS = 45.0
_LEASE_SECONDS = 120.0
"""Longer than an attempt: another process must not send the same mail meanwhile."""
_AT_ONCE = 10
_FIRST_WAIT, _LONGEST_WAIT = 30, 3600

_log = structlog.get_logger("mail")


class MailSender:
    """Sends mails while the application serves, if there is a mail server."""

    def __init__(
        self,
        settings: WebSettings,
        mails: MailQueue,
        contacts: ContactStore,
        leases: LeaseStore,
        clock: RedisClock,
    ) -> None:
        self._settings = settings
        self._mails = mails
        self._contacts = contacts
        self._leases = leases
        self._clock = clock
        self._running: asyncio.Task[Never] | None = None
        self._is_failing = False

    async def start(self) -> None:
        """Start sending, unless there is no mail server."""
        if self._settings.mail_server is not None:
            self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop sending. Waiting mails stay in Redis. A running attempt is killed, and repeated later."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self) -> Never:
        while True:
            try:
                if await self._mails.waiting() and await self._leases.acquire(WORK, seconds=_LEASE_SECONDS):
                    try:
                        await self._send_due()
                    finally:
                        await self._leases.release(WORK)
            except StoreUnavailableError as error:
                _log.warning("mail.not_sent", reason=str(error))
            except Exception:  # noqa: BLE001 - sending must go on after any fault
                _log.exception("mail.not_sent")
            await asyncio.sleep(_POLL_SECONDS)

    async def _send_due(self) -> None:
        for mail_id, mail in await self._mails.due(self._clock(), _AT_ONCE):
            if not await self._leases.extend(WORK, seconds=_LEASE_SECONDS):
                return
            try:
                await self._send(mail_id, mail)
            except StoreUnavailableError:
                raise
            except Exception as error:  # noqa: BLE001 - one mail must not hold those of other people
                # Without the text of the error, which may have the address.
                _log.error("mail.refused", user_id=mail.github_id, reason=type(error).__name__)
                self._mails.counts[MailResult.REFUSED] += 1
                await self._mails.remove(mail_id)

    async def _send(self, mail_id: str, mail: QueuedMail) -> None:
        contact = await self._contacts.get(mail.github_id)
        to = mail.address or (contact.address if contact is not None else None)
        if to is None:  # the person has removed the address
            await self._mails.remove(mail_id)
            return
        attempt = await self._try(mail_id, mail, to)
        if attempt.is_taken:
            self._mails.counts[MailResult.SENT] += 1
            await self._mails.remove(mail_id)
            if self._is_failing:
                _log.info("mail.sent_again")
            self._is_failing = False
        elif attempt.is_final:
            self._mails.counts[MailResult.REFUSED] += 1
            await self._mails.remove(mail_id)
            _log.warning("mail.refused", user_id=mail.github_id, reason=attempt.fault)
        else:
            self._mails.counts[MailResult.FAILED] += 1
            wait = min(_FIRST_WAIT * 2 ** min(mail.attempts, 10), _LONGEST_WAIT)
            await self._mails.retry(mail_id, mail, at=self._clock() + wait)
            if not self._is_failing:
                _log.warning("mail.not_sent", reason=attempt.fault)
            self._is_failing = True

    async def _try(self, mail_id: str, mail: QueuedMail, to: str) -> Attempt:
        settings, server = self._settings, self._settings.mail_address
        password = settings.mail_password
        message = message_of(
            mail,
            mail_id,
            issuer=settings.issuer,
            sender=settings.mail_from or "",
            to=to,
            unsubscribe=self._contacts.unsubscribe_code(mail.github_id, to),
        )
        authorities = ssl.get_default_verify_paths()
        given = {
            "authorities": [authorities.cafile, authorities.capath],
            "host": server.host,
            "port": server.port,
            "tls": settings.mail_tls,
            "user": settings.mail_user,
            "password": password.get_secret_value() if password is not None else None,
            "sender": settings.mail_from,
            "to": to,
            "message": message.as_string(),
        }
        # It gets no variable of this process, which may have the master key in one.
        command = [sys.executable, "-P", "-m", smtp_attempt.__name__]
        try:
            _, output = await answered(command, {}, json.dumps(given).encode(), seconds=_ATTEMPT_SECONDS)
            return Attempt(**json.loads(output))
        except TimeoutError:
            return Attempt(fault=f"it was ended after {_ATTEMPT_SECONDS:g} seconds")
        except (OSError, ValueError, TypeError) as error:
            return Attempt(fault=f"the attempt failed ({type(error).__name__})")
