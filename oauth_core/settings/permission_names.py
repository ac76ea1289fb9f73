"""The names of permissions in the settings of services and roles."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from oauth_core.policy.permissions import NAME, RESERVED

LONGEST = 128
"""Characters."""


def one_or_more(value: object) -> object:
    """A single text as a tuple of one, and everything else as it is."""
    return (value,) if isinstance(value, str) else value


def _not_reserved(permission: str) -> str:
    if permission.split(".", maxsplit=1)[0] in RESERVED:
        raise ValueError(f"{permission} is not for services: names that begin with it speak of clients")
    return permission


Name = Annotated[str, Field(pattern=NAME, max_length=LONGEST), AfterValidator(_not_reserved)]
_Names = Annotated[tuple[Name, ...], Field(min_length=1)]
Needs = Annotated[_Names, BeforeValidator(one_or_more, json_schema_input_type=Name | _Names)]
Text = Annotated[str, Field(min_length=1)]
