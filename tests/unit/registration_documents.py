"""Registration requests, and the registrations made from them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from oauth_core.clients import registration
from oauth_web.grants.catalog import GRANT_TYPES
from tests.unit.examples import CALLBACK

if TYPE_CHECKING:
    from oauth_core.clients.registration import RegistrationResult

register = partial(registration.register, grant_types=GRANT_TYPES)
update = partial(registration.update, grant_types=GRANT_TYPES)

MINIMAL: dict[str, object] = {"redirect_uris": [CALLBACK]}


def document(**members: object) -> dict[str, object]:
    return {**MINIMAL, **members}


def made(**members: object) -> RegistrationResult:
    return register(document(**members), now=100)
