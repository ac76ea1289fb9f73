"""How often clients, people and addresses may ask the authorization server for something, across all replicas."""

from __future__ import annotations

from pydantic import BaseModel, Field

from oauth_core.limits.rate_limits import Limit, Rate

_MOST = 1_000_000
_MINUTE = 60
_TEN_MINUTES = 600
_DAY = 86_400
_SPANS = {
    Limit.REGISTRATIONS_PER_ADDRESS_A_DAY: _DAY,
    Limit.REGISTRATION_KILOBYTES_PER_ADDRESS_A_DAY: _DAY,
    Limit.USER_CODES_PER_ADDRESS: _TEN_MINUTES,
}


class RateSettings(BaseModel):
    """Per minute, unless the name says a day; user codes per ten minutes. A span's worth may come at once."""

    registrations_per_address: int = Field(default=600, ge=1, le=_MOST)
    registrations_per_address_a_day: int = Field(default=10_000, ge=1, le=_MOST)
    registration_kilobytes_per_address_a_day: int = Field(default=16_384, ge=4, le=_MOST)
    authorizations_per_address: int = Field(default=600, ge=1, le=_MOST)
    failures_per_address: int = Field(default=60, ge=1, le=_MOST)
    requests_per_client: int = Field(default=6000, ge=1, le=_MOST)
    sign_ins_per_user: int = Field(default=30, ge=1, le=_MOST)
    tokens_per_grant: int = Field(default=60, ge=1, le=_MOST)
    document_fetches_per_address: int = Field(default=60, ge=1, le=_MOST)
    user_codes_per_address: int = Field(default=60, ge=1, le=_MOST)

    def rate_of(self, limit: Limit) -> Rate:
        """How much `limit` lets through."""
        return Rate(getattr(self, limit), _SPANS.get(limit, _MINUTE))
