"""Documents that ask for a registration, and the registrations they make."""

from __future__ import annotations

from oauth_core.clients.registration import Registered, register
from tests.unit.examples import CALLBACK

MINIMAL: dict[str, object] = {"redirect_uris": [CALLBACK]}


def document(**members: object) -> dict[str, object]:
    return {**MINIMAL, **members}


def made(**members: object) -> Registered:
    return register(document(**members), now=100)
