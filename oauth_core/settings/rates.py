"""How often clients, people and addresses may ask the authorization server for something, across all replicas."""

from __future__ import annotations

from pydantic import BaseModel, Field

from oauth_core.rate_limits import Limit, Rate

_MOST = 1_000_000
_MINUTE = 60
_TEN_MINUTES = 600


class RateSettings(BaseModel):
    """All are per minute but the last, which is per ten minutes. A whole span's worth may come at once."""

    registrations_per_address: int = Field(default=600, ge=1, le=_MOST)
    authorizations_per_address: int = Field(default=600, ge=1, le=_MOST)
    failures_per_address: int = Field(default=60, ge=1, le=_MOST)
    requests_per_client: int = Field(default=6000, ge=1, le=_MOST)
    sign_ins_per_user: int = Field(default=30, ge=1, le=_MOST)
    tokens_per_grant: int = Field(default=60, ge=1, le=_MOST)
    document_fetches_per_address: int = Field(default=60, ge=1, le=_MOST)
    user_codes_per_address: int = Field(default=60, ge=1, le=_MOST)

    def rate_of(self, limit: Limit) -> Rate:
        """How much `limit` lets through."""
        span = _TEN_MINUTES if limit is Limit.USER_CODES_PER_ADDRESS else _MINUTE
        return Rate(getattr(self, limit), span)
