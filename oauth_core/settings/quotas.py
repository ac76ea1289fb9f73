"""The quotas: how much of Redis unauthenticated callers can fill, by kind, and how much stays free of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from oauth_core.limits.quotas import Stored
from oauth_core.settings.definitions import Setting

_MOST = 1_000_000
_MEGABYTE = 1_048_576


class QuotaSettings(BaseModel):
    """Megabytes (1,048,576 bytes) of each kind of `Stored`, all callers together, and percent of `maxmemory`."""

    model_config = ConfigDict(defer_build=True)

    registrations_megabytes: Annotated[
        int,
        Setting(
            "Room in Redis for registrations without a consent, all callers together, see "
            "[redis.md](redis.md#what-unauthenticated-callers-can-fill).",
            key="quotas.registrations_megabytes",
            unit="MiB",
        ),
    ] = Field(default=32, ge=1, le=_MOST)
    client_documents_megabytes: Annotated[
        int,
        Setting(
            "Room in Redis for fetched documents of clients that are not in use yet, all callers together.",
            key="quotas.client_documents_megabytes",
            unit="MiB",
        ),
    ] = Field(default=16, ge=1, le=_MOST)
    sign_ins_megabytes: Annotated[
        int,
        Setting(
            "Room in Redis for sign-ins that wait for consent or for GitHub, all callers together.",
            key="quotas.sign_ins_megabytes",
            unit="MiB",
        ),
    ] = Field(default=48, ge=1, le=_MOST)
    device_codes_megabytes: Annotated[
        int,
        Setting(
            "Room in Redis for device codes, all callers together.",
            key="quotas.device_codes_megabytes",
            unit="MiB",
        ),
    ] = Field(default=16, ge=1, le=_MOST)
    assertions_megabytes: Annotated[
        int,
        Setting(
            "Room in Redis for the memory of which client assertions and DPoP proofs were used, all "
            "callers together.",
            key="quotas.assertions_megabytes",
            unit="MiB",
        ),
    ] = Field(default=32, ge=1, le=_MOST)
    redis_reserve_percent: Annotated[
        int,
        Setting(
            "The part of Redis' `maxmemory` that is kept free. With less than that free, registrations "
            "are refused; with less than half of it free, new sign-ins. 0 refuses neither.",
            key="quotas.redis_reserve_percent",
            unit="percent",
        ),
    ] = Field(default=20, ge=0, le=90)

    @property
    def quotas(self) -> dict[Stored, int]:
        """The most bytes of each kind."""
        return {kind: getattr(self, f"{kind}_megabytes") * _MEGABYTE for kind in Stored}
