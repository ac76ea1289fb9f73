"""One attempt to send a mail, as a program: JSON on its standard input, and the result on its standard output.

It is a process of its own so that it can be killed: a mail server that never ends an answer, or a name server that
does not answer, holds nothing. It uses only the standard library, and no setting or secret but what it is given.
"""

from __future__ import annotations

import json
import smtplib
import ssl
import sys
from dataclasses import asdict, dataclass
from typing import Any

_SECONDS = 20.0
_PERMANENT = range(500, 600)


@dataclass(frozen=True)
class Attempt:
    """The result. `is_final`: the server refuses this mail or this address for good. `fault` shows no address."""

    is_taken: bool = False
    is_final: bool = False
    fault: str = ""


def attempt(given: dict[str, Any]) -> Attempt:
    """Send the mail `message` from `sender` to `to`."""
    try:
        _send(given)
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        return Attempt(is_final=any(code in _PERMANENT for code in codes), fault=f"the recipient got {codes[:1]}")
    except smtplib.SMTPAuthenticationError as error:
        return Attempt(fault=f"the server refuses our password ({error.smtp_code})")
    except smtplib.SMTPResponseException as error:
        # Before the mail itself, a refusal is about this gateway: another try may succeed after a repair.
        is_final = isinstance(error, smtplib.SMTPDataError) and error.smtp_code in _PERMANENT
        return Attempt(is_final=is_final, fault=f"it answers {error.smtp_code}")
    except (smtplib.SMTPException, ssl.SSLError, OSError, ValueError) as error:
        return Attempt(fault=f"no connection ({type(error).__name__})")
    return Attempt(is_taken=True)


def _send(given: dict[str, Any]) -> None:
    cafile, capath = given.get("authorities", (None, None))
    context = ssl.create_default_context(cafile=cafile, capath=capath)
    host, port = given["host"], given["port"]
    server: smtplib.SMTP
    if given["tls"] == "implicit":
        server = smtplib.SMTP_SSL(host, port, timeout=_SECONDS, context=context)
    else:
        server = smtplib.SMTP(host, port, timeout=_SECONDS)
    with server:
        if given["tls"] == "starttls":
            # Raises where the server does not offer it: nothing is sent in clear text.
            server.starttls(context=context)
        if given["user"] is not None:
            server.login(given["user"], given["password"])
        server.sendmail(given["sender"], [given["to"]], given["message"].encode())


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(attempt(json.load(sys.stdin)))))
