"""The settings of mails to people: the mail server, and the sender."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr, model_validator

from oauth_core.flows.mail_notices import checked_address
from oauth_core.net.listen_addresses import TcpAddress, parse_tcp
from oauth_core.settings.definitions import Setting


def _check_server(value: str | None) -> str | None:
    """Check the address of a mail server. Raises `ValueError`."""
    if not value:
        return None
    parse_tcp(value)
    return value


def _check_sender(value: str | None) -> str | None:
    return checked_address(value) if value else None


class MailSettings(BaseModel):
    """How mails to people are sent. Without a server there are none."""

    model_config = ConfigDict(defer_build=True)

    mail_server: Annotated[
        str | None,
        AfterValidator(_check_server),
        Setting(
            "The mail server that takes mails to people: `host:port`. Without it, the account page offers none.",
            key="mail.server",
        ),
    ] = None
    mail_tls: Annotated[
        Literal["starttls", "implicit", "off"],
        Setting(
            "`starttls`: mostly port 587; `implicit`: TLS from the beginning, mostly port 465; `off`: only for a "
            "server on a loopback address. The certificate is verified.",
            key="mail.tls",
        ),
    ] = "starttls"
    mail_from: Annotated[
        str | None,
        AfterValidator(_check_sender),
        Setting("The address of the sender. Needed with `mail.server`.", key="mail.from"),
    ] = None
    mail_user: Annotated[
        str | None,
        Setting("The user at the mail server, if it asks for one.", key="mail.user"),
    ] = None
    mail_password: Annotated[
        SecretStr | None,
        Setting("The password of this user.", key="mail.password"),
    ] = None

    @model_validator(mode="after")
    def _mails_are_complete(self) -> MailSettings:
        if self.mail_server is None:
            return self
        if self.mail_from is None:
            raise ValueError("mail.server needs mail.from, the address of the sender")
        if (self.mail_user is None) != (self.mail_password is None):
            raise ValueError("mail.user and MAIL_PASSWORD_FILE belong together")
        if self.mail_tls == "off" and not self.mail_address.is_loopback:
            raise ValueError("mail.tls may be off only for a mail server on a loopback address")
        return self

    @property
    def mail_address(self) -> TcpAddress:
        """The host and the port of the mail server. Call it only with `mail_server`."""
        return parse_tcp(self.mail_server or "")
