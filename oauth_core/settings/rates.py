"""The rate limits of clients, people and addresses at the authorization server, across all replicas."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from oauth_core.limits.rate_limits import Limit, Rate
from oauth_core.settings.definitions import Setting

_MOST = 1_000_000
_MINUTE = 60
_TEN_MINUTES = 600
_DAY = 86_400
_SPANS = {
    Limit.REGISTRATIONS_PER_ADDRESS_A_DAY: _DAY,
    Limit.REGISTRATION_KILOBYTES_PER_ADDRESS_A_DAY: _DAY,
    Limit.USER_CODES_PER_ADDRESS: _TEN_MINUTES,
    Limit.MAILS_PER_USER_A_DAY: _DAY,
    Limit.MAIL_CONFIRMATIONS_PER_USER_A_DAY: _DAY,
    Limit.MAIL_CONFIRMATIONS_PER_ADDRESS_A_DAY: _DAY,
}


class RateSettings(BaseModel):
    """The rate limits: requests in a minute, in a day where the name has one, user codes in ten minutes.

    A caller may use the whole limit of a period at once.
    """

    model_config = ConfigDict(defer_build=True)

    registrations_per_address: Annotated[
        int,
        Setting(
            "Registrations from one address. Hosted clients register for many users from few addresses.",
            key="rates.registrations_per_address",
            unit="a minute",
        ),
    ] = Field(default=600, ge=1, le=_MOST)
    registrations_per_address_a_day: Annotated[
        int,
        Setting(
            "Registrations from one address.",
            key="rates.registrations_per_address_a_day",
            unit="a day",
        ),
    ] = Field(default=10_000, ge=1, le=_MOST)
    registration_kilobytes_per_address_a_day: Annotated[
        int,
        Setting(
            "The size of all registrations from one address.",
            key="rates.registration_kilobytes_per_address_a_day",
            unit="KiB a day",
        ),
    ] = Field(default=16_384, ge=4, le=_MOST)
    authorizations_per_address: Annotated[
        int,
        Setting(
            "Sign-ins that begin from one address.",
            key="rates.authorizations_per_address",
            unit="a minute",
        ),
    ] = Field(default=600, ge=1, le=_MOST)
    failures_per_address: Annotated[
        int,
        Setting(
            "Failed client authentications of one client from one address.",
            key="rates.failures_per_address",
            unit="a minute",
        ),
    ] = Field(default=60, ge=1, le=_MOST)
    requests_per_client: Annotated[
        int,
        Setting(
            "Requests of one client to `/token`, `/revoke`, `/introspect` and `/device_authorization`; "
            "of a client without a secret, from one address.",
            key="rates.requests_per_client",
            unit="a minute",
        ),
    ] = Field(default=6000, ge=1, le=_MOST)
    sign_ins_per_user: Annotated[
        int,
        Setting(
            "Sign-ins of one person that succeed.",
            key="rates.sign_ins_per_user",
            unit="a minute",
        ),
    ] = Field(default=30, ge=1, le=_MOST)
    tokens_per_grant: Annotated[
        int,
        Setting(
            "Refreshes of one sign-in.",
            key="rates.tokens_per_grant",
            unit="a minute",
        ),
    ] = Field(default=60, ge=1, le=_MOST)
    document_fetches_per_address: Annotated[
        int,
        Setting(
            "Fetches of clients' documents and keys that requests from one address cause; ten of new "
            "URLs at one host.",
            key="rates.document_fetches_per_address",
            unit="a minute",
        ),
    ] = Field(default=60, ge=1, le=_MOST)
    user_codes_per_address: Annotated[
        int,
        Setting(
            "Codes of devices that may be tried from one address; a browser has ten.",
            key="rates.user_codes_per_address",
            unit="in ten minutes",
            standard="RFC 8628 section 5.1",
        ),
    ] = Field(default=60, ge=1, le=_MOST)

    mails_per_user_a_day: Annotated[
        int,
        Setting(
            "Mails with notices to one person. Further notices are on the account page only.",
            key="rates.mails_per_user_a_day",
            unit="a day",
        ),
    ] = Field(default=20, ge=1, le=_MOST)
    mail_confirmations_per_user_a_day: Annotated[
        int,
        Setting(
            "Mails that one person causes by entering mail addresses, to all addresses together.",
            key="rates.mail_confirmations_per_user_a_day",
            unit="a day",
        ),
    ] = Field(default=5, ge=1, le=_MOST)
    mail_confirmations_per_address_a_day: Annotated[
        int,
        Setting(
            "Mails to one mail address that ask for its confirmation, from all people together.",
            key="rates.mail_confirmations_per_address_a_day",
            unit="a day",
        ),
    ] = Field(default=3, ge=1, le=_MOST)

    def rate_of(self, limit: Limit) -> Rate:
        """The rate that `limit` permits."""
        return Rate(getattr(self, limit), _SPANS.get(limit, _MINUTE))
