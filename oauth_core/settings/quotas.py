"""How much of Redis strangers can make us fill, kind by kind, and how much of it stays free of them."""

from __future__ import annotations

from pydantic import BaseModel, Field

from oauth_core.limits.quotas import Stored

_MOST = 1_000_000
_MEGABYTE = 1_048_576


class QuotaSettings(BaseModel):
    """Megabytes (1,048,576 bytes) of each kind of `Stored`, all callers together, and percent of `maxmemory`."""

    registrations_megabytes: int = Field(default=32, ge=1, le=_MOST)
    client_documents_megabytes: int = Field(default=16, ge=1, le=_MOST)
    sign_ins_megabytes: int = Field(default=48, ge=1, le=_MOST)
    device_codes_megabytes: int = Field(default=16, ge=1, le=_MOST)
    assertions_megabytes: int = Field(default=32, ge=1, le=_MOST)
    redis_reserve_percent: int = Field(default=20, ge=0, le=90)

    @property
    def quotas(self) -> dict[Stored, int]:
        """The most bytes of each kind."""
        return {kind: getattr(self, f"{kind}_megabytes") * _MEGABYTE for kind in Stored}
