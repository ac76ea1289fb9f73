"""The settings of detection: the operator's databases of places, and automatic responses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from oauth_core.settings.definitions import Setting
from oauth_core.settings.gateway import CommaList, GatewaySettings

ActionName = Literal[
    "revoke_token",
    "revoke_grant",
    "revoke_person",
    "block_person",
    "revoke_client",
    "disable_client",
    "notify_new_country",
]


class AutomaticResponse(BaseModel):
    """One `[[detection.responses]]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Annotated[
        str,
        Setting("The name of the [rule](audit.md#detection) whose findings have this response."),
    ] = Field(min_length=1, max_length=128)
    action: Annotated[
        ActionName,
        Setting(
            "What is done: [each action](alerts.md#automatic-responses) is a command that operators have too. A "
            "rule whose events do not prove the identity that the action concerns is refused."
        ),
    ]


def _check_responses(responses: tuple[AutomaticResponse, ...]) -> tuple[AutomaticResponse, ...]:
    if len(set(responses)) != len(responses):
        raise ValueError("two responses have the same rule and the same action")
    return responses


class DetectionSettings(GatewaySettings):
    """The databases of locations, and the automatic responses with their limits."""

    detection_country_database: Annotated[
        Path | None,
        Setting(
            "A MaxMind-format database (`.mmdb`) of countries, or of cities for impossible travel. See "
            "[locations](audit.md#locations).",
            key="detection.country_database",
        ),
    ] = None
    detection_network_database: Annotated[
        Path | None,
        Setting(
            "A MaxMind-format database (`.mmdb`) of autonomous systems: the networks of providers.",
            key="detection.network_database",
        ),
    ] = None
    detection_responses: Annotated[
        tuple[AutomaticResponse, ...],
        Field(max_length=64),
        AfterValidator(_check_responses),
        Setting(
            "One `[[detection.responses]]` table for each automatic response, see below. `portcullis alerts run` "
            "carries them out, and needs the rights of an operator for it: the Redis password and the master key.",
            key="detection.responses",
        ),
    ] = ()
    detection_responses_per_hour: Annotated[
        int,
        Setting(
            "How many automatic responses may take effect in an hour, all rules together. Further ones are not "
            "done, and the alert says so.",
            key="detection.responses_per_hour",
        ),
    ] = Field(default=5, ge=1, le=1000)
    detection_never: Annotated[
        CommaList,
        Field(max_length=1000),
        Setting(
            "People and clients that no automatic response may concern: logins, `id:583231` for the number of an "
            "account, or ids of clients.",
            key="detection.never",
        ),
    ] = ()

    @property
    def location_databases(self) -> tuple[Path, ...]:
        """The databases of locations that are set."""
        given = (self.detection_country_database, self.detection_network_database)
        return tuple(path for path in given if path is not None)
